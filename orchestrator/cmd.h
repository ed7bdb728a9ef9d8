/* The subcommands. Each gets argv[0] = its name, prints for people and returns the exit status:
 * 0 done, 1 failed, 2 called wrongly. */
#ifndef ORCHESTRATOR_CMD_H
#define ORCHESTRATOR_CMD_H

#define CMD_OK     0
#define CMD_FAILED 1
#define CMD_USAGE  2

int cmd_serve(int argc, char **argv);
int cmd_image(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_env(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_version(int argc, char **argv);

#endif
