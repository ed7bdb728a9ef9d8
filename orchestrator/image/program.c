#include "orchestrator/image/program.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/image/command.h"
#include "orchestrator/image/image.h"

#include <elf.h>
#include <errno.h>

bool program_is_static(struct str bytes)
{
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    if (bytes.n < sizeof(head))
        return false;
    memcpy(&head, bytes.p, sizeof(head));
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_machine != EM_X86_64 || (head.e_type != ET_EXEC && head.e_type != ET_DYN) ||
        head.e_phentsize != sizeof(segment) || head.e_phoff > bytes.n ||
        head.e_phnum > (bytes.n - head.e_phoff) / sizeof(segment))
        return false;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        memcpy(&segment, bytes.p + head.e_phoff + i * sizeof(segment), sizeof(segment));
        if (segment.p_type == PT_INTERP)
            return false;
    }
    return true;
}

static int ask_version(struct program *p, const char *path, const char *log, struct err *err)
{
    const char *const argv[] = { path, "-version", NULL };
    struct buf text = { 0 };
    struct command c = { .argv = argv, .package = "sandpit", .log = log, .output = &text };
    int rc = command_run(&c, err);
    if (rc == 0) {
        struct str rest = buf_str(&text), line = str_trim(str_split(&rest, '\n'));
        if (line.n == 0 || !str_copy(line, p->version, sizeof(p->version)))
            rc = err_set(err, ERR_INVALID, ENOEXEC, "%s -version prints no version", path);
    }
    buf_deinit(&text);
    return rc;
}

int program_load(struct program *p, const char *path, const char *log, struct err *err)
{
    *p = (struct program){ 0 };
    int rc = file_read(path, PROGRAM_SIZE_MAX, &p->bytes, err);
    if (rc == 0 && !program_is_static(buf_str(&p->bytes)))
        rc = err_set(err, ERR_PRECONDITION, ENOEXEC,
                     "%s is no static program; build it with: cmake --preset release && "
                     "cmake --build --preset release",
                     path);
    if (rc == 0)
        rc = ask_version(p, path, log, err);
    if (rc < 0)
        program_deinit(p);
    return rc;
}

void program_deinit(struct program *p)
{
    buf_deinit(&p->bytes);
}

int image_find_envd(char out[static PATH_MAX], struct err *err)
{
    static const char *const beside[] = { "../envd/envd", "../lib/sandpit/envd" };
    char self[PATH_MAX];
    const char *wanted = getenv("SANDPIT_ENVD");
    if (wanted && wanted[0]) {
        snprintf(out, PATH_MAX, "%s", wanted);
        return 0;
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < ARRAY_LEN(beside); i++)
        if (snprintf(out, PATH_MAX, "%s/%s", self, beside[i]) < PATH_MAX && access(out, R_OK) == 0)
            return 0;
    return err_set(err, ERR_NOT_FOUND, ENOENT,
                   "envd is not beside this program: name it by --envd or SANDPIT_ENVD");
}
