/* SPDX-License-Identifier: MIT */
/*
 * base/err.c - the last failure of a task, and the words for codes.
 *
 * A record costs nothing until something fails; then its text is one allocation, replaced by the
 * next failure. Without memory for the text, the code's own words stand in.
 */
#define _GNU_SOURCE
#include "base/err.h"

#include "base/assert.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 512, CAUSE_MAX = 80 }; /* longer ones are cut: a URL and a cause fit */

/* The record of a thread that Pier's tasks have not touched yet. */
static PI_THREAD_LOCAL struct pi_err thread_err;
PI_THREAD_LOCAL struct pi_err *pi_err_self;

static void free_thread_err(void *err)
{
    pi_err_fini(err);
}

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void make_exit_key(void)
{
    int rc = pthread_key_create(&exit_key, free_thread_err);
    PIER_ASSERT(rc == 0);
}

static struct pi_err *self(void)
{
    return pi_err_self ? pi_err_self : &thread_err;
}

/* The record that a failure is about to be written to. */
static struct pi_err *self_to_set(void)
{
    if (!pi_err_self && !thread_err.text) {
        pthread_once(&exit_once, make_exit_key);
        pthread_setspecific(exit_key, &thread_err); /* without memory for it the text leaks */
    }
    return self();
}

const char *pier_version(void)
{
    return PIER_VERSION;
}

static const char *own_words(int code)
{
    switch (code) {
    case 0:
        return "success";
    case -ETIMEDOUT:
        return "timed out";
    case -ECANCELED:
        return "cancelled";
    case -ENODATA:
        return "end of input";
    case PIER_EURL:
        return "not a valid URL";
    case PIER_ERESOLVE:
        return "unknown name";
    case PIER_ETLS:
        return "TLS failure";
    case PIER_EPROTO:
        return "protocol error";
    case PIER_ESIM:
        return "found in a simulation";
    case PIER_EWORKER:
        return "worker process died";
    default:
        return NULL;
    }
}

/* glibc's words begin with a capital: "Connection refused", but "RPC ..." and the like stay as they
 * are. */
const char *pier_strerror(int code)
{
    static PI_THREAD_LOCAL char words[64];
    const char *own = own_words(code);
    if (own)
        return own;
    const char *known = code < 0 && code > -4096 ? strerrordesc_np(-code) : NULL;
    if (!known) {
        snprintf(words, sizeof words, "error %d", code);
        return words;
    }
    snprintf(words, sizeof words, "%s", known);
    if (!isupper((unsigned char)words[1]))
        words[0] = (char)tolower((unsigned char)words[0]);
    return words;
}

static int kind_of(int code)
{
    switch (code) {
    case -ETIMEDOUT:
        return PI_ERR_TIMEOUT;
    case PIER_EURL:
        return PI_ERR_USAGE;
    case PIER_ERESOLVE:
        return PI_ERR_RESOLVE;
    case PIER_ETLS:
        return PI_ERR_TLS;
    default:
        return PI_ERR_FAILED;
    }
}

/* Where a text of len bytes ends that had TEXT_MAX bytes of room: not within a UTF-8 character. */
static size_t whole_characters(const char *text, size_t len)
{
    if (len < TEXT_MAX)
        return len;
    size_t end = TEXT_MAX - 1;
    while (end > 0 && ((unsigned char)text[end - 1] & 0xc0) == 0x80)
        end--;
    return end > 0 && ((unsigned char)text[end - 1] & 0x80) ? end - 1 : end;
}

/* cause: append ": " and the code's words. */
static int set(int code, int kind, bool cause, const char *fmt, va_list args)
{
    PIER_ASSERT(code < 0);
    char text[TEXT_MAX + CAUSE_MAX];
    int len = vsnprintf(text, TEXT_MAX, fmt, args);
    size_t end = len < 0 ? 0 : whole_characters(text, (size_t)len);
    text[end] = '\0';
    if (cause)
        snprintf(text + end, CAUSE_MAX, ": %s", pier_strerror(code));
    struct pi_err *err = self_to_set();
    pi_free(err->text);
    err->text = pi_strdup(text);
    err->code = code;
    err->kind = kind;
    return code;
}

int pi_fail(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set(code, kind_of(code), true, fmt, args);
    va_end(args);
    return code;
}

int pi_fail_text(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set(code, kind_of(code), false, fmt, args);
    va_end(args);
    return code;
}

int pi_fail_connect(int code, const char *fmt, ...)
{
    int kind = kind_of(code);
    va_list args;
    va_start(args, fmt);
    set(code, kind == PI_ERR_FAILED ? PI_ERR_CONNECT : kind, true, fmt, args);
    va_end(args);
    return code;
}

void pi_err_move(struct pi_err *to, struct pi_err *from)
{
    pi_free(to->text);
    *to = *from;
    *from = (struct pi_err){ 0 };
}

void pi_err_fini(struct pi_err *err)
{
    pi_free(err->text);
    *err = (struct pi_err){ 0 };
}

int pier_error_code(void)
{
    return self()->code;
}

const char *pier_error(void)
{
    const struct pi_err *err = self();
    if (err->code == 0)
        return "";
    return err->text ? err->text : pier_strerror(err->code);
}

int pier_error_set(int code, const char *fmt, ...)
{
    int negative = code < 0 ? code : -EINVAL;
    va_list args;
    va_start(args, fmt);
    set(negative, kind_of(negative), true, fmt, args);
    va_end(args);
    return negative;
}

int pier_exit_code(void)
{
    return self()->kind;
}

int pier_fail(const char *program)
{
    fprintf(stderr, "%s: %s\n", program, pier_error());
    int code = pier_exit_code();
    return code ? code : PI_ERR_FAILED;
}

_Noreturn void pi_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "pier: %s:%d: broken invariant: %s\n", file, line, condition);
    abort();
}
