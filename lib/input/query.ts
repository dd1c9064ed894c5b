/** The query of a request. */
import type { Request } from 'express'
import { nearest } from '../../preprocess/index.ts'
import { RequestError } from '../inference/errors.ts'
import { checkMetadata, type Metadata } from './tensor_body.ts'

/** The keys of the routes that take inputs. */
const KEYS = ['dims', 'dtype', 'top_k']

/** @throws RequestError 400 for a key that is one letter away from a known one; other keys are ignored */
export function checkQueryKeys(req: Request): void {
  if (!req.url.includes('?')) return
  for (const key of Object.keys(req.query)) {
    const right = nearest(key, KEYS, 1)
    if (right) throw new RequestError(400, `?${key}= is unknown: did you mean ?${right}=?`)
  }
}

/** `?dims=1,28,28&dtype=uint8` */
export function queryMetadata({ query }: Request): Metadata {
  const dims = String(query.dims)
    .split(',')
    .map((dim) => (dim.trim() === '' ? Number.NaN : Number(dim)))
  return checkMetadata({ dims, dtype: query.dtype })
}

/**
 * `?top_k=`
 *
 * @throws RequestError 400
 */
export function queryTopK({ query }: Request): number | undefined {
  const given = query.top_k
  if (given === undefined) return undefined
  const topK = Number(given)
  if (typeof given === 'string' && Number.isSafeInteger(topK) && topK >= 1) return topK
  throw new RequestError(400, `top_k is ${JSON.stringify(given)}: expected one whole number, at least 1`)
}
