/* SPDX-License-Identifier: MIT */
/*
 * base/cpu.h - how many processors this process may use.
 */
#ifndef PI_BASE_CPU_H
#define PI_BASE_CPU_H

#include <pier/base.h>

/* The processors that the CPU quotas of this process's cgroup and those around it grant, rounded
 * up, at least 1; INT_MAX where there is none. The files are /proc/self/cgroup and
 * /proc/self/mountinfo, or what a test puts in their place. */
int pi_cpu_quota(const char *cgroup_file, const char *mounts_file);

#endif
