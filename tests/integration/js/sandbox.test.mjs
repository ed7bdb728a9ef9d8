// The JavaScript client against a daemon with real VMs.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import {
  AuthenticationError,
  CommandExitError,
  FileNotFoundError,
  InvalidArgumentError,
  Sandbox,
  SandboxNotFoundError,
  Template,
  TimeoutError,
} from 'e2b'
import { viaHost, waitFor } from './support.mjs'

describe('templates and keys', () => {
  test('exists', async () => {
    assert.equal(await Template.exists('base'), true)
    assert.equal(await Template.exists('no-such-' + randomUUID()), false)
  })

  test('a wrong key', async () => {
    await assert.rejects(Sandbox.create({ apiKey: 'e2b_' + '0'.repeat(40) }), AuthenticationError)
  })

  test('an unknown template', async () => {
    await assert.rejects(Sandbox.create('no-such-template'), /not found/)
  })
})

describe('life', () => {
  test('create, info, list, timeout, connect, kill', async () => {
    const mark = randomUUID()
    const metadata = { mark, 'a b': 'c&d' }
    const sbx = await Sandbox.create({ timeoutMs: 120_500, metadata })
    try {
      assert.equal(await sbx.isRunning(), true)
      const info = await sbx.getInfo()
      assert.equal(info.sandboxId, sbx.sandboxId)
      assert.equal(info.name, 'base')
      assert.equal(info.state, 'running')
      assert.deepEqual(info.metadata, metadata)
      assert.equal(Math.round((info.endAt - info.startedAt) / 1000), 121)

      const listed = await Sandbox.list({ query: { metadata, state: ['running'] } }).nextItems()
      assert.deepEqual(listed.map((s) => s.sandboxId), [sbx.sandboxId])

      await sbx.setTimeout(60_000)
      const short = (await sbx.getInfo()).endAt
      assert(short < info.endAt)
      await sbx.setTimeout(600_000)
      const long = (await sbx.getInfo()).endAt
      assert(long > info.endAt)
      const again = await Sandbox.connect(sbx.sandboxId, { timeoutMs: 30_000 })
      assert.equal((await again.getInfo()).endAt.getTime(), long.getTime())
      assert.equal((await again.commands.run('echo again')).stdout, 'again\n')
    } finally {
      assert.equal(await sbx.kill(), true)
    }
    assert.equal(await sbx.kill(), false)
    assert.equal(await sbx.isRunning(), false)
    await assert.rejects(Sandbox.connect(sbx.sandboxId), SandboxNotFoundError)
    await assert.rejects(sbx.getInfo(), SandboxNotFoundError)
  })

  test('paging in order', async () => {
    const mark = randomUUID()
    const made = []
    try {
      for (let n = 0; n < 3; n++) made.push(await Sandbox.create({ metadata: { mark } }))
      const pages = Sandbox.list({ query: { metadata: { mark } }, limit: 2 })
      const seen = []
      const sizes = []
      while (pages.hasNext) {
        const items = await pages.nextItems()
        sizes.push(items.length)
        seen.push(...items.map((s) => s.sandboxId))
      }
      assert.deepEqual(sizes, [2, 1])
      assert.deepEqual(seen, made.map((s) => s.sandboxId).reverse())
    } finally {
      for (const s of made) await s.kill()
    }
  })
})

describe('in one sandbox', () => {
  let sbx
  before(async () => {
    sbx = await Sandbox.create({ timeoutMs: 1_800_000, envs: { GREETING: "it's $me" } })
  })
  after(() => sbx?.kill())

  test('exact output and exit codes', async () => {
    const r = await sbx.commands.run("printf 'out\\n'; printf err >&2")
    assert.deepEqual([r.stdout, r.stderr, r.exitCode], ['out\n', 'err', 0])
    await assert.rejects(sbx.commands.run('echo wrong >&2; exit 42'), (e) => {
      assert(e instanceof CommandExitError)
      assert.deepEqual([e.exitCode, e.stderr], [42, 'wrong\n'])
      return true
    })
  })

  test('special characters', async () => {
    const text = 'žluťoučký kůň 🐎 "q" \'s\' $HOME `id` \\ |&;<>()'
    const r = await sbx.commands.run(`cat <<'MARK'\n${text}\nMARK`)
    assert.equal(r.stdout, text + '\n')
  })

  test('a command that exceeds its timeout', async () => {
    await assert.rejects(sbx.commands.run('sleep 61', { timeoutMs: 1000 }), TimeoutError)
    await waitFor(
      async () => !(await sbx.commands.list()).some((p) => p.args.join(' ').includes('sleep 61')),
      'the process to be killed'
    )
  })

  test('a missing cwd', async () => {
    await assert.rejects(sbx.commands.run('true', { cwd: '/no/such' }), InvalidArgumentError)
  })

  test('envs, cwd, users', async () => {
    assert.equal((await sbx.commands.run('printf %s "$GREETING"')).stdout, "it's $me")
    const own = await sbx.commands.run('printf %s "$GREETING"', { envs: { GREETING: 'mine' } })
    assert.equal(own.stdout, 'mine')
    assert.equal((await sbx.commands.run('pwd', { cwd: '/tmp' })).stdout, '/tmp\n')
    assert.equal((await sbx.commands.run('whoami')).stdout, 'user\n')
    assert.equal((await sbx.commands.run('whoami', { user: 'root' })).stdout, 'root\n')
    assert.equal((await sbx.commands.run('sudo -n whoami')).stdout, 'root\n')
  })

  test('background, list, connect, kill', async () => {
    const handle = await sbx.commands.run('echo begun; sleep 300', { background: true })
    assert((await sbx.commands.list()).some((p) => p.pid === handle.pid))
    const again = await sbx.commands.connect(handle.pid)
    assert.equal(again.pid, handle.pid)
    assert.equal(await sbx.commands.kill(handle.pid), true)
    await assert.rejects(handle.wait(), CommandExitError)
    assert.equal(await sbx.commands.kill(handle.pid), false)
  })

  test('stdin', async () => {
    const handle = await sbx.commands.run('cat', { background: true, stdin: true })
    await sbx.commands.sendStdin(handle.pid, 'one\n')
    await sbx.commands.sendStdin(handle.pid, 'two\n')
    await sbx.commands.closeStdin(handle.pid)
    assert.equal((await handle.wait()).stdout, 'one\ntwo\n')
  })

  test('a PTY with input and resize', async () => {
    let text = ''
    const pty = await sbx.pty.create({
      cols: 80,
      rows: 24,
      onData: (d) => (text += new TextDecoder().decode(d)),
    })
    const send = (s) => sbx.pty.sendInput(pty.pid, new TextEncoder().encode(s))
    await send('stty size\n')
    await waitFor(() => text.includes('24 80'), 'the first size')
    await sbx.pty.resize(pty.pid, { cols: 100, rows: 40 })
    await send('stty size\n')
    await waitFor(() => text.includes('40 100'), 'the new size')
    await send('exit 0\n')
    await pty.wait()
  })

  test('files', async () => {
    await sbx.files.write('js/a.txt', 'žluť\n')
    assert.equal(await sbx.files.read('js/a.txt'), 'žluť\n')
    assert.deepEqual(await sbx.files.read('js/a.txt', { format: 'bytes' }),
      new TextEncoder().encode('žluť\n'))
    const stream = await sbx.files.read('js/a.txt', { format: 'stream' })
    let streamed = ''
    const decoder = new TextDecoder()
    for await (const piece of stream) streamed += decoder.decode(piece, { stream: true })
    assert.equal(streamed, 'žluť\n')

    const many = await sbx.files.write([
      { path: 'js/b/one.txt', data: '1' },
      { path: 'js/b/two.txt', data: '2' },
    ])
    assert.deepEqual(many.map((m) => m.path), ['/home/user/js/b/one.txt', '/home/user/js/b/two.txt'])
    assert.deepEqual((await sbx.files.list('js', { depth: 2 })).map((e) => e.path),
      ['/home/user/js/a.txt', '/home/user/js/b', '/home/user/js/b/one.txt', '/home/user/js/b/two.txt'])
    const owner = await sbx.commands.run('stat -c %U:%G js/b/one.txt')
    assert.equal(owner.stdout, 'user:user\n')

    const info = await sbx.files.getInfo('js/b/one.txt')
    assert.deepEqual([info.name, info.size, info.type, info.owner], ['one.txt', 1, 'file', 'user'])
    await sbx.files.rename('js/b/one.txt', 'js/moved.txt')
    assert.equal(await sbx.files.exists('js/b/one.txt'), false)
    assert.equal(await sbx.files.exists('js/moved.txt'), true)
    assert.equal(await sbx.files.makeDir('js/dir'), true)
    assert.equal(await sbx.files.makeDir('js/dir'), false)
    await sbx.files.remove('js')
    await assert.rejects(sbx.files.read('js/a.txt'), FileNotFoundError)
  })

  test('an empty file', async () => {
    await sbx.files.write('empty', '')
    assert.equal(await sbx.files.read('empty'), '')
  })

  for (const expiration of [undefined, 300]) {
    test(`signed URLs, expiration ${expiration}`, async () => {
      const options = expiration ? { useSignatureExpiration: expiration } : {}
      await sbx.files.write('sign me.txt', 'signed')
      const down = await fetch(await sbx.downloadUrl('sign me.txt', options))
      assert.equal(down.status, 200)
      assert.equal(await down.text(), 'signed')
      const form = new FormData()
      form.append('file', new Blob(['uploaded']), 'up.txt')
      const up = await fetch(await sbx.uploadUrl('up.txt', options), { method: 'POST', body: form })
      assert.equal(up.status, 200)
      assert.equal(await sbx.files.read('up.txt'), 'uploaded')
    })
  }

  test('a server in the guest by getHost', async () => {
    await sbx.files.write('site/index.html', 'from the guest')
    await sbx.commands.run('python3 -m http.server 8000', {
      cwd: 'site', background: true, timeoutMs: 0,
    })
    const host = sbx.getHost(8000)
    await waitFor(async () => (await viaHost(host)).status === 200, 'the server')
    assert.equal((await viaHost(host)).body, 'from the guest')
    const closed = await viaHost(sbx.getHost(9))
    assert.equal(closed.status, 502)
    assert.equal(closed.body, `{"sandboxId":"${sbx.sandboxId}",` +
      '"message":"The sandbox is running but port is not open","port":9,"code":502}')
  })

  test('an aborted request does not disturb others', async () => {
    const signal = AbortSignal.timeout(200)
    await assert.rejects(sbx.commands.run('sleep 5', { signal, requestTimeoutMs: 200 }))
    assert.equal((await sbx.commands.run('echo fine')).stdout, 'fine\n')
  })
})
