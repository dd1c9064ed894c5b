/** The query's keys. */
import type { Request } from 'express'
import { nearest } from '../../preprocess/index.ts'
import { RequestError } from '../inference/errors.ts'

/** Those of the routes that take inputs. */
const KEYS = ['dims', 'dtype', 'top_k']

/** @throws RequestError 400 for a key that is one letter away from a known one; other keys are ignored */
export function checkQueryKeys(req: Request): void {
  if (!req.url.includes('?')) return
  for (const key of Object.keys(req.query)) {
    const right = nearest(key, KEYS, 1)
    if (right) throw new RequestError(400, `?${key}= is not known: did you mean ?${right}=?`)
  }
}
