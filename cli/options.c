/* SPDX-License-Identifier: MIT */
/*
 * options.c - one parser for the options of all verbs.
 *
 * Options stand anywhere among the operands; "--" ends them. "--name value" and "--name=value" are
 * the same, letters may be joined ("-vv"). Every verb has --help. The last of a repeated option
 * counts, but for those that collect texts.
 */
#include "verb.h"

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Where a size option's own limit is not given: beyond it, something else was meant. */
#define SIZE_LIMIT ((int64_t)1 << 30)

struct parser {
    const struct verb *verb;
    char **args;
    int count, next; /* arguments in all, and the one to be read next */
    int operands;
    bool help;
};

int usage_error(const struct verb *verb, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("pier: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nTry 'pier %s%s--help'.\n", verb ? verb->name : "", verb ? " " : "");
    return EXIT_USAGE;
}

/* ---- values ---- */

static const char *kind_text(enum verb_option_kind kind)
{
    if (kind == OPTION_SIZE)
        return "a size (65536, 64k, 1M)";
    if (kind == OPTION_DURATION)
        return "a duration (300ms, 2s, 1m, 1h; a bare number is seconds)";
    return "a whole number";
}

static int64_t largest(const struct verb_option *option)
{
    if (option->max > 0)
        return option->max;
    if (option->kind == OPTION_SIZE)
        return SIZE_LIMIT;
    return option->kind == OPTION_DURATION ? INT_MAX * PIER_MILLISECOND : INT_MAX;
}

static int store_number(struct parser *p, const struct verb_option *option, const char *text)
{
    static int (*const readers[])(int64_t *, const char *) = {
        [OPTION_COUNT] = value_count,
        [OPTION_SIZE] = value_size,
        [OPTION_DURATION] = value_duration,
    };
    int64_t value;
    int rc = readers[option->kind](&value, text);
    if (rc == -EINVAL)
        return usage_error(p->verb, "--%s: '%s' is not %s", option->name, text,
                           kind_text(option->kind));
    if (rc == -ERANGE || value > largest(option))
        return usage_error(p->verb, "--%s: '%s' is too large", option->name, text);
    if (value < option->min)
        return usage_error(p->verb, "--%s: '%s' is too small", option->name, text);
    *(int64_t *)option->into = value;
    return 0;
}

static int store_choice(struct parser *p, const struct verb_option *option, const char *text)
{
    struct suggestion near = { .typed = text };
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            *(int *)option->into = i;
            return 0;
        }
        suggestion_offer(&near, option->choices[i]);
    }
    return usage_error(p->verb, "--%s: there is no '%s'%s", option->name, text,
                       suggestion_text(&near, ""));
}

/* The list is the option's until the process ends. */
static int store_texts(struct parser *p, const struct verb_option *option, const char *text)
{
    const char ***list = option->into;
    size_t count = 0;
    while (*list != NULL && (*list)[count] != NULL)
        count++;
    const char **more = realloc(*list, (count + 2) * sizeof *more);
    if (more == NULL)
        return usage_error(p->verb, "--%s: %s", option->name, pier_strerror(-ENOMEM));
    more[count] = text;
    more[count + 1] = NULL;
    *list = more;
    return 0;
}

static int store(struct parser *p, const struct verb_option *option, const char *text)
{
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->into = true;
        return 0;
    case OPTION_REPEAT:
        ++*(int *)option->into;
        return 0;
    case OPTION_TEXT:
        *(const char **)option->into = text;
        return 0;
    case OPTION_TEXTS:
        return store_texts(p, option, text);
    case OPTION_CHOICE:
        return store_choice(p, option, text);
    default:
        return store_number(p, option, text);
    }
}

/* ---- options ---- */

static bool takes_value(const struct verb_option *option)
{
    return option->kind != OPTION_FLAG && option->kind != OPTION_REPEAT;
}

/* The argument behind the option is its value, whatever it looks like. */
static int store_next(struct parser *p, const struct verb_option *option)
{
    if (!takes_value(option))
        return store(p, option, NULL);
    if (p->next == p->count)
        return usage_error(p->verb, "--%s needs a value: %s", option->name, option->value);
    return store(p, option, p->args[p->next++]);
}

static int parse_long(struct parser *p, char *name)
{
    char *value = strchr(name, '=');
    if (value != NULL)
        *value++ = '\0';
    struct suggestion near = { .typed = name };
    for (const struct verb_option *option = p->verb->options; option->name != NULL; option++) {
        if (strcmp(option->name, name) != 0)
            suggestion_offer(&near, option->name);
        else if (value == NULL)
            return store_next(p, option);
        else if (takes_value(option))
            return store(p, option, value);
        else
            return usage_error(p->verb, "--%s takes no value", name);
    }
    if (strcmp(name, "help") == 0) {
        p->help = true;
        return 0;
    }
    suggestion_offer(&near, "help");
    return usage_error(p->verb, "%s has no option --%s%s", p->verb->name, name,
                       suggestion_text(&near, "--"));
}

static const struct verb_option *find_letter(const struct verb *verb, char letter)
{
    for (const struct verb_option *option = verb->options; option->name != NULL; option++) {
        if (option->letter == letter)
            return option;
    }
    return NULL;
}

static int parse_letters(struct parser *p, const char *letters)
{
    for (; *letters != '\0'; letters++) {
        const struct verb_option *option = find_letter(p->verb, *letters);
        if (option == NULL && *letters == 'h') {
            p->help = true;
            continue;
        }
        if (option == NULL)
            return usage_error(p->verb, "%s has no option -%c", p->verb->name, *letters);
        if (takes_value(option) && letters[1] != '\0')
            return store(p, option, letters + 1);
        int rc = store_next(p, option);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int parse_argument(struct parser *p, char *arg)
{
    if (arg[0] != '-' || arg[1] == '\0') {
        p->args[p->operands++] = arg;
        return 0;
    }
    if (arg[1] != '-')
        return parse_letters(p, arg + 1);
    if (arg[2] != '\0')
        return parse_long(p, arg + 2);
    while (p->next < p->count)
        p->args[p->operands++] = p->args[p->next++];
    return 0;
}

static int check_operands(const struct parser *p)
{
    const struct verb *verb = p->verb;
    const char *space = *verb->operands != '\0' ? " " : "";
    if (p->operands < verb->min_operands)
        return usage_error(verb, "an operand is missing: pier %s%s%s", verb->name, space,
                           verb->operands);
    if (verb->max_operands >= 0 && p->operands > verb->max_operands)
        return usage_error(verb, "'%s' is one operand too many: pier %s%s%s",
                           p->args[verb->max_operands], verb->name, space, verb->operands);
    return 0;
}

enum parse_result options_parse(const struct verb *verb, int *count, char **args)
{
    struct parser p = { .verb = verb, .args = args, .count = *count };
    while (p.next < p.count) {
        if (parse_argument(&p, args[p.next++]) != 0)
            return PARSE_ERROR;
    }
    if (p.help)
        return PARSE_HELP;
    *count = p.operands;
    return check_operands(&p) == 0 ? PARSE_RUN : PARSE_ERROR;
}
