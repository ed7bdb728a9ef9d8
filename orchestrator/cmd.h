/* The subcommands. Each gets argv[0] = its name, prints for people and returns the exit status:
 * 0 done, 1 failed, 2 called wrongly, 3 no daemon runs (or it is stopping), 4 not found. */
#ifndef ORCHESTRATOR_CMD_H
#define ORCHESTRATOR_CMD_H

#define CMD_OK        0
#define CMD_FAILED    1
#define CMD_USAGE     2
#define CMD_NO_DAEMON 3
#define CMD_NOT_FOUND 4

int cmd_serve(int argc, char **argv);
int cmd_image(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_env(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_undrain(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_version(int argc, char **argv);

#endif
