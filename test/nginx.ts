/** Debian's nginx with deploy/nginx.conf, in front of servers on this machine. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { freePort, ROOT } from './running_server.ts'

const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find((path) => existsSync(path))

/** false, or why the tests that need nginx are skipped. */
export const NO_NGINX = NGINX ? false : 'there is no nginx: install it (Debian: nginx)'

export interface Nginx {
  url: string
  stop(): Promise<void>
}

/** @param addresses of the servers, host:port */
export async function startNginx(addresses: string[]): Promise<Nginx> {
  const dir = mkdtempSync(join(tmpdir(), 'onnxpress-nginx-'))
  const port = await freePort()
  const upstream = addresses.map((address) => `server ${address} max_fails=0;`).join('\n')
  const conf = readFileSync(join(ROOT, 'deploy/nginx.conf'), 'utf8')
    .replace('server onnxpress:8890 resolve max_fails=0;', upstream)
    .replace('listen 8890', `listen 127.0.0.1:${port}`)
  writeFileSync(join(dir, 'nginx.conf'), `daemon off; pid ${dir}/pid; error_log ${dir}/error.log;\n${conf}`)
  const nginx: ChildProcess = spawn(NGINX!, ['-p', dir, '-c', join(dir, 'nginx.conf')], { stdio: 'inherit' })
  const url = `http://127.0.0.1:${port}`
  process.once('exit', () => nginx.kill('SIGKILL'))
  while (!(await fetch(`${url}/livez`).catch(() => undefined))) {
    if (nginx.exitCode !== null) throw new Error(`nginx ended with code ${nginx.exitCode}`)
    await setTimeout(20)
  }
  return {
    url,
    async stop() {
      const exited = once(nginx, 'exit')
      nginx.kill('SIGTERM')
      await exited
    },
  }
}
