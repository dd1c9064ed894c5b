/** multipart/form-data by multer, into memory and within limits. */
import type { Request, Response } from 'express'
import multer, { MulterError, type StorageEngine } from 'multer'
import { traceOf } from '../http/context.ts'
import { messageOf, RequestError } from '../inference/errors.ts'
import { checkLength, collect, tooLarge } from './body.ts'
import { checkBoundary } from './boundary.ts'
import { MAX_FILES } from './image_limit.ts'

const MAX_FIELDS = 20
const MAX_FIELD_BYTES = 2 ** 16

export interface Part {
  /** name of the form field */
  name: string
  bytes: Buffer
}

export interface Form {
  files: Part[]
  fields: Record<string, string>
}

export type FormReader = (req: Request, res: Response) => Promise<Form>

/**
 * multer's memory storage sends every file through another stream; here the chunks are collected as they come,
 * and counted over all files of the request.
 */
function memoryStorage(maxBytes: number): StorageEngine {
  const taken = new WeakMap<Request, number>()
  return {
    _handleFile(req, file, done) {
      const left = maxBytes - (taken.get(req) ?? 0)
      collect(file.stream, left, traceOf(req.res!).place).then((buffer) => {
        taken.set(req, (taken.get(req) ?? 0) + buffer.length)
        done(null, { buffer, size: buffer.length })
      }, done)
    },
    _removeFile(_req, file, done) {
      file.buffer = Buffer.alloc(0)
      done(null)
    },
  }
}

/** @param maxBytes of the whole body */
export function createFormReader(maxBytes: number): FormReader {
  const parse = multer({
    storage: memoryStorage(maxBytes),
    limits: {
      files: MAX_FILES,
      fields: MAX_FIELDS,
      parts: MAX_FILES + MAX_FIELDS,
      fileSize: maxBytes,
      fieldSize: MAX_FIELD_BYTES,
      // names with brackets are no nested objects here, and building them can take for ever
      fieldNestingDepth: 0,
      fieldNameSize: 200,
      headerPairs: 50,
    },
  }).any()

  return (req, res) => {
    checkLength(req, maxBytes)
    checkBoundary(req.headers['content-type'] ?? '')
    if (req.headers['content-encoding']) {
      throw new RequestError(415, 'a multipart body must not have a Content-Encoding: send it as it is')
    }
    return new Promise((resolve, reject) => {
      limitBody(req, maxBytes, reject)
      parse(req, res, (error: unknown) => {
        if (error) return reject(formError(error, maxBytes))
        const files = (req.files as Express.Multer.File[] | undefined) ?? []
        resolve({
          files: files.map(({ fieldname, buffer }) => ({ name: fieldname, bytes: buffer })),
          fields: onlyText(req.body),
        })
      })
    })
  }
}

/** A body without a length is counted as it comes, its text fields and what stands around the parts included. */
function limitBody(req: Request, maxBytes: number, reject: (error: RequestError) => void): void {
  if (req.headers['content-length'] !== undefined) return // then checkLength has seen it
  let total = 0
  const count = (chunk: Buffer) => {
    total += chunk.length
    if (total <= maxBytes) return
    req.off('data', count).unpipe()
    req.resume()
    reject(tooLarge(maxBytes))
  }
  req.on('data', count)
}

/** multer makes a list of a field that is sent twice: of that, the last counts. */
function onlyText(fields: Record<string, string | string[]> = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, [value].flat().at(-1) ?? '']),
  )
}

/** What goes wrong while a form is read is the sender's doing: multer and busboy give no status of their own. */
function formError(error: unknown, maxBytes: number): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof MulterError) {
    if (error.code === 'LIMIT_FILE_SIZE') return tooLarge(maxBytes)
    if (error.code === 'LIMIT_FIELD_VALUE') {
      return new RequestError(
        413,
        `a text field of the form is larger than ${MAX_FIELD_BYTES} bytes: send it as a file part`,
      )
    }
    if (error.code === 'LIMIT_FILE_COUNT') {
      return new RequestError(413, `the form has more than ${MAX_FILES} files: send them in several requests`)
    }
    if (error.code === 'LIMIT_FIELD_COUNT' || error.code === 'LIMIT_PART_COUNT') {
      return new RequestError(
        400,
        `the form has more than ${MAX_FIELDS} text fields: send images as file parts, and leave out other fields`,
      )
    }
  }
  return new RequestError(
    400,
    `the multipart body cannot be read (${messageOf(error)}): check the boundary and that it is complete`,
  )
}
