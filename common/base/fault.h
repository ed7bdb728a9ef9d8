/* Named fault points: places where a test makes the program fail or stop. Compiled out of builds
 * without SANDPIT_FAULT_POINTS. */
#ifndef COMMON_BASE_FAULT_H
#define COMMON_BASE_FAULT_H

#include <stdbool.h>

/* true when the fault `name` is armed and due now. Faults are armed by the environment variable
 * SANDPIT_FAULTS, a comma list of NAME (always) or NAME:N (the N-th time only, from 1), or by the
 * file that SANDPIT_FAULTS_FILE names, read anew at each call and holding the same list. NAME@ in
 * the file is no fault: the thread stands still there, until the file says otherwise; the log tells
 * that it does. */
#ifdef SANDPIT_FAULT_POINTS
#define FAULT_POINT(name) fault_due(name)
bool fault_due(const char *name);
#else
#define FAULT_POINT(name) false
#endif

#endif
