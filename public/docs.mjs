// Swagger UI is a classic script that leaves this name behind
const ui = globalThis.SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#api',
  deepLinking: true,
  tryItOutEnabled: true,
  docExpansion: 'none',
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  onComplete() {
    if (location.hash) return // Swagger UI opens the operation it names
    // expand our own routes and the first operation; leave the other protocols collapsed
    ui.layoutActions.show(['operations-tag', 'onnxpress'], true)
    ui.layoutActions.show(['operations', 'onnxpress', 'post_predict'], true)
  },
})
