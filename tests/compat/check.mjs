// One release of the JavaScript client: create, run, files, pause. Prints what worked as JSON.
import dns from 'node:dns'
import { createRequire } from 'node:module'
import path from 'node:path'

// *.localhost is this machine, which not every resolver knows.
const { lookup } = dns
dns.lookup = (name, ...rest) => lookup(name.endsWith('.localhost') ? '127.0.0.1' : name, ...rest)

const { Sandbox } = createRequire(path.resolve(process.argv[2], 'x.js'))('e2b')
const results = {}

async function step(name, call) {
  try {
    results[name] = await call()
  } catch (e) {
    results[name] = `${e.name}: ${e.message}`.slice(0, 200)
  }
  return results[name] === 'yes'
}

let sbx
const steps = {
  run: async () =>
    (await sbx.commands.run('echo $((6 * 7))')).stdout === '42\n' ? 'yes' : 'wrong',
  files: async () => {
    await sbx.files.write('a file.txt', 'žluť')
    return (await sbx.files.read('a file.txt')) === 'žluť' ? 'yes' : 'wrong'
  },
  pause: async () => {
    const how = sbx.pause ?? sbx.betaPause
    if (!how) return 'none'
    await how.call(sbx)
    const again = await (Sandbox.resume ?? Sandbox.connect).call(Sandbox, sbx.sandboxId)
    return (await again.files.read('a file.txt')) === 'žluť' ? 'yes' : 'wrong'
  },
}
const create = async () => {
  sbx = await Sandbox.create({ timeoutMs: 120_000 })
  return 'yes'
}
if (await step('create', create)) {
  for (const [name, call] of Object.entries(steps)) await step(name, call)
  await sbx.kill().catch((e) => (results.kill = e.message))
}
console.log(JSON.stringify(results))
process.exit(0)
