#include "tests/support/test.h"

#include "sample.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DIGEST(c)                                                                                  \
    c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c  \
        c c c c c c c c c c c c c c c c c

void sample_manifest(struct snapshot_manifest *m)
{
    *m = (struct snapshot_manifest){
        .id = "0f8fad5b-d9cb-469f-a165-70867728950e",
        .created = "2026-01-02T03:04:05.123456789Z",
        .vmm_version = "QEMU emulator version 7.2.0",
        .machine = "pc-i440fx-7.2",
        .accelerator = "tcg",
        .cpu_model = "Some Processor @ 3.00GHz",
        .cpu_flags = DIGEST("1"),
        .kernel = DIGEST("2"),
        .cmdline = DIGEST("3"),
        .devices = DIGEST("4"),
        .vcpus = 2,
        .memory_mb = 512,
        .disk_mb = 4096,
        .envd_version = "0.6.13",
        .guest_protocol = 1,
        .boot_id = "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        .build_id = "b1598156-e7b4-4664-b488-1ec83a639353",
        .base_build_id = "b1598156-e7b4-4664-b488-1ec83a639353",
        .memory = { 4096, DIGEST("5"), 100, 7 },
        .state = { 1234, DIGEST("6") },
        .clock_stopped_ns = 1795888409274397000,
    };
    memset(m->link_secret, 0xa5, sizeof(m->link_secret));
}

int sample_state(size_t n)
{
    int fd = memfd_create("state", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
    }
    return fd;
}
