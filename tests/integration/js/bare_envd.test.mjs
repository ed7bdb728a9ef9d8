// The JavaScript client against envd on this host, E2B_DEBUG=true.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CommandExitError, Sandbox } from 'e2b'

test('a command', async () => {
  const sbx = await Sandbox.create()
  const result = await sbx.commands.run('echo out; echo err >&2')
  assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['out\n', 'err\n', 0])
})

test('an exit code', async () => {
  const sbx = await Sandbox.create()
  await assert.rejects(sbx.commands.run('exit 3'), (e) => {
    assert(e instanceof CommandExitError)
    assert.equal(e.exitCode, 3)
    return true
  })
})

test('files', async () => {
  const sbx = await Sandbox.create()
  const dir = `/tmp/sandpit-js-${process.pid}`
  await sbx.files.write(`${dir}/a.txt`, 'hello\n')
  assert.equal(await sbx.files.read(`${dir}/a.txt`), 'hello\n')
  assert.deepEqual((await sbx.files.list(dir)).map((e) => e.name), ['a.txt'])
  await sbx.files.remove(dir)
  assert.equal(await sbx.files.exists(dir), false)
})
