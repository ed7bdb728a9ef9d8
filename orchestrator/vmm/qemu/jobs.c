#include "orchestrator/vmm/qemu/jobs.h"

#include "common/base/clock.h"

static void ask(struct jobs *j)
{
    j->cancelled = false;
    op_command(j->op, "query-block-jobs", NULL, -1);
}

void jobs_end(struct jobs *j, struct vm_op *op)
{
    j->op = op;
    j->due_ms = clock_mono_ms() + QEMU_COMMAND_MS;
    ask(j);
}

bool jobs_left(struct jobs *j, const json_t *result, const struct err *err)
{
    /* A cancel that came too late is refused, which is as well. */
    if (j->cancelled) {
        ask(j);
        return true;
    }
    if (err)
        return false;
    const char *id = json_string_value(json_object_get(json_array_get(result, 0), "device"));
    if (!id)
        return false;
    if (clock_mono_ms() > j->due_ms) {
        op_fail(j->op, ERR_DEADLINE, "a job on the VM's disk does not end");
        return true;
    }
    j->cancelled = true;
    op_command(j->op, "block-job-cancel", json_pack("{s:s, s:b}", "device", id, "force", 1), -1);
    return true;
}
