// Pause as older releases of the JavaScript client spell it: betaCreate({ autoPause }), betaPause.
import assert from 'node:assert/strict'
import { NotFoundError, Sandbox } from 'e2b'

async function waitFor(check, what, seconds = 60) {
  const end = Date.now() + seconds * 1000
  while (!(await check())) {
    if (Date.now() > end) assert.fail(`timed out waiting for ${what}`)
    await new Promise((r) => setTimeout(r, 30))
  }
}

const state = async (id) => (await Sandbox.getInfo(id)).state
const gone = (id) => state(id).then(() => false, (e) => e instanceof NotFoundError)
const lives = async (sbx, pid) =>
  (await sbx.commands.run(`kill -0 ${pid} && echo lives`)).stdout === 'lives\n'

const sbx = await Sandbox.betaCreate({ timeoutMs: 600_000, autoPause: true })
const { pid } = await sbx.commands.run('exec sleep 100000', { background: true, timeoutMs: 0 })
await sbx.files.write('kept.txt', 'kept')
await sbx.setTimeout(1000)
await waitFor(async () => (await state(sbx.sandboxId)) === 'paused', 'its end, at which it is paused')

const again = await Sandbox.connect(sbx.sandboxId, { timeoutMs: 600_000 })
assert.ok(await lives(again, pid))
assert.equal(await again.files.read('kept.txt'), 'kept')
assert.equal(await again.betaPause(), true)
assert.equal(await state(sbx.sandboxId), 'paused')
assert.equal(await again.betaPause(), false)
await again.connect({ timeoutMs: 600_000 })
assert.ok(await lives(again, pid))
assert.equal(await Sandbox.betaPause(sbx.sandboxId), true)
assert.equal(await Sandbox.kill(sbx.sandboxId), true)
await assert.rejects(Sandbox.betaPause(sbx.sandboxId), NotFoundError)

const plain = await Sandbox.betaCreate({ timeoutMs: 600_000 })
await plain.setTimeout(1000)
await waitFor(() => gone(plain.sandboxId), 'its end, at which it is killed')
process.exit(0) // the stream of the command that was left running would keep it
