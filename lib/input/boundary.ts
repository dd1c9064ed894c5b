/** The boundary of a multipart form, in its Content-Type. */
import { RequestError } from '../inference/errors.ts'

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
export function checkBoundary(contentType: string): void {
  const parameters = CONTENT_TYPE.test(contentType) ? [...contentType.matchAll(PARAMETERS)] : []
  const boundaries = parameters.filter(([, name]) => name.toLowerCase() === 'boundary')
  if (boundaries.length === 1 && BOUNDARY.test(boundaries[0][2].replace(/^"|"$/g, ''))) return
  const shown = JSON.stringify(contentType.length > 80 ? `${contentType.slice(0, 80)}...` : contentType)
  throw new RequestError(
    400,
    `the Content-Type of the multipart form is ${shown}: expected multipart/form-data; boundary=NAME, with one boundary of 1 to 70 letters, digits and '()+_,-./:=? (in quotes if it has any of ()/,:=? or a space). HTTP libraries set this header themselves: leave it out`,
  )
}
