/* The envd that is baked into images. */
#ifndef ORCHESTRATOR_IMAGE_PROGRAM_H
#define ORCHESTRATOR_IMAGE_PROGRAM_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define PROGRAM_SIZE_MAX (64U << 20)

struct program {
    struct buf bytes;
    char version[32];
};

/* Read envd and ask it for its version. -ENOEXEC when it is no static x86-64 program: a guest may
 * have another C library, or none. */
int program_load(struct program *p, const char *path, const char *log, struct err *err);
void program_deinit(struct program *p);

/* Whether these bytes are a 64-bit x86 ELF program that needs no interpreter. */
bool program_is_static(struct str bytes);

#endif
