/*
 * power_cut [--from NAME] [--until NAME] [--writes N] ROOT SCRATCH CHECK COMMAND [ARGUMENT...]
 *
 * Runs COMMAND, recording what it and its children do to the files below ROOT. Then, for each
 * moment and each way in which a machine may come back, makes that tree in SCRATCH and runs
 * `CHECK SCRATCH VIEW STEP LAST`; its failure is told and ends the run with status 1. SCRATCH must
 * not exist and lie on ROOT's file system. COMMAND's own failure is no failure here.
 *
 * Only moments after COMMAND made the one name in ROOT and before it makes the other are looked at,
 * and of those after a write each N-th.
 */
#include "tests/support/power_cut/record.h"

#include <getopt.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct run {
    const struct recording *r;
    struct recording_pick pick;
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
    snprintf(all, sizeof(all), "%zu", run->pick.last);
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
            run->pick.last, what);
    return 1;
}

static bool parse(int argc, char **argv, struct recording_pick *pick)
{
    static const struct option options[] = { { "from", required_argument, NULL, 'f' },
                                             { "until", required_argument, NULL, 'u' },
                                             { "writes", required_argument, NULL, 'w' },
                                             { 0 } };
    int c;
    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (c == 'f')
            pick->from = optarg;
        else if (c == 'u')
            pick->until = optarg;
        else if (c == 'w')
            pick->writes = strtoul(optarg, NULL, 10);
        else
            return false;
    }
    return argc - optind >= 4;
}

int main(int argc, char **argv)
{
    struct recording r;
    struct run run = { .r = &r };
    if (!parse(argc, argv, &run.pick)) {
        fprintf(stderr, "power_cut [--from NAME] [--until NAME] [--writes N] ROOT SCRATCH CHECK "
                        "COMMAND [ARGUMENT...]\n");
        return 2;
    }
    argv += optind;
    if (!record(&r, argv[0], exec_command, argv + 3))
        return 77;
    run.checker = argv[2];
    int rc = recording_check(&r, &run.pick, argv[1], check, &run);
    printf("%zu operations, %zu different ways to come back\n", run.pick.last - run.pick.first,
           run.pick.looks);
    recording_free(&r);
    return rc;
}
