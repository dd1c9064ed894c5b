/** multipart/form-data by multer, into memory and within limits. */
import type { Request, Response } from 'express'
import multer, { MulterError, type StorageEngine } from 'multer'
import { checkLength, collect, tooLarge } from './body.ts'
import { RequestError } from './errors.ts'

export const MAX_FILES = 100

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
      collect(file.stream, left).then(
        (buffer) => {
          taken.set(req, (taken.get(req) ?? 0) + buffer.length)
          done(null, { buffer, size: buffer.length })
        },
        () => done(tooLarge(maxBytes)),
      )
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
      fields: 20,
      parts: MAX_FILES + 20,
      fileSize: maxBytes,
      fieldSize: maxBytes,
      fieldNameSize: 200,
      headerPairs: 50,
    },
  }).any()

  return (req, res) => {
    checkLength(req, maxBytes)
    return new Promise((resolve, reject) => {
      parse(req, res, (error: unknown) => {
        if (error) return reject(toRequestError(error, maxBytes))
        const files = (req.files as Express.Multer.File[] | undefined) ?? []
        resolve({
          files: files.map(({ fieldname, buffer }) => ({ name: fieldname, bytes: buffer })),
          fields: { ...req.body },
        })
      })
    })
  }
}

/** What goes wrong while a form is read is the sender's doing: multer and busboy give no status of their own. */
function toRequestError(error: unknown, maxBytes: number): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof MulterError) {
    if (error.code === 'LIMIT_FILE_SIZE' || error.code === 'LIMIT_FIELD_VALUE') return tooLarge(maxBytes)
    if (error.code === 'LIMIT_FILE_COUNT') {
      return new RequestError(413, `the form has more than ${MAX_FILES} files: send them in several requests`)
    }
  }
  const why = error instanceof Error ? error.message : String(error)
  return new RequestError(
    400,
    `the multipart body cannot be read (${why}): check the boundary and that it is complete`,
  )
}
