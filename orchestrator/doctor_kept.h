/* What lies in a data directory, for whoever wants to know what may go. */
#ifndef ORCHESTRATOR_DOCTOR_KEPT_H
#define ORCHESTRATOR_DOCTOR_KEPT_H

/* Tell in sentences: what takes how much, and what an operator may remove, and how. Beside a
 * running daemon too; reads only. */
void doctor_kept(const char *data_dir, void (*tell)(void *user, const char *text), void *user);

#endif
