/* The fault points of this program, in builds that have them. A test compares the list with the
 * sources. */
#ifndef ORCHESTRATOR_FAULT_POINTS_H
#define ORCHESTRATOR_FAULT_POINTS_H

/* Ended by NULL. */
extern const char *const fault_points[];

#endif
