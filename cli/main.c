/* SPDX-License-Identifier: MIT */
/*
 * main.c - the `pier` command: the table of verbs, and who is called.
 *
 * Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
 * 2 usage, 3 name resolution, 4 connect, 5 TLS, 6 time-out, 7 an HTTP status of an error (--fail),
 * 130 interrupted (SIGINT).
 */
#include "verb.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct verb *const verbs[] = {
    &verb_serve,   &verb_get,     &verb_head,       &verb_post,      &verb_put,    &verb_patch,
    &verb_delete,  &verb_connect, &verb_send,       &verb_broadcast, &verb_check,  &verb_scan,
    &verb_resolve, &verb_ports,   &verb_cert,       &verb_encode,    &verb_decode, &verb_hash,
    &verb_sim,     &verb_info,    &verb_completion, &verb_help,      NULL,
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *const *verb = verbs; *verb != NULL; verb++) {
        if (strcmp((*verb)->name, name) == 0)
            return *verb;
    }
    return NULL;
}

int verb_unknown(const char *name)
{
    struct suggestion near = { .typed = name };
    for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
        suggestion_offer(&near, (*verb)->name);
    return usage_error(NULL, "there is no verb '%s'%s", name, suggestion_text(&near, ""));
}

static void on_interrupt(int number)
{
    _exit(EXIT_INTERRUPTED);
}

/* Not the default action: a program that starts us learns of 130, not of a death by signal. */
static void exit_when_interrupted(void)
{
    struct sigaction action = { .sa_handler = on_interrupt };
    sigaction(SIGINT, &action, NULL);
}

/* What stands where a verb should: an option of the command itself, or nothing that we know. */
static int run_without_verb(const char *word)
{
    if (strcmp(word, "--version") == 0) {
        printf("pier %s\n", pier_version());
        return output_finish();
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help_command(stdout);
        return output_finish();
    }
    if (word[0] != '-')
        return verb_unknown(word);
    struct suggestion near = { .typed = word };
    suggestion_offer(&near, "--version");
    suggestion_offer(&near, "--help");
    return usage_error(NULL, "there is no option %s%s", word, suggestion_text(&near, ""));
}

int main(int argc, char **argv)
{
    output_guard_descriptors();
    exit_when_interrupted();
    if (argc < 2) {
        help_command(stderr);
        return EXIT_USAGE;
    }
    const struct verb *verb = verb_find(argv[1]);
    if (verb == NULL)
        return run_without_verb(argv[1]);

    int count = argc - 2;
    switch (options_parse(verb, &count, argv + 2)) {
    case PARSE_ERROR:
        return EXIT_USAGE;
    case PARSE_HELP:
        help_verb(verb);
        return output_finish();
    case PARSE_RUN:
        break;
    }
    return verb->run(count, argv + 2);
}
