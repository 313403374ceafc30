/* SPDX-License-Identifier: MIT */
/*
 * base/log.h - what the sinks share: the names of levels, and the way of a finished line to its
 * stream.
 */
#ifndef PI_BASE_LOG_H
#define PI_BASE_LOG_H

#include <pier/base.h>

/* The longest line with its newline. Sinks build it on the stack, which in a task is small: half a
 * page. It is below PIPE_BUF too, so that lines of several processes do not mix in a pipe. */
enum { PI_LOG_LINE_MAX = 2048 };

/* "error", "warn", "info", "debug". Static text. */
const char *pi_log_level_name(enum pier_log_level level);

/* Writes a line to stream (a FILE *, NULL: standard error) in one go, or drops it: when the stream
 * fails, or takes nothing for a moment. Never raises SIGPIPE, never waits for long. */
void pi_log_write(void *stream, const char *line, size_t len);

#endif
