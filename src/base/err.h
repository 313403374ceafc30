/* SPDX-License-Identifier: MIT */
/*
 * base/err.h - the last failure of a task: code, kind and words, set once, where the failure is.
 *
 * pi_err_self points at the running context's record: the first member of struct pi_task, moved at
 * every task switch.
 */
#ifndef PI_BASE_ERR_H
#define PI_BASE_ERR_H

#include "base/sys.h"

#include <stdarg.h>

/* The values are the exit codes of pier_fail(). */
enum pi_err_kind {
    PI_ERR_FAILED = 1,
    PI_ERR_USAGE = 2,
    PI_ERR_RESOLVE = 3,
    PI_ERR_CONNECT = 4,
    PI_ERR_TLS = 5,
    PI_ERR_TIMEOUT = 6,
};

struct pi_err {
    int code;
    int kind;
    char *text; /* NULL: pier_strerror(code) */
};

extern PI_THREAD_LOCAL struct pi_err *pi_err_self;

/* Sets the task's failure to "<formatted>: <strerror>" with the kind that follows from code;
 * returns code. */
int pi_fail(int code, const char *fmt, ...) PIER_PRINTF(2, 3);

/* The same, the formatted words alone; for causes that have their own ("port 70000 is above
 * 65535"). */
int pi_fail_text(int code, const char *fmt, ...) PIER_PRINTF(2, 3);

/* The same as pi_fail(), as a failure to connect: anything but a time-out or a name is exit code 4.
 */
int pi_fail_connect(int code, const char *fmt, ...) PIER_PRINTF(2, 3);

/* Hands the record of one context to another (which loses its own): from child to scope, from scope
 * to joiner. */
void pi_err_move(struct pi_err *to, struct pi_err *from);
void pi_err_fini(struct pi_err *err);

#endif
