/**
 * Protects a server on this machine from web pages of other sites: DNS rebinding (a foreign name that resolves to
 * 127.0.0.1) is visible in the Host header, a request from a foreign page in the Origin header.
 */
import { isIPv4 } from 'node:net'
import type { RequestHandler } from 'express'
import { RequestError } from '../inference/errors.ts'

/** A host name, IPv4 address or bracketed IPv6 address, and perhaps a port. */
const HOST_HEADER = /^(\[[\da-f:.]+\]|[^\s:/?#@[\]]+)(?::\d*)?$/i

/** Methods that only read; a page of another origin cannot read what they return. */
export const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS']

interface HostSettings {
  /** the address that the server listens on */
  HOST: string
  /** host names in lower case */
  ALLOWED_HOSTS: readonly string[]
  /** origins of pages that may call the server */
  CORS_ORIGINS: readonly string[]
}

/** @param host an address to listen on, or a host name without its port */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  if (name === '::1' || name === '[::1]') return true
  return isIPv4(name) && name.startsWith('127.')
}

/** The name in a Host header, or the host of an origin; undefined if malformed. */
function hostName(host: string): string | undefined {
  return HOST_HEADER.exec(host)?.[1].toLowerCase().replace(/\.$/, '')
}

function isAllowedHost(host: string, allowed: ReadonlySet<string>): boolean {
  const name = hostName(host)
  return name !== undefined && (isLoopback(name) || allowed.has(name))
}

/** Whether the origin is the server's own, or a host from which everything is allowed. */
function isOwnOrigin(origin: string, host: string, allowed: ReadonlySet<string>): boolean {
  if (!URL.canParse(origin)) return false // such as `null`, of a sandboxed frame or a file
  const { host: originHost } = new URL(origin)
  return originHost === host.toLowerCase() || isAllowedHost(originHost, allowed)
}

/**
 * On a loopback address, 421 for a Host header that is neither a loopback name nor in ALLOWED_HOSTS, and 403 for a POST or
 * PUT from a page of another site, unless it is in CORS_ORIGINS. On any other address only the Host header is checked, if
 * ALLOWED_HOSTS is set, and not for probes: load balancers send them with an address as Host. Without these headers, as
 * curl and scripts send requests, nothing is refused.
 *
 * @param probes paths of the probes
 */
export function allowedHosts(
  { HOST, ALLOWED_HOSTS, CORS_ORIGINS: origins }: HostSettings,
  probes: readonly string[],
): RequestHandler {
  const isLocal = isLoopback(HOST)
  const allowed: ReadonlySet<string> = new Set(ALLOWED_HOSTS)
  const isAllowedOrigin = (origin: string, name: string) =>
    origins.includes('*') || origins.includes(origin) || isOwnOrigin(origin, name, allowed)
  const exempt = new Set(isLocal ? [] : probes)
  const isChecked = isLocal || allowed.size > 0

  return (req, _res, next) => {
    if (!isChecked || exempt.has(req.path)) return next()
    const { host: name, origin, 'sec-fetch-site': site } = req.headers
    if (name !== undefined && !isAllowedHost(name, allowed)) throw misdirected(name)
    if (!isLocal || SAFE_METHODS.includes(req.method)) return next()
    // an allowed origin is also cross-site; browsers send the Origin with every POST and PUT
    const isForeign = origin === undefined ? site === 'cross-site' : !isAllowedOrigin(origin, name ?? '')
    if (isForeign) throw foreignPage(origin)
    next()
  }
}

function misdirected(host: string): RequestError {
  return new RequestError(
    421,
    `the Host header is ${JSON.stringify(host)}: expected localhost, 127.0.0.1, [::1] or a name in ALLOWED_HOSTS; ` +
      'if this name is meant to reach this server, add it there',
  )
}

function foreignPage(origin = 'another site'): RequestError {
  return new RequestError(
    403,
    `the request comes from a page of ${origin}: expected a page of this server; to allow pages of another origin, add it to CORS_ORIGINS`,
  )
}
