/** The command line: the folder and the port, or something to print instead of serving. */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { toHubReference } from '../hub/reference.ts'
import { messageOf, StartError } from '../inference/errors.ts'
import { SETTINGS } from './settings.ts'

export interface Command {
  /** what to do */
  action: 'serve' | 'describe' | 'check' | 'help' | 'version'
  /** settings given on the command line, as environment variables */
  env: Record<string, string>
  /** the default of PORT, if it is another one */
  port?: number
}

/** SageMaker starts a container with the argument `serve` and talks to this port. */
const CLOUD_PORT = 8080

const USAGE =
  'expected [MODEL_DIR | owner/model | serve] [--file PATH] [--port N] [--describe] [--check] [--help] [--version]'

/**
 * @param args without the program's own name
 * @throws StartError for an unknown argument
 */
export function readCommand(args: string[]): Command {
  try {
    const { values, positionals } = parseArgs({
      args,
      options: {
        port: { type: 'string' },
        file: { type: 'string' },
        describe: { type: 'boolean' },
        check: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
      },
      allowPositionals: true,
    })
    if (positionals.length > 1) throw new Error(`Unexpected argument '${positionals[1]}'`)
    const [folder] = positionals
    const isCloud = folder === 'serve'
    const env: Record<string, string> = {}
    if (folder && !isCloud) env.MODEL_DIR = existsSync(folder) ? folder : (toHubReference(folder) ?? folder)
    if (values.file !== undefined) env.MODEL_FILE = values.file
    if (values.port !== undefined) env.PORT = values.port
    const action = (['help', 'version', 'describe', 'check'] as const).find((name) => values[name]) ?? 'serve'
    return { action, env, port: isCloud ? CLOUD_PORT : undefined }
  } catch (error) {
    throw new StartError(`${messageOf(error).split('. ')[0]}: ${USAGE}`)
  }
}

/** The output of --help. */
export function helpText(): string {
  const settings = Object.entries(SETTINGS).map(([name, { default: value, shownDefault, help }]) => {
    const byDefault = shownDefault ?? String(value)
    return `  ${name.padEnd(21)}${help} (${byDefault})`
  })
  return [
    'onnxpress [MODEL_DIR]    serve the model in this folder, or in the one that MODEL_DIR names',
    'onnxpress owner/model    serve a model of the Hugging Face Hub; owner/model@revision for a branch, a tag or a commit',
    '',
    '  --port N     the port to listen on, instead of PORT',
    '  --file PATH  the graph in the folder, instead of MODEL_FILE, such as onnx/model_quantized.onnx',
    '  --describe   print how the folder is read, and exit',
    '  --check      compare with check.json, which onnxpress.save wrote; the exit code is 1 if anything differs',
    '  --version    print the version',
    '',
    'Settings, as environment variables or in a .env file (with their defaults):',
    ...settings,
  ].join('\n')
}
