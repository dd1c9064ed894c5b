/** The variables of Python's huggingface_hub, with the same meaning and the same defaults. */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { StartError } from '../inference/errors.ts'

export interface HubEnvironment {
  /** address of the Hub, without a trailing slash */
  endpoint: string
  cacheDir: string
  token: string | undefined
  isOffline: boolean
}

type Variables = Record<string, string | undefined>

/** @throws StartError for an address or a token that cannot be used */
export function readHubEnvironment(env: Variables): HubEnvironment {
  const endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) {
    throw new StartError(`HF_ENDPOINT=${endpoint}: expected an address such as https://huggingface.co`)
  }
  const caches = env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const home = expandHome(env.HF_HOME || join(caches, 'huggingface'))
  return {
    endpoint,
    cacheDir: expandHome(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub')),
    token: readToken(env, home),
    isOffline: [env.HF_HUB_OFFLINE, env.TRANSFORMERS_OFFLINE].some((value) =>
      /^(1|on|yes|true)$/i.test(value ?? ''),
    ),
  }
}

function expandHome(path: string): string {
  return path.replace(/^~(?=$|[/\\])/, homedir())
}

/** HF_TOKEN, or the file that `hf auth login` writes. */
function readToken(env: Variables, home: string): string | undefined {
  const token =
    env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || readText(env.HF_TOKEN_PATH || join(home, 'token'))
  if (!token?.trim()) return undefined
  if (/^hf_[!-~]+$/.test(token.trim())) return token.trim()
  throw new StartError('HF_TOKEN=(not shown): expected a token that starts with hf_')
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(expandHome(path), 'utf8')
  } catch {
    return undefined
  }
}
