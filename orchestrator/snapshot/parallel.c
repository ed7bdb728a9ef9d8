#include "orchestrator/snapshot/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

struct work {
    void (*run)(void *user);
    void *user;
};

static void *thread_main(void *arg)
{
    const struct work *w = arg;
    w->run(w->user);
    return NULL;
}

size_t parallel_threads(size_t items)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = cpus < 1 ? 1 : (size_t)cpus;
    if (n > items)
        n = items;
    if (n > PARALLEL_MAX)
        n = PARALLEL_MAX;
    return n ? n : 1;
}

void parallel_run(size_t threads, void (*run)(void *user), void *user)
{
    struct work w = { run, user };
    pthread_t others[PARALLEL_MAX];
    sigset_t all, before;
    size_t n = 0;
    if (threads > PARALLEL_MAX)
        threads = PARALLEL_MAX;
    /* Signals are for the threads that expect them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n + 1 < threads && pthread_create(&others[n], NULL, thread_main, &w) == 0)
        n++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    run(user);
    while (n)
        pthread_join(others[--n], NULL);
}
