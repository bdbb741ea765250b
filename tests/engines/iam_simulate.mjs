// Runs IAM simulations: `node iam_simulate.mjs FOLDER`, where FOLDER holds node_modules. A JSON list of simulations comes
// in on standard input, a list of `Allowed`, `ImplicitlyDenied`, `ExplicitlyDenied` or `{error}` goes out.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const entry = join(process.argv[2], 'node_modules/@cloud-copilot/iam-simulate/dist/esm/index.js')
const { runSimulation } = await import(pathToFileURL(entry).href)

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const results = []
for (const simulation of JSON.parse(Buffer.concat(chunks).toString())) {
  const outcome = await runSimulation(simulation, {})
  results.push(outcome.resultType === 'error' ? { error: outcome.errors } : outcome.overallResult)
}
process.stdout.write(JSON.stringify(results))
