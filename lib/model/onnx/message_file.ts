/** Protobuf messages in a file: fields that are not needed are skipped, not read. */
import type { FileHandle } from 'node:fs/promises'
import { PbfReader } from 'pbf'

/** A field of a message, or a message: where its bytes are in the file. */
export interface Field {
  /** of the field, as in the .proto file */
  number: number
  start: number
  /** exclusive */
  end: number
}

/** Bytes per read. */
const CHUNK = 2 ** 14
/** A field begins with its number and its length: two varints of up to 10 bytes. */
const MAX_HEADER = 20
const LENGTH_DELIMITED = 2

export class MessageFile {
  readonly #file: FileHandle
  readonly #size: number
  #chunk = new Uint8Array(0)
  #chunkStart = 0

  constructor(file: FileHandle, size: number) {
    this.#file = file
    this.#size = size
  }

  /** The file's own message. */
  get root(): Field {
    return { number: 0, start: 0, end: this.#size }
  }

  async *fields(message: Field): AsyncGenerator<Field> {
    for (let position = message.start; position < message.end; ) {
      const pbf = await this.#reader(position, position + MAX_HEADER)
      const number = pbf.nextField()
      let end = position
      if (pbf.type === LENGTH_DELIMITED) end += pbf.readVarint()
      else pbf.skip(pbf.type)
      const start = position + pbf.pos
      end = Math.min(end + pbf.pos, this.#size) // a damaged file announces more than it has
      yield { number, start, end }
      position = end
    }
  }

  /** The text of a field. */
  async text({ start, end }: Field): Promise<string> {
    return new TextDecoder().decode((await this.#reader(start, end)).buf)
  }

  /** Read a whole message, see PbfReader.readFields. */
  async decode<T>(
    { start, end }: Field,
    result: T,
    readField: (number: number, result: T, pbf: PbfReader) => void,
  ): Promise<T> {
    return (await this.#reader(start, end)).readFields(readField, result)
  }

  async #reader(start: number, wantedEnd: number): Promise<PbfReader> {
    const end = Math.min(wantedEnd, this.#size)
    if (start < this.#chunkStart || end > this.#chunkStart + this.#chunk.length) {
      const chunk = new Uint8Array(Math.max(end - start, CHUNK))
      const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, start)
      this.#chunk = chunk.subarray(0, bytesRead)
      this.#chunkStart = start
    }
    return new PbfReader(this.#chunk.subarray(start - this.#chunkStart, end - this.#chunkStart))
  }
}
