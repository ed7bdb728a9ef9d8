// Pause, resume, snapshots and forks through the JavaScript client.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, test } from 'node:test'
import { Sandbox, SandboxNotFoundError, TimeoutError } from 'e2b'
import { Everything, api, bootId, viaHost, waitFor } from './support.mjs'

const made = []

async function create(...args) {
  const sbx = await Sandbox.create(...args)
  made.push(sbx)
  return sbx
}

after(() => Promise.all(made.map((sbx) => sbx.kill())))

async function all(pages) {
  const found = []
  while (pages.hasNext) found.push(...(await pages.nextItems()))
  return found
}

describe('pause and connect', () => {
  test('everything is kept', async () => {
    const mark = randomUUID()
    const sbx = await create({ timeoutMs: 600_000, envs: { GREETING: 'hello' }, metadata: { mark } })
    const state = await Everything.in(sbx, mark)
    assert.equal(await sbx.pause(), true)
    assert.equal(await sbx.pause(), false)
    assert.equal(await sbx.isRunning(), false)
    const info = await sbx.getInfo()
    assert.equal(info.state, 'paused')
    assert.deepEqual(info.metadata, { mark })

    const other = await Sandbox.connect(sbx.sandboxId, { timeoutMs: 600_000 })
    await state.check(other)
    assert.equal((await other.commands.run('echo $GREETING')).stdout, 'hello\n')
    assert.equal((await other.getInfo()).state, 'running')
  })

  test('two connects join', async () => {
    const sbx = await create({ timeoutMs: 600_000 })
    const boot = await bootId(sbx)
    await sbx.pause()
    const two = await Promise.all([1, 2].map(() => Sandbox.connect(sbx.sandboxId)))
    assert.deepEqual(await Promise.all(two.map(bootId)), [boot, boot])
  })

  test('list by state, in pages, and kill of a paused one', async () => {
    const mark = randomUUID()
    const options = { timeoutMs: 600_000, metadata: { mark } }
    const [first, second] = [await create(options), await create(options)]
    await first.pause()
    const list = async (state, limit) =>
      (await all(Sandbox.list({ query: { metadata: { mark }, state }, limit })))
        .map((s) => [s.sandboxId, s.state])
    const both = [[second.sandboxId, 'running'], [first.sandboxId, 'paused']]
    assert.deepEqual(await list(undefined, 1), both)
    assert.deepEqual(await list(['running', 'paused']), both)
    assert.deepEqual(await list(['paused']), [both[1]])
    assert.deepEqual(await list(['running']), [both[0]])
    assert.equal(await first.kill(), true)
    assert.equal(await first.kill(), false)
    await assert.rejects(Sandbox.connect(first.sandboxId), SandboxNotFoundError)
    assert.deepEqual(await list(['paused']), [])
  })

  test('without memory', async () => {
    for (const [pause, resume] of [[{ keepMemory: false }, {}], [{}, { onResume: 'reboot' }]]) {
      const sbx = await create({ timeoutMs: 600_000 })
      const state = await Everything.in(sbx, randomUUID())
      assert.equal(await sbx.pause(pause), true)
      await sbx.connect(resume)
      await state.checkDiskOnly(sbx)
    }
  })

  test('an open stream is told', async () => {
    const sbx = await create({ timeoutMs: 600_000 })
    const handle = await sbx.commands.run('sleep 100000', { background: true, timeoutMs: 0 })
    await sbx.pause()
    await assert.rejects(handle.wait(), (e) => e instanceof TimeoutError && /paused/.test(e.message))
  })

  test('the old spelling', async () => {
    const sbx = await create({ timeoutMs: 600_000 })
    assert.equal(await sbx.betaPause(), true)
    assert.equal((await sbx.getInfo()).state, 'paused')
    await sbx.connect()
    assert.equal((await sbx.commands.run('echo there')).stdout, 'there\n')
  })
})

describe('the end of its time', () => {
  const paused = (sbx) => async () =>
    (await api('GET', `/sandboxes/${sbx.sandboxId}`)).body.pauseMode

  test('auto-pause, and traffic that wakes it', async () => {
    const lifecycle = { onTimeout: 'pause', autoResume: true }
    const sbx = await create({ timeoutMs: 600_000, lifecycle })
    assert.deepEqual((await sbx.getInfo()).lifecycle, lifecycle)
    await sbx.files.write('site/index.html', 'from the guest')
    const server = await sbx.commands.run('python3 -m http.server 8000', {
      cwd: 'site', background: true, timeoutMs: 0,
    })
    await server.disconnect()
    const host = sbx.getHost(8000)
    await waitFor(async () => (await viaHost(host)).status === 200, 'the server')
    const boot = await bootId(sbx)
    await sbx.setTimeout(0)
    await waitFor(paused(sbx), 'the sandbox to be paused')
    assert.equal(await bootId(sbx), boot)
    await sbx.pause()
    assert.deepEqual(await viaHost(host), { status: 200, body: 'from the guest' })
    assert.equal((await sbx.getInfo()).state, 'running')
  })

  test('auto-pause that traffic does not wake', async () => {
    const sbx = await create({ timeoutMs: 600_000, lifecycle: { onTimeout: 'pause' } })
    await sbx.setTimeout(0)
    await waitFor(paused(sbx), 'the sandbox to be paused')
    assert.equal(await sbx.isRunning(), false)
    assert.equal((await sbx.getInfo()).state, 'paused')
  })

  test('auto-pause of the disk alone', async () => {
    const onTimeout = { action: 'pause', keepMemory: false }
    const sbx = await create({ timeoutMs: 600_000, lifecycle: { onTimeout } })
    const state = await Everything.in(sbx, randomUUID())
    await sbx.setTimeout(0)
    assert.equal(await waitFor(paused(sbx), 'the sandbox to be paused'), 'filesystem')
    await sbx.connect()
    await state.checkDiskOnly(sbx)
  })
})

describe('snapshots and forks', () => {
  test('a named snapshot', async () => {
    const mark = randomUUID()
    const name = 'js-' + mark.slice(0, 8)
    const sbx = await create({ timeoutMs: 600_000 })
    const state = await Everything.in(sbx, mark)
    const snapshot = await sbx.createSnapshot({ name })
    assert.equal(snapshot.snapshotId, `default/${name}:default`)
    await state.check(sbx)
    const ids = async (pages) => (await all(pages)).map((s) => s.snapshotId)
    assert.deepEqual(await ids(sbx.listSnapshots()), [snapshot.snapshotId])
    assert.deepEqual(await ids(Sandbox.listSnapshots({ sandboxId: sbx.sandboxId, limit: 1 })),
      [snapshot.snapshotId])

    const copy = await create(snapshot.snapshotId, { timeoutMs: 600_000 })
    await state.check(copy)
    await copy.files.write('kept.txt', 'mine')
    assert.equal(await sbx.files.read('kept.txt'), mark)
    await copy.kill()
    assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
    assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
  })

  test('a fork of three', async () => {
    const mark = randomUUID()
    const sbx = await create({ timeoutMs: 600_000 })
    const state = await Everything.in(sbx, mark)
    const forks = await sbx.fork({ count: 3, timeoutMs: 600_000 })
    made.push(...forks)
    assert.equal(new Set([sbx, ...forks].map((s) => s.sandboxId)).size, 4)
    for (const [n, fork] of forks.entries()) {
      assert.equal(await bootId(fork), state.boot)
      assert.equal(await state.tell(fork, 'print(kept)'), mark)
      await state.tell(fork, `kept = 'fork ${n}'`)
      await fork.files.write('kept.txt', `fork ${n}`)
    }
    for (const [n, fork] of forks.entries()) {
      assert.equal(await state.tell(fork, 'print(kept)'), `fork ${n}`)
      assert.equal(await fork.files.read('kept.txt'), `fork ${n}`)
    }
    await state.check(sbx)
  })
})
