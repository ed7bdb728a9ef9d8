/* Unix sockets by path. */
#ifndef ORCHESTRATOR_VMM_UNIX_SOCKET_H
#define ORCHESTRATOR_VMM_UNIX_SOCKET_H

/* A non-blocking, close-on-exec stream socket connected to `path`, or -errno. */
int unix_connect(const char *path);

/* A listening, close-on-exec stream socket at `path`, or -errno. */
int unix_listen(const char *path);

#endif
