/* SPDX-License-Identifier: MIT */
/*
 * base/assert.h - invariants, checked in release builds too. A broken one is a bug in Pier or in
 * its caller's use of it; bad input, dead peers and lack of memory are errors, never this.
 */
#ifndef PI_BASE_ASSERT_H
#define PI_BASE_ASSERT_H

_Noreturn void pi_assert_failed(const char *condition, const char *file, int line);

/* One condition, without side effects. */
#define PIER_ASSERT(condition) \
    ((condition) ? (void)0 : pi_assert_failed(#condition, __FILE__, __LINE__))

#endif
