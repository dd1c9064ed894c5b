/** multipart/form-data by multer, kept in memory and within limits. */
import type { Request } from 'express'
import multer, { MulterError, type StorageEngine } from 'multer'
import { type AdmittedContext, bodyTooLarge } from '../http/admission.ts'
import { messageOf, RequestError } from '../inference/errors.ts'
import { type BodyReservation, collect } from './body.ts'
import { checkBoundary } from './boundary.ts'
import { MAX_FILES } from './image_limit.ts'

const MAX_FIELDS = 20
const MAX_FIELD_BYTES = 2 ** 16

export interface Part {
  /** name of the form field */
  name: string
  bytes: Buffer<ArrayBuffer>
}

export interface Form {
  files: Part[]
  fields: Record<string, string>
}

export type FormReader = (ctx: AdmittedContext) => Promise<Form>

/** By request: multer's storage receives nothing else. */
const reservations = new WeakMap<Request, BodyReservation>()

/**
 * multer's memory storage sends every file through another stream; here the chunks are collected as they arrive, and
 * counted over all files of the request.
 */
function memoryStorage(maxBytes: number): StorageEngine {
  const received = new WeakMap<Request, number>()
  return {
    _handleFile(req, file, done) {
      const reservation = reservations.get(req)
      if (!reservation) return done(new Error('a form without a reservation'))
      collect(file.stream, maxBytes - (received.get(req) ?? 0), reservation).then((buffer) => {
        received.set(req, (received.get(req) ?? 0) + buffer.length)
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
      // names with brackets are not nested objects: building those can take very long
      fieldNestingDepth: 0,
      fieldNameSize: 200,
      headerPairs: 50,
    },
  }).any()

  return ({ req, res, reservation }) => {
    checkBoundary(req.headers['content-type'] ?? '')
    if (req.headers['content-encoding']) {
      throw new RequestError(415, 'a multipart body must not have a Content-Encoding: send it uncompressed')
    }
    reservations.set(req, reservation)
    return new Promise((resolve, reject) => {
      limitBody(req, maxBytes, reject)
      parse(req, res, (error: unknown) => {
        if (error) return reject(formError(error, maxBytes))
        const files = (req.files ?? []) as Express.Multer.File[]
        resolve({
          files: files.map(({ fieldname, buffer }) => ({ name: fieldname, bytes: buffer as Part['bytes'] })),
          fields: lastValues(req.body),
        })
      })
    })
  }
}

/** Count a body without a Content-Length while it arrives, with its text fields and headers of parts. */
function limitBody(req: Request, maxBytes: number, reject: (error: RequestError) => void): void {
  if (req.headers['content-length'] !== undefined) return // checked at admission
  let total = 0
  const count = (chunk: Buffer) => {
    total += chunk.length
    if (total <= maxBytes) return
    req.off('data', count).unpipe()
    req.resume()
    reject(bodyTooLarge(maxBytes))
  }
  req.on('data', count)
}

/** multer makes a list of a field that is sent twice: the last value counts. */
function lastValues(fields: Record<string, string | string[]> = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, [value].flat().at(-1) ?? '']),
  )
}

/** A form that cannot be parsed is the client's error: multer and busboy give no status of their own. */
function formError(error: unknown, maxBytes: number): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof MulterError) {
    if (error.code === 'LIMIT_FILE_SIZE') return bodyTooLarge(maxBytes)
    if (error.code === 'LIMIT_FIELD_VALUE') {
      return new RequestError(
        413,
        `a text field of the form is larger than ${MAX_FIELD_BYTES} bytes: send it as a file part`,
      )
    }
    if (error.code === 'LIMIT_FILE_COUNT') {
      return new RequestError(413, `the form has more than ${MAX_FILES} files: send several requests`)
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
    `the multipart body cannot be read (${messageOf(error)}): check its boundary and that it is complete`,
  )
}
