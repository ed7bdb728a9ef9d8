/* The end event, worded as the reference implementation's runtime words it. */
#include "envd/process/process.h"

#include "common/base/cleanup.h"

#include <stdio.h>
#include <sys/wait.h>

static const char *const signal_names[] = {
    [1] = "hangup",
    [2] = "interrupt",
    [3] = "quit",
    [4] = "illegal instruction",
    [5] = "trace/breakpoint trap",
    [6] = "aborted",
    [7] = "bus error",
    [8] = "floating point exception",
    [9] = "killed",
    [10] = "user defined signal 1",
    [11] = "segmentation fault",
    [12] = "user defined signal 2",
    [13] = "broken pipe",
    [14] = "alarm clock",
    [15] = "terminated",
};

static void signal_text(int status, char text[static PROCESS_STATUS_MAX])
{
    size_t sig = (size_t)WTERMSIG(status);
    const char *core = WCOREDUMP(status) ? " (core dumped)" : "";
    if (sig < ARRAY_LEN(signal_names) && signal_names[sig])
        snprintf(text, PROCESS_STATUS_MAX, "signal: %s%s", signal_names[sig], core);
    else
        snprintf(text, PROCESS_STATUS_MAX, "signal: signal %zu%s", sig, core);
}

void process_end_event(const struct process *p, Process__ProcessEvent__EndEvent *end,
                       char text[static PROCESS_STATUS_MAX])
{
    process__process_event__end_event__init(end);
    end->status = text;
    end->exited = WIFEXITED(p->status);
    if (end->exited) {
        end->exit_code = WEXITSTATUS(p->status);
        snprintf(text, PROCESS_STATUS_MAX, "exit status %d", end->exit_code);
    } else {
        end->exit_code = -1;
        signal_text(p->status, text);
    }
    if (end->exit_code != 0) {
        end->_error_case = PROCESS__PROCESS_EVENT__END_EVENT___ERROR_ERROR;
        end->error = text;
    }
}
