const baseUrl = process.env.URL
module.exports = {
  onnxpress: {
    input: { target: `${baseUrl}/openapi.json` },
    output: { target: 'generated/orval.ts', client: 'fetch', baseUrl },
  },
}
