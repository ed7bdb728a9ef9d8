/*
 * power_cut ROOT SCRATCH CHECK COMMAND [ARGUMENT...]
 *
 * Runs COMMAND, recording what it and its children do to the files below ROOT. Then, for each
 * moment and each way in which a machine may come back, makes that tree in SCRATCH and runs
 * `CHECK SCRATCH VIEW STEP STEPS`; its failure is told and ends the run with status 1. SCRATCH must
 * not exist and lie on ROOT's file system. COMMAND's own failure is no failure here.
 */
#include "tests/support/power_cut/record.h"

#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct run {
    const struct recording *r;
    char *checker;
};

static int exec_command(void *user)
{
    char *const *argv = user;
    execvp(argv[0], argv);
    perror(argv[0]);
    return 127;
}

static int check(void *user, const char *dir, enum disk_view view, size_t step)
{
    const struct run *run = user;
    char at[24], all[24], what[600], path[PATH_MAX], view_name[16];
    int status = -1;
    pid_t pid;
    snprintf(at, sizeof(at), "%zu", step);
    snprintf(all, sizeof(all), "%zu", run->r->nops);
    snprintf(path, sizeof(path), "%s", dir);
    snprintf(view_name, sizeof(view_name), "%s", disk_view_name(view));
    char *argv[] = { run->checker, path, view_name, at, all, NULL };
    if (posix_spawnp(&pid, run->checker, NULL, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid)
        return 1;
    if (status == 0)
        return 0;
    recording_describe(run->r, step, what, sizeof(what));
    fprintf(stderr, "view %s before step %zu of %zu (%s): the check failed\n", view_name, step,
            run->r->nops, what);
    return 1;
}

int main(int argc, char **argv)
{
    struct recording r;
    if (argc < 5) {
        fprintf(stderr, "power_cut ROOT SCRATCH CHECK COMMAND [ARGUMENT...]\n");
        return 2;
    }
    if (!record(&r, argv[1], exec_command, argv + 4))
        return 77;
    struct run run = { &r, argv[3] };
    int rc = recording_check(&r, argv[2], check, &run);
    printf("%zu operations, %d ways to come back after each\n", r.nops, DISK_VIEWS);
    recording_free(&r);
    return rc;
}
