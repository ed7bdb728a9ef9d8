/*
 * One process that envd started. It reads the process's output into a ring, whoever follows it or
 * not; readers (the streams of Start and Connect) follow the ring, each at its own pace.
 *
 *   pipe or pty ──▶ output ──▶ ring ──▶ reader ──▶ RPC stream
 *                                  └──▶ reader ──▶ RPC stream
 *
 * With readers the ring keeps what the foremost of them has not read, and three quarters of a ring
 * before that: when it is full of these, the pipe is left alone and the process waits. A reader
 * that is further behind misses bytes. Without readers the oldest bytes go.
 *
 * What a client has received is known when its stream closes: by TCP's acknowledgements, or by what
 * the daemon says that it delivered. A Connect goes on from there. Two things cannot be known: what
 * a client's kernel had received and the client never read, and, when the guest link itself breaks,
 * what was on it (both count as received).
 *
 * A process has ended when it was reaped and its outputs are at end of file, or, if a client or its
 * deadline killed it, when it was reaped: a grandchild may hold the outputs for ever. An ended
 * process stays connectable for a while.
 */
#ifndef ENVD_PROCESS_PROCESS_H
#define ENVD_PROCESS_PROCESS_H

#include "common/base/list.h"
#include "envd/process/channel.h"
#include "envd/process/registry.h"
#include "envd/process/ring.h"
#include "process.pb-c.h"

#define PROCESS_TAG_MAX  1024
#define PROCESS_ARGS_MAX 65536

/* Bytes in one data event. */
#define PROCESS_CHUNK_MAX     32768
#define PROCESS_CHUNK_PTY_MAX 16384

/* Bounded work per turn of the loop for one output. */
#define PROCESS_READS_PER_TURN 8

/* What is still read from the outputs of a killed process that others hold open. */
#define PROCESS_DRAIN_MAX 65536

struct process_output {
    struct channel channel;
    struct process *process;
    enum ring_stream stream;
    bool open;         /* no end of file yet */
    bool paused;       /* the ring has no room */
    bool draining;     /* the process is dead: stop at the first EAGAIN */
    size_t drain_left; /* or after this many bytes */
};

struct process_input {
    struct channel channel; /* of a pipe; a terminal's input is the output's channel */
    struct process *process;
    struct list writes; /* of struct input_write */
    size_t kept;        /* bytes of those of StreamInput, which outlive their client */
    bool open;
    bool closing; /* CloseStdin was called: close after the writes */
};

struct process {
    struct process_registry *registry;
    uv_loop_t *loop;
    struct list node; /* on the registry's list of running or of ended ones */
    struct process *next_by_pid;
    pid_t pid;
    char *tag;       /* NULL: none */
    uint8_t *config; /* a packed ProcessConfig, for List; freed at the end */
    size_t config_n;
    struct process_output out[2]; /* stdout or terminal; stderr */
    struct process_input in;
    struct ring ring;
    struct list readers;
    struct list refs;  /* of struct process_ref */
    uint64_t received; /* how far any reader that has left had come */
    uv_timer_t timer;  /* its deadline; after its end, how long it is kept */
    int open_handles;
    int status; /* waitpid's, once reaped */
    bool is_pty;
    bool reaped;
    bool killed; /* by a client or its deadline */
    bool ended;
    bool expired;  /* kept only for readers that still read */
    bool released; /* waits for its handles to close */
};

/* Follows the output. Embedded in its owner. */
struct process_reader {
    struct list node;
    struct process *process; /* NULL when detached */
    struct ring_pos pos;
    uint64_t received; /* how much of that has reached the client; set before the reader leaves */
    bool owns_deadline;
    /* There may be more to read, or the end. */
    void (*on_output)(struct process_reader *reader);
    /* The process was killed by its deadline (only told to owns_deadline), or envd lets go of it;
     * the reader was detached. */
    void (*on_abort)(struct process_reader *reader, const struct err *err);
};

/* A pointer to a process that becomes NULL when the process has ended. */
struct process_ref {
    struct list node;
    struct process *process;
};

/* Bytes for the process's input. Embedded in its owner; data is borrowed until done. */
struct input_write {
    struct list node;
    const uint8_t *data;
    size_t n;
    /* All of it was accepted (errnum 0), or will not be (EPIPE). May be called from inside
     * process_write(). */
    void (*done)(struct input_write *w, int errnum);
};

struct process_start {
    const Process__ProcessConfig *config;
    const char *tag; /* NULL: none */
    const struct user *user;
    const char *cwd;
    char *const *env;
    bool stdin_open;
    bool is_pty;
    uint16_t cols, rows;
    int cgroup;           /* a directory; -1: none */
    uint64_t deadline_ms; /* 0: none */
    struct arena *arena;
};

/* Start a process and put it into the registry. Returns 0 or -errno with err. */
int process_start(struct process_registry *r, const struct process_start *start,
                  struct process **out, struct err *err);

/* waitpid has reported its end. */
void process_reaped(struct process *p, int status);

/* Read the outputs, also those paused: the reason to pause may be gone. */
void process_resume(struct process *p);

/* SIGKILL or SIGTERM for a client. A process that only waits for its outputs' end of file ends. 0
 * or -errno. */
int process_signal(struct process *p, int signum);

/* Follow a process that may end meanwhile. */
void process_ref(struct process *p, struct process_ref *ref);
void process_unref(struct process_ref *ref);

void process_attach(struct process *p, struct process_reader *reader);
void process_detach(struct process_reader *reader);

/* The reader has moved: there may be room for more output. */
void process_reader_moved(struct process_reader *reader);

/* The offset behind what some client has received; what is on its way to one that still reads
 * counts. */
uint64_t process_received(const struct process *p);

/* Bytes of output that are kept behind the foremost reader. */
static inline size_t process_kept(const struct process *p)
{
    return p->ring.max / 4 * 3;
}

/* Whether the reader has read all there will ever be. */
static inline bool process_reader_done(const struct process_reader *reader)
{
    return reader->process->ended && reader->pos.offset >= reader->process->ring.end;
}

/* Fill in the end event of an ended process; the text is put into `text`. */
#define PROCESS_STATUS_MAX 64
void process_end_event(const struct process *p, Process__ProcessEvent__EndEvent *end,
                       char text[static PROCESS_STATUS_MAX]);

/* Input. Writes are done in order. -EPIPE when the input is closed. */
int process_write(struct process *p, struct input_write *w);

/* Take a write back whose done() was not called yet; part of it may have been accepted. */
void process_write_cancel(struct process *p, struct input_write *w);

/* End of file after what was written before; twice is no error. Not for a terminal. */
void process_close_stdin(struct process *p);

/* Drop everything; freed when the last handle is closed. Readers are aborted with err. Not to be
 * called for one that is in the registry. */
void process_release(struct process *p, const struct err *err);

/* For the files that share the work (process.c, output.c, input.c). */
int process_output_open(struct process *p, size_t which, int fd, enum ring_stream stream);
void process_output_watch(struct process_output *o);
void process_output_drain(struct process *p);
int process_input_open(struct process *p, int fd);
void process_input_ready(struct process *p);
void process_input_fail(struct process *p);
void process_check_end(struct process *p);
void process_handle_closed(struct process *p);

#endif
