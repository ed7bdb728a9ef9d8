"""A daemon that is started where its VMs' machine is not there any more: another QEMU, or KVM."""
import pathlib

from boxes import create


def test_a_snapshot_is_of_the_machine_that_its_vm_runs_on(own_daemon):
    """A VM of KVM, taken over by a daemon without it, as far as the daemon can know: it says so in
    what was written down when the VM was started."""
    d = own_daemon()
    box = create(d)
    assert box.write("/root/kept", b"kept")
    d.stop()
    origin = pathlib.Path(d.data_dir) / "run" / box.id / "origin"
    accelerator, version, machine = origin.read_text().splitlines()
    origin.write_text(f"kvm\n{version}\n{machine}\n")
    d.start()
    assert box.works()
    assert box.pause() == (204, None)
    status, answer = box.connect()
    assert status >= 400 and f"accelerator 'kvm', and here it is '{accelerator}'" in \
        answer["message"], (status, answer)
    assert box.state() == "paused"
    assert box.connect(memory=False)[0] == 201
    assert box.works()
    assert box.kill() == 204
