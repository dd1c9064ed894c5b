/**
 * Hugging Face's inference endpoints, at the server's own address: an image, or `{"inputs": base64, "parameters": {...}}`,
 * in, `[{"label", "score"}]` out.
 */
import type { OutputSpec } from '../lib/model/output_spec.ts'
import type { Prediction, Result } from '../lib/model/predictions.ts'
import type { Service } from './service.ts'

export function addHuggingFace({ model, routes, admit, classify }: Service): void {
  const route = routes.of({
    name: 'Hugging Face',
    description: "Hugging Face's inference endpoint.",
    error: 'Problem',
  })
  // transformers' pipeline ranks all labels of a multi-label model too
  const ranked: OutputSpec = { ...model.outputSpec, kind: 'single-label' }
  const predict = admit(async (ctx) => {
    const results = await classify(ctx, ranked)
    ctx.recordResults(results)
    const lists = results.map(predictionsOf)
    ctx.res.json(lists.length === 1 ? lists[0] : lists)
  })
  route('post /', predict, { summary: 'Classify an image', body: 'bytes', response: 'list' })
}

function predictionsOf(result: Result): Prediction[] {
  return 'predictions' in result ? result.predictions : []
}
