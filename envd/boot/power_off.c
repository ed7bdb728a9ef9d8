/* The end of a guest. */
#include "common/base/log.h"
#include "envd/boot/boot.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACPI_PATH "/sys/firmware/acpi"

void boot_power_off(void)
{
    if (getpid() != 1) {
        sync();
        return;
    }
    /* Whoever is left has had its SIGTERM. */
    signal(SIGCHLD, SIG_DFL);
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    sync();
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0 && errno != EINVAL)
        log_warn("cannot make the root read-only", LOG_STR("reason", strerror(errno)));
    /* A PC without ACPI cannot be switched off: its kernel would halt for ever. Its VMM is one that
     * takes a restart as the end. */
    reboot(access(ACPI_PATH, F_OK) == 0 ? RB_POWER_OFF : RB_AUTOBOOT);
    log_error("cannot power off", LOG_STR("reason", strerror(errno)));
    /* The kernel panics when PID 1 ends, and the VMM takes that as the end too. */
    _exit(1);
}
