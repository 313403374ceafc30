/* SPDX-License-Identifier: MIT */
/*
 * verb.h - what a verb of the command is: a table entry from which dispatch, option parsing, help,
 * shell completion and the option lists of the man pages come. A new verb is one file that defines
 * one struct verb, and one line in main.c.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include <pier/pier.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* ---- the table ---- */

enum verb_option_kind {
    OPTION_FLAG,     /* bool: present or not */
    OPTION_REPEAT,   /* int: how many times it was given */
    OPTION_TEXT,     /* const char *: any text */
    OPTION_TEXTS,    /* const char **: any texts, one each time it is given, and NULL */
    OPTION_CHOICE,   /* int: the index in choices */
    OPTION_COUNT,    /* int64_t: a whole number */
    OPTION_SIZE,     /* int64_t: bytes, "64k", "1M" */
    OPTION_DURATION, /* int64_t: nanoseconds, "300ms", "2s", "1m", "1h" */
};

/* One option. The table of a verb ends with an entry without a name. */
struct verb_option {
    const char *name; /* without the two dashes */
    enum verb_option_kind kind;
    void *into;        /* where the value goes; of the type that the kind says */
    char letter;       /* its short form, or 0 */
    const char *value; /* what help calls its value; NULL for those without one */
    const char *const *choices;
    int64_t min, max; /* of counts, sizes and durations; max 0: the largest that is safe */
    const char *help;
};

/* A command line and what it does, for help. */
struct verb_example {
    const char *command, *what;
};

struct verb {
    const char *name;
    const char *summary;            /* one line, for the list of verbs */
    const char *operands;           /* as the usage line shows them, "URL MESSAGE..." */
    int min_operands, max_operands; /* max -1: any number */
    const char *details;            /* a paragraph or more for help, or NULL */
    const struct verb_option *options;
    const struct verb_example *examples;    /* ends with an entry without a command */
    int (*run)(int count, char **operands); /* returns the exit code */
};

/* A line for each verb, and its place in the table of main.c. */
extern const struct verb verb_serve, verb_get, verb_head, verb_post, verb_put, verb_patch,
    verb_delete, verb_connect, verb_send, verb_broadcast, verb_check, verb_scan, verb_resolve,
    verb_ports, verb_cert, verb_encode, verb_decode, verb_hash, verb_sim, verb_info,
    verb_completion, verb_help;

/* All verbs, in the order of help; ends with NULL. In main.c. */
extern const struct verb *const verbs[];

/* The verb of that name, or NULL; the usage error for a name that is none. In main.c. */
const struct verb *verb_find(const char *name);
int verb_unknown(const char *name);

/* ---- options.c ---- */

enum parse_result { PARSE_RUN, PARSE_HELP, PARSE_ERROR };

/* Reads the arguments of a verb: stores its options and moves the operands to the front of args,
 * their number to *count. A usage error has been printed when PARSE_ERROR comes back. */
enum parse_result options_parse(const struct verb *verb, int *count, char **args);

/* Prints "pier: " and the text, and where help is to be had (of the command when verb is NULL), on
 * standard error. Returns EXIT_USAGE. */
int usage_error(const struct verb *verb, const char *fmt, ...) PIER_PRINTF(2, 3);

/* ---- values.c: 0; -EINVAL for a text that is no such value, -ERANGE for a number too large ----
 */

int value_count(int64_t *out, const char *text);
int value_size(int64_t *out, const char *text);
int value_duration(int64_t *out, const char *text);
/* So many in so many nanoseconds: "100/s", "10/m", "5/h"; a bare number is a second's. */
int value_rate(int64_t *count, int64_t *ns, const char *text);

/* A duration in milliseconds, rounded up so that a short one does not become none. */
int duration_ms(int64_t ns);

/* ---- suggest.c ---- */

/* Keeps the nearest of the names offered, as long as it is near enough to be a slip of the hand.
 * Starts as {.typed = what was typed}. */
struct suggestion {
    const char *typed, *best;
    size_t distance;
};

void suggestion_offer(struct suggestion *s, const char *name);

/* "; did you mean 'serve'?", prefix and all, or "". Valid until the next call. */
const char *suggestion_text(const struct suggestion *s, const char *prefix);

/* ---- help.c ---- */

/* Prints the help of the command on out; of a verb on standard output. */
void help_command(FILE *out);
void help_verb(const struct verb *verb);

/* ---- output.c ---- */

/* Afterwards standard input, output and error exist: one that was closed reads as empty. */
void output_guard_descriptors(void);

/* A sink of pier_json for standard output. */
int output_json(void *ctx, const void *bytes, size_t len);

/* Writes out what standard output holds; the first failure is kept for output_finish(). */
void output_flush(void);

/* Hands over what was printed. Returns EXIT_OK, or prints why it cannot be written: EXIT_FAILED. */
int output_finish(void);

#endif
