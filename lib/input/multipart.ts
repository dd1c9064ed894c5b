/** multipart/form-data by multer, kept in memory and within limits. */
import type { Writable } from 'node:stream'
import type { Request } from 'express'
import multer, { MulterError, type StorageEngine } from 'multer'
import { type AdmittedContext, bodyTooLarge } from '../http/admission.ts'
import { messageOf, RequestError } from '../inference/errors.ts'
import { releaseChunk } from '../workers/memory.ts'
import { collect, requireUnread } from './body.ts'
import { MAX_FILES } from './input.ts'

const MAX_FIELDS = 20
const MAX_FIELD_BYTES = 2 ** 16
/** kept until a form has been read, of 64 kB at most each */
const MAX_CHUNKS = 8

export interface Part {
  /** name of the form field */
  name: string
  bytes: Buffer<ArrayBuffer>
}

export interface Form {
  files: Part[]
  /** the last value of a text field */
  text(name: string): string | undefined
}

/** With an option that multer has, but not its types (2.3). */
type MulterOptions = multer.Options & { streamHandler(req: Request, parser: Writable): void }

export type FormReader = (ctx: AdmittedContext) => Promise<Form>

/**
 * multer's memory storage sends every file through another stream; here the chunks are collected as they arrive, and
 * counted over all files of the request.
 */
function memoryStorage(maxBytes: number): StorageEngine {
  return {
    _handleFile({ context }, { stream }, done) {
      const { reservation } = context as AdmittedContext
      collect(stream, maxBytes, reservation).then((buffer) => {
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
  const options: MulterOptions = {
    storage: memoryStorage(maxBytes),
    streamHandler(req, parser) {
      req.context.res.once('close', () => removeListeners(parser))
      req.pipe(parser)
    },
    limits: {
      files: MAX_FILES,
      fields: MAX_FIELDS,
      parts: MAX_FILES + MAX_FIELDS,
      fieldSize: MAX_FIELD_BYTES,
      // names with brackets are not nested objects: building those can take very long
      fieldNestingDepth: 0,
      fieldNameSize: 200,
      headerPairs: 50,
    },
  }
  const parse = multer(options).any()

  return ({ req, res }) => {
    requireUnread(req)
    checkBoundary(req.headers['content-type'] ?? '')
    if (req.headers['content-encoding']) {
      throw new RequestError(415, 'a multipart body must not have a Content-Encoding: send it uncompressed')
    }
    return new Promise((resolve, reject) => {
      limitBody(req, maxBytes, reject)
      const chunks = firstChunks(req)
      parse(req, res, (error: unknown) => {
        // after an error, the parser may still read them
        if (error) return reject(formError(error))
        chunks.forEach(releaseChunk)
        const files = (req.files ?? []) as Express.Multer.File[]
        const fields: Record<string, string | string[]> = req.body ?? {}
        resolve({
          files: files.map(({ fieldname, buffer }) => ({ name: fieldname, bytes: buffer as Part['bytes'] })),
          // multer makes a list of a field that is sent twice
          text: (name) => [fields[name]].flat().at(-1),
        })
      })
    })
  }
}

/**
 * Let a used parser refer to nothing. From Node 24 on, it stays in memory until the next full garbage collection, and its
 * listeners would keep the whole request there.
 */
function removeListeners(parser: Writable): void {
  // multer does so in its own setImmediate, but then adds a listener
  setImmediate(() => parser.removeAllListeners().on('error', ignore))
}

function ignore(): void {}

/**
 * The first chunks of a body, while it arrives. The parts are views of them, so only the form as a whole can free them:
 * left to the garbage collector, those of small images alone cause a full collection each time Node 24's large young
 * generation fills up.
 */
function firstChunks(req: Request): Buffer[] {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => {
    if (chunks.length < MAX_CHUNKS) chunks.push(chunk)
  })
  return chunks
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

/** A form that cannot be parsed is the client's error: multer and busboy give no status of their own. */
function formError(error: unknown): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof MulterError) {
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

/** RFC 9110: a token, or a quoted string. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const QUOTED = '"(?:[\\t !#-\\[\\]-~\\x80-\\xff]|\\\\[\\t -~\\x80-\\xff])*"'
const PARAMETER = `[ \\t]*;[ \\t]*(${TOKEN})=(${TOKEN}|${QUOTED})`
const CONTENT_TYPE = new RegExp(`^multipart/form-data(?:${PARAMETER})*[ \\t]*$`, 'i')
const PARAMETERS = new RegExp(PARAMETER, 'g')

/** RFC 2046 */
const BOUNDARY = /^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$/

/**
 * @param contentType of a multipart request
 * @throws RequestError 400 unless it has exactly one valid boundary; multer and its parser disagree about all other cases
 */
function checkBoundary(contentType: string): void {
  const parameters = CONTENT_TYPE.test(contentType) ? [...contentType.matchAll(PARAMETERS)] : []
  const boundaries = parameters.filter(([, name]) => name.toLowerCase() === 'boundary')
  if (boundaries.length === 1 && BOUNDARY.test(boundaries[0][2].replace(/^"|"$/g, ''))) return
  const shown = JSON.stringify(contentType.length > 80 ? `${contentType.slice(0, 80)}...` : contentType)
  throw new RequestError(
    400,
    `the Content-Type of the multipart form is ${shown}: expected multipart/form-data; boundary=NAME, with one boundary of 1 to 70 letters, digits and '()+_,-./:=? (in quotes if it has any of ()/,:=? or a space). HTTP libraries set this header themselves: leave it out`,
  )
}
