"""A sandbox with things in it that a pause, a snapshot or a fork must keep, and how to look at
them afterwards."""
import time


def boot_id(sbx):
    return sbx.commands.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()


def read_until(handle, text, seconds=60):
    """Follow a command's output until the text was there; gives what was read."""
    end = time.monotonic() + seconds
    seen = ""
    for out, err, pty in handle:
        piece = out or err or pty or ""
        seen += piece.decode(errors="replace") if isinstance(piece, bytes) else piece
        if text in seen:
            return seen
        assert time.monotonic() < end, f"{text!r} did not come: {seen!r}"
    raise AssertionError(f"the output ended before {text!r}: {seen!r}")


def add_sleeper(sbx):
    """A process that is known by its pid and by when it was started."""
    run = sbx.commands.run("exec sleep 100000", background=True, timeout=0)
    run.disconnect()
    return run.pid, started(sbx, run.pid)


def started(sbx, pid):
    """When the process began, in ticks since the boot: two of the same pid differ in it."""
    line = sbx.commands.run(f"cat /proc/{pid}/stat").stdout
    return line.rsplit(")", 1)[1].split()[19]


class Interpreter:
    """A running python3 that remembers what it was told."""

    def __init__(self, sbx, pid=None):
        self.sbx = sbx
        if pid is None:
            run = sbx.commands.run("exec python3 -i -q -u", background=True, stdin=True, timeout=0)
            pid = run.pid
            run.disconnect()
        self.pid = pid

    def on(self, sbx):
        """The same process, seen through another sandbox object."""
        return Interpreter(sbx, self.pid)

    def run(self, line):
        """What the line prints."""
        self.sbx.commands.send_stdin(self.pid, f"{line}\nprint('--' + 'end')\n")
        handle = self.sbx.commands.connect(self.pid, timeout=60)
        text = read_until(handle, "--end")
        handle.disconnect()
        return text.split("--end")[0].replace(">>> ", "").strip()


class Terminal:
    """A shell in a PTY with a variable in it."""

    def __init__(self, sbx, pid=None):
        from e2b import PtySize

        self.sbx = sbx
        if pid is None:
            handle = sbx.pty.create(PtySize(rows=24, cols=80), timeout=0)
            pid = handle.pid
            handle.disconnect()
        self.pid = pid

    def on(self, sbx):
        return Terminal(sbx, self.pid)

    def type(self, line, wanted):
        """Type the line and wait for text that its echo alone does not have."""
        handle = self.sbx.pty.connect(self.pid, timeout=60)
        self.sbx.pty.send_stdin(self.pid, f"{line}\n".encode())
        read_until(handle, wanted)
        handle.disconnect()


class Everything:
    """All of it in one sandbox."""

    def __init__(self, sbx, mark):
        self.mark = mark
        self.boot = boot_id(sbx)
        self.sleeper, self.sleeper_began = add_sleeper(sbx)
        self.python = Interpreter(sbx)
        assert self.python.run(f"kept = '{mark}'") == ""
        self.terminal = Terminal(sbx)
        self.terminal.type(f"KEPT={mark}; echo typ''ed", "typed")
        sbx.files.write("kept.txt", mark)

    def check(self, sbx):
        """It is all there, and nothing was started anew."""
        assert boot_id(sbx) == self.boot
        assert started(sbx, self.sleeper) == self.sleeper_began
        assert self.python.on(sbx).run("print(kept)") == self.mark
        self.terminal.on(sbx).type('echo "[$KEPT]"', f"[{self.mark}]")
        assert sbx.files.read("kept.txt") == self.mark

    def check_disk_only(self, sbx):
        """The files are there, and the machine was started anew."""
        assert sbx.files.read("kept.txt") == self.mark
        assert boot_id(sbx) != self.boot
        assert sbx.commands.run(f"test -e /proc/{self.sleeper} && "
                                f"grep -q 'sleep 100000' /proc/{self.sleeper}/cmdline; echo $?"
                                ).stdout == "1\n"


def server_timing(headers):
    """Phase to milliseconds of a Server-Timing field."""
    parts = headers.get("server-timing", "").split(", ")
    return {p.split(";dur=")[0]: float(p.split(";dur=")[1]) for p in parts if p}
