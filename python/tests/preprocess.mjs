/** The server's preprocessing alone: {keys, dims, images} from standard input, the tensors of the images to standard output. */
import { readFileSync } from 'node:fs'
import { preprocess, readRecipe } from '../../preprocess/index.js'

const { keys, dims, images } = JSON.parse(readFileSync(0, 'utf8'))
const preprocessor = { path: 'preprocessor_config.json', json: keys }
const input = { name: 'input', dtype: 'float32', dims }
const recipe = readRecipe({ preprocessor }, { input, note: console.error })
const tensors = images.map(async (image) => {
  const { data, dims } = await preprocess(Buffer.from(image, 'base64'), recipe, { maxPixels: 1e8 })
  return { dims, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64') }
})
console.log(JSON.stringify(await Promise.all(tensors)))
