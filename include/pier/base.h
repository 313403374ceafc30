/* SPDX-License-Identifier: MIT */
/*
 * pier/base.h - what every part shares: units of time, error codes and texts, the log.
 *
 * Calls return 0 or a count on success and a negative code on failure: -errno, or one of PIER_E...
 * The words that go with the last failure belong to the task (to the thread, outside a task).
 */
#ifndef PIER_BASE_H
#define PIER_BASE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PIER_VERSION "0.1.0"
#define PIER_API __attribute__((visibility("default")))
#define PIER_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PIER_MUST_USE __attribute__((warn_unused_result))

/* Durations are nanoseconds in int64_t, unless a name ends in another unit (timeout_ms). */
#define PIER_MICROSECOND ((int64_t)1000)
#define PIER_MILLISECOND ((int64_t)1000000)
#define PIER_SECOND ((int64_t)1000000000)
#define PIER_MINUTE (60 * PIER_SECOND)
#define PIER_HOUR (60 * PIER_MINUTE)

/* The version of the library that is running, "0.1.0". */
PIER_API const char *pier_version(void);

/* Processors that this process may use: affinity mask and cgroup quota, rounded up, at least 1. */
PIER_API int pier_cpu_count(void);

/* ---- errors ---- */

/* Codes that errno has no number for; all others are -errno. They start below the kernel's range
 * (-4095). */
enum {
    PIER_EURL = -5000,     /* an endpoint URL that cannot be understood */
    PIER_ERESOLVE = -5001, /* a name that does not resolve */
    PIER_ETLS = -5002,     /* TLS: handshake, certificate, record */
    PIER_EPROTO = -5003,   /* the peer does not keep to the protocol */
    PIER_ESIM = -5004,     /* a simulation has found a fault */
    PIER_EWORKER = -5005,  /* a worker process died at its work */
};

/* The code of the task's last failure, negative; 0 when nothing has failed yet. Never waits. */
PIER_API int pier_error_code(void);

/* The words of the task's last failure: "dial tcp://localhost:1: connection refused"; "" when
 * nothing has failed. Valid until the task's next failure. Never NULL, never waits. */
PIER_API const char *pier_error(void);

/* Sets the task's last failure and returns code, for libraries and handlers with failures of their
 * own: the formatted text (cut at about 500 bytes), then ": " and pier_strerror(code). A code that
 * is not negative becomes -EINVAL. */
PIER_API int pier_error_set(int code, const char *fmt, ...) PIER_PRINTF(2, 3);

/* Prints "program: " and pier_error() as a line on standard error and returns the exit code of its
 * kind: 1 failed (or nothing has), 2 usage, 3 name resolution, 4 connect, 5 TLS, 6 time-out. */
PIER_API int pier_fail(const char *program);

/* The exit code that pier_fail() would return, without printing; 0 when nothing has failed. */
PIER_API int pier_exit_code(void);

/* strerror()'s words for -errno, beginning in lower case; Pier's own for PIER_E... and a few more
 * ("timed out" for -ETIMEDOUT); "error N" for a code that nobody knows. Never NULL; valid until the
 * thread's next call. */
PIER_API const char *pier_strerror(int code);

/* ---- log ---- */

enum pier_log_level { PIER_LOG_ERROR, PIER_LOG_WARN, PIER_LOG_INFO, PIER_LOG_DEBUG };

enum pier_log_kind { PIER_LOG_STR, PIER_LOG_INT };

/* One key and its value. The bytes are borrowed for the call and may hold anything: sinks escape
 * them. */
struct pier_log_field {
    const char *key;
    enum pier_log_kind kind;
    const char *str;
    size_t len;
    int64_t num;
};

/* Receives each record on the thread that logs; must not wait. msg and fields are borrowed for the
 * call. */
typedef void (*pier_log_fn)(void *ctx, enum pier_log_level level, const char *msg,
                            const struct pier_log_field *fields, size_t count);

/* Replaces the sink (NULL: the default, pier_log_human on standard error). ctx is borrowed for as
 * long as the sink stands. Safe from any thread; a call under way may still use the old sink. */
PIER_API void pier_log_set(pier_log_fn sink, void *ctx);

/* Records above this level are dropped before they reach the sink; PIER_LOG_INFO by default. */
PIER_API void pier_log_set_level(enum pier_log_level level);

/* Whether a record of that level would be passed on. */
PIER_API int pier_log_enabled(enum pier_log_level level);

/* Passes one record to the sink. pier_log() is the pleasant way to call it. */
PIER_API void pier_log_record(enum pier_log_level level, const char *msg,
                              const struct pier_log_field *fields, size_t count);

/* The sinks. ctx is a FILE *, NULL for standard error; each record is one write of one line.
 * human: "2026-11-20T09:22:31.123Z warn message key=value"; json: one object a line,
 * {"time":…,"level":…,"msg":…,…}. */
PIER_API void pier_log_human(void *ctx, enum pier_log_level level, const char *msg,
                             const struct pier_log_field *fields, size_t count);
PIER_API void pier_log_json(void *ctx, enum pier_log_level level, const char *msg,
                            const struct pier_log_field *fields, size_t count);

/* Fields for pier_log(): pier_str("peer", text) (NULL is ""), pier_bytes("data", ptr, len),
 * pier_int("bytes", n). */
PIER_API struct pier_log_field pier_str(const char *key, const char *value);
PIER_API struct pier_log_field pier_bytes(const char *key, const void *value, size_t len);
PIER_API struct pier_log_field pier_int(const char *key, int64_t value);

/* pier_log(PIER_LOG_INFO, "connected", pier_str("peer", peer), pier_int("count", 3)); the fields
 * are not evaluated when the level is off. At least one field; pier_log_record(level, msg, NULL, 0)
 * for none. */
#define pier_log(level, msg, ...)                                          \
    do {                                                                   \
        if (pier_log_enabled(level)) {                                     \
            const struct pier_log_field pier_fields_[] = { __VA_ARGS__ };  \
            pier_log_record(level, msg, pier_fields_,                      \
                            sizeof pier_fields_ / sizeof pier_fields_[0]); \
        }                                                                  \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
