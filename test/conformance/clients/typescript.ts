/** Classifies an image with each of the generated TypeScript clients, and prints the labels. */
import { readFile } from 'node:fs/promises'
import createClient from 'openapi-fetch'
import { createClient as createHeyClient } from './generated/hey/client'
import { postPredict as postPredictOfHey, postV1ModelsModelPredict } from './generated/hey/sdk.gen'
import type { paths } from './generated/openapi_typescript'
import { postPredict } from './generated/orval'

const [baseUrl, model, file] = process.argv.slice(2)
const bytes = await readFile(file)
const image = new Blob([new Uint8Array(bytes)])

const openapiFetch = await createClient<paths>({ baseUrl }).POST('/predict', {
  params: { query: { top_k: 2 } },
  // the generated type of a file is string
  body: { image: image as unknown as string },
  bodySerializer(body) {
    const form = new FormData()
    form.set('image', body.image)
    return form
  },
})
console.log('openapi-typescript', openapiFetch.data?.label, openapiFetch.data?.predictions.length)

const client = createHeyClient({ baseUrl })
const hey = await postPredictOfHey({ client, body: { image }, query: { top_k: 2 } })
console.log('hey-api', hey.data?.label, hey.data?.predictions.length)

const instance = { b64: bytes.toString('base64') }
const instances = await postV1ModelsModelPredict({
  client,
  path: { model },
  body: { instances: [instance, instance] },
})
console.log('hey-api instances', instances.data?.predictions[0].label, instances.data?.predictions.length)

const orval = await postPredict({ image }, { top_k: 2 })
if (orval.status === 200) console.log('orval', orval.data.label, orval.data.predictions.length)
