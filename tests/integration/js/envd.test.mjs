// The JavaScript client's helpers for what envd does, in one VM.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { FileNotFoundError, Sandbox } from 'e2b'

let sbx

before(async () => {
  sbx = await Sandbox.create({ timeoutMs: 1_800_000 })
})

after(async () => {
  await sbx.kill()
})

async function waitFor(check, what, seconds = 60) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    if (await check()) return
    if (Date.now() > end) assert.fail(`timed out waiting for ${what}`)
    await new Promise((r) => setTimeout(r, 20))
  }
}

test('a watch', async () => {
  const events = []
  let exits = 0
  await sbx.files.makeDir('w/old')
  const handle = await sbx.files.watchDir('w', (e) => events.push(e), {
    recursive: true,
    includeEntry: true,
    onExit: () => exits++,
  })
  const seen = (type, name) => () => events.some((e) => e.type === type && e.name === name)
  await sbx.files.write('w/old/a.txt', '12345')
  await waitFor(seen('create', 'old/a.txt'), 'create')
  await waitFor(seen('write', 'old/a.txt'), 'write')
  const { entry } = events.filter((e) => e.name === 'old/a.txt').at(-1)
  assert.deepEqual([entry.name, entry.path, entry.size], ['a.txt', '/home/user/w/old/a.txt', 5])
  await sbx.commands.run('mkdir -p w/new/deep && echo x > w/new/deep/b.txt')
  await waitFor(seen('create', 'new/deep/b.txt'), 'a file in a new folder')
  await sbx.files.rename('w/old/a.txt', 'w/c.txt')
  await waitFor(seen('rename', 'old/a.txt'), 'rename')
  await waitFor(seen('create', 'c.txt'), 'the new name')
  await sbx.files.remove('w/new')
  await waitFor(seen('remove', 'new/deep/b.txt'), 'remove in a folder')
  await waitFor(seen('remove', 'new'), 'remove')
  await handle.stop()
  await waitFor(() => exits === 1, 'the exit')
})

test('a watch of one level only', async () => {
  const names = []
  await sbx.files.makeDir('flat/sub')
  const handle = await sbx.files.watchDir('flat', (e) => names.push(e.name))
  await sbx.files.write('flat/sub/deep', 'x')
  await sbx.files.write('flat/near', 'x')
  await waitFor(() => names.includes('near'), 'an event')
  assert(!names.some((n) => n.includes('deep')))
  await handle.stop()
  await assert.rejects(sbx.files.watchDir('no-such-folder', () => {}), FileNotFoundError)
})

test('metadata', async () => {
  const info = await sbx.files.write('m.txt', 'x', { metadata: { Owner: 'someone', n: '2' } })
  assert.deepEqual(info.metadata, { owner: 'someone', n: '2' })
  assert.deepEqual((await sbx.files.getInfo('m.txt')).metadata, info.metadata)
  const listed = await sbx.files.list('.')
  assert.deepEqual(listed.find((e) => e.name === 'm.txt').metadata, info.metadata)
})

test('gzip', async () => {
  const text = 'compresses well '.repeat(50_000)
  await sbx.files.write('g.txt', text, { gzip: true })
  assert.equal((await sbx.files.getInfo('g.txt')).size, text.length)
  assert.equal(await sbx.files.read('g.txt', { gzip: true }), text)
  assert.equal(await sbx.files.read('g.txt'), text)
  const bytes = Uint8Array.from({ length: 1_000_001 }, (_, n) => (n * 7919) % 251)
  await sbx.files.write('g.bin', bytes.buffer, { useOctetStream: true })
  assert.deepEqual(await sbx.files.read('g.bin', { format: 'bytes', gzip: true }), bytes)
})

test('a stream of a file', async () => {
  await sbx.files.write('s.txt', 'line\n'.repeat(100_000))
  let n = 0
  for await (const piece of await sbx.files.read('s.txt', { format: 'stream' })) n += piece.length
  assert.equal(n, 500_000)
})

test('stdin', async () => {
  const handle = await sbx.commands.run('cat', { background: true, stdin: true })
  await handle.sendStdin('one\n')
  await sbx.commands.sendStdin(handle.pid, 'žluť\n')
  await handle.closeStdin()
  assert.equal((await handle.wait()).stdout, 'one\nžluť\n')
})

test('a pty', async () => {
  let text = ''
  const decoder = new TextDecoder()
  const onData = (d) => (text += decoder.decode(d, { stream: true }))
  const handle = await sbx.pty.create({ cols: 80, rows: 24, onData, timeoutMs: 120_000 })
  const send = (line) => sbx.pty.sendInput(handle.pid, new TextEncoder().encode(line))
  await send('stty size; echo one-$((1 + 1))\n')
  await waitFor(() => text.includes('24 80') && text.includes('one-2'), 'an answer')
  await sbx.pty.resize(handle.pid, { cols: 100, rows: 40 })
  await send('stty size; echo two-$((2 + 2))\n')
  await waitFor(() => text.includes('40 100') && text.includes('two-4'), 'the new size')
  await send('exit 3\n')
  await assert.rejects(handle.wait(), (e) => e.exitCode === 3)
})

test('a command that is left and found again', async () => {
  const parts = []
  const handle = await sbx.commands.run('echo begun; read x; echo got $x', {
    background: true,
    stdin: true,
    onStdout: (d) => parts.push(d),
  })
  await waitFor(() => parts.join('') === 'begun\n', 'output')
  await handle.disconnect()
  await sbx.commands.sendStdin(handle.pid, 'it\n')
  let rest = ''
  const again = await sbx.commands.connect(handle.pid, { onStdout: (d) => (rest += d) })
  assert.equal((await again.wait()).exitCode, 0)
  assert.equal(rest, 'got it\n')
})

test('git', async () => {
  const repo = '/home/user/repo'
  await sbx.git.init(repo, { initialBranch: 'main' })
  await sbx.git.configureUser('Test', 'test@example.com')
  await sbx.files.write(`${repo}/a.txt`, 'one\n')
  assert.equal((await sbx.git.status(repo)).untrackedCount, 1)
  await sbx.git.add(repo)
  await sbx.git.commit(repo, 'the first')
  assert.equal((await sbx.git.status(repo)).isClean, true)
  await sbx.git.createBranch(repo, 'other')
  const { branches, currentBranch } = await sbx.git.branches(repo)
  assert.deepEqual([branches.sort(), currentBranch], [['main', 'other'], 'other'])
  await sbx.git.clone(repo, { path: '/home/user/clone' })
  assert.equal(await sbx.files.read('/home/user/clone/a.txt'), 'one\n')
})
