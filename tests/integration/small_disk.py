"""A data directory on a small file system of its own, in a mount namespace of its own: nobody else
sees it, and it goes with the last process in it."""
import os
import subprocess

import pytest
from conftest import Daemon
from boxes import borrow_templates, remove_vmms


class SmallDisk:
    def __init__(self, folder, mb):
        self.folder = str(folder)
        os.chmod(self.folder, 0o711)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"mount -t tmpfs -o size={mb}m,mode=711 tmpfs '{self.folder}' && echo ready && "
             "exec sleep infinity"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.holder.stdout.readline() != "ready\n":
            self.holder.wait()
            pytest.skip("no file system can be mounted here")
        # Where this process sees it.
        self.root = f"/proc/{self.holder.pid}/root"
        self.filler = f"{self.root}{self.folder}/filler"

    def daemon(self, data_dir, **kwargs):
        borrow_templates(data_dir, f"{self.root}{self.folder}")
        return Daemon(self.folder, wrap=["nsenter", "-t", str(self.holder.pid), "-m", "--"],
                      **kwargs)

    def free_mb(self):
        fs = os.statvfs(f"{self.root}{self.folder}")
        return fs.f_bavail * fs.f_frsize >> 20

    def fill(self, leave_mb=0):
        """Leave so much room, or none at all."""
        with open(self.filler, "ab", buffering=0) as f:
            while self.free_mb() > leave_mb:
                f.write(bytes(1 << 20))
            while not leave_mb:
                try:
                    f.write(bytes(4096))
                except OSError:
                    break

    def empty(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)

    def close(self):
        remove_vmms(self.folder)
        self.holder.kill()
        self.holder.wait()
