// What the tests of the JavaScript client share.
import assert from 'node:assert/strict'
import http from 'node:http'

const proxy = new URL(process.env.E2B_SANDBOX_URL ?? 'http://127.0.0.1:3002')

// One plain request through the proxy with a Host of our choice.
export function viaHost(host, path = '/', headers = {}) {
  return new Promise((resolve, reject) => {
    const options = {
      host: proxy.hostname, port: proxy.port, path, headers: { Host: host, ...headers },
    }
    http.get(options, (r) => {
      let body = ''
      r.on('data', (d) => (body += d))
      r.on('end', () => resolve({ status: r.statusCode, body }))
    }).on('error', reject)
  })
}

export async function waitFor(check, what, seconds = 60) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const value = await check()
    if (value) return value
    if (Date.now() > end) assert.fail(`timed out waiting for ${what}`)
    await new Promise((r) => setTimeout(r, 30))
  }
}

// One call of the control API: status and body.
export async function api(method, path, body) {
  const r = await fetch(process.env.E2B_API_URL + path, {
    method,
    headers: { 'X-API-KEY': process.env.E2B_API_KEY, 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  })
  const text = await r.text()
  return { status: r.status, body: text ? JSON.parse(text) : undefined }
}

export async function bootId(sbx) {
  return (await sbx.commands.run('cat /proc/sys/kernel/random/boot_id')).stdout.trim()
}

async function began(sbx, pid) {
  const { stdout } = await sbx.commands.run(`cat /proc/${pid}/stat`)
  return stdout.slice(stdout.lastIndexOf(')')).split(' ')[20]
}

// Things that a pause, a snapshot or a fork must keep: a process by its pid and start, a variable
// in a running python3, one in a shell in a PTY, a file.
export class Everything {
  static async in(sbx, mark) {
    const all = new Everything()
    all.mark = mark
    all.boot = await bootId(sbx)
    const options = { background: true, timeoutMs: 0 }
    const sleeper = await sbx.commands.run('exec sleep 100000', options)
    await sleeper.disconnect()
    all.sleeper = sleeper.pid
    all.sleeperBegan = await began(sbx, sleeper.pid)
    const python = await sbx.commands.run('exec python3 -i -q -u', { ...options, stdin: true })
    await python.disconnect()
    all.python = python.pid
    assert.equal(await all.tell(sbx, `kept = '${mark}'`), '')
    const terminal = await sbx.pty.create({ cols: 80, rows: 24, onData: () => {}, timeoutMs: 0 })
    await terminal.disconnect()
    all.terminal = terminal.pid
    await all.type(sbx, `KEPT=${mark}; echo typ''ed`, 'typed')
    await sbx.files.write('kept.txt', mark)
    return all
  }

  // A line for the interpreter; gives what it prints.
  async tell(sbx, line) {
    let text = ''
    await sbx.commands.sendStdin(this.python, `${line}\nprint('--' + 'end')\n`)
    const handle = await sbx.commands.connect(this.python, { onStdout: (d) => (text += d) })
    await waitFor(() => text.includes('--end'), 'the interpreter')
    await handle.disconnect()
    return text.split('--end')[0].replaceAll('>>> ', '').trim()
  }

  // A line for the terminal, and text that its echo alone does not have.
  async type(sbx, line, wanted) {
    let text = ''
    const onData = (d) => (text += new TextDecoder().decode(d))
    const handle = await sbx.pty.connect(this.terminal, { onData })
    await sbx.pty.sendInput(this.terminal, new TextEncoder().encode(line + '\n'))
    await waitFor(() => text.includes(wanted), 'the terminal')
    await handle.disconnect()
  }

  async check(sbx) {
    assert.equal(await bootId(sbx), this.boot)
    assert.equal(await began(sbx, this.sleeper), this.sleeperBegan)
    assert.equal(await this.tell(sbx, 'print(kept)'), this.mark)
    await this.type(sbx, 'echo "[$KEPT]"', `[${this.mark}]`)
    assert.equal(await sbx.files.read('kept.txt'), this.mark)
  }

  async checkDiskOnly(sbx) {
    assert.equal(await sbx.files.read('kept.txt'), this.mark)
    assert.notEqual(await bootId(sbx), this.boot)
  }
}
