/* What the jailed child does to itself between fork and exec. Only jail*.c and its test use it. */
#ifndef ORCHESTRATOR_VMM_JAIL_STEPS_H
#define ORCHESTRATOR_VMM_JAIL_STEPS_H

#include "orchestrator/vmm/jail.h"

#include <sys/capability.h>

enum jail_step {
    JAIL_STEP_GROUP,
    JAIL_STEP_SESSION,
    JAIL_STEP_FDS,
    JAIL_STEP_NAMESPACES,
    JAIL_STEP_DEV,
    JAIL_STEP_MASK,
    JAIL_STEP_LIMITS,
    JAIL_STEP_STDIO,
    JAIL_STEP_BOUNDING,
    JAIL_STEP_UID,
    JAIL_STEP_CAPS,
    JAIL_STEP_PRIVS,
    JAIL_STEPS_DONE,
    JAIL_STEP_EXEC = JAIL_STEPS_DONE,
    JAIL_STEP_NR
};

/* What fits between "cannot" and the program's name. */
const char *jail_step_name(int step);

/* Everything the child needs, made before the fork. */
struct jail_plan {
    const struct jail_spec *spec;
    cap_t no_caps;
    cap_value_t ncaps;
    bool in_group;   /* since the fork */
    bool user_ns;    /* without root a network namespace needs a user namespace around it */
    dev_t kvm;       /* 0: none */
    gid_t kvm_group; /* its group, when there is no own /dev; 0: none */
    int fds[JAIL_MAX_FDS];
    int log_fd, go_fd, report_fd; /* as the child sees them; report_fd -1 before the move */
    int go_source, report_source;
};

int jail_plan_init(struct jail_plan *plan, const struct jail_spec *spec, int go, int report,
                   struct err *err);
void jail_plan_deinit(struct jail_plan *plan);

/* In the child. Returns the step that failed, with errno set, or JAIL_STEPS_DONE. */
int jail_apply(struct jail_plan *plan);

/* The single steps: 0 or -1 with errno. */
int jail_enter_namespaces(const struct jail_plan *plan);
int jail_make_dev(const struct jail_plan *plan);
int jail_switch_uid(const struct jail_plan *plan);

#endif
