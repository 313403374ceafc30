/* SPDX-License-Identifier: MIT */
/*
 * help.c - `pier help`: help of the command and of its verbs, printed from the table of verbs. The
 * man pages take their sections OPTIONS and EXAMPLES from here as well (--mdoc), so that a page and
 * the command never disagree.
 */
#include "verb.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    WIDTH = 80,              /* of a terminal */
    OPTION_TEXT_COLUMN = 25, /* where the texts of options begin */
};

static bool as_mdoc;

/* Prints text in words that end before WIDTH. The cursor stands at the column where further lines
 * begin, too. */
static void print_wrapped(const char *text, int column)
{
    int at = column;
    while (*text != '\0') {
        int word = (int)strcspn(text, " ");
        if (at > column && at + 1 + word >= WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        }
        at += printf("%s%.*s", at > column ? " " : "", word, text);
        text += word;
        text += *text == ' ';
    }
    putchar('\n');
}

/* ---- of a verb ---- */

static void print_option(const struct verb_option *option)
{
    char name[64], letter[8] = "    ";
    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(name, sizeof name, "%s--%s %s", letter, option->name,
             option->value ? option->value : "");
    printf("  %-*s", OPTION_TEXT_COLUMN - 2, name);
    if (strlen(name) >= OPTION_TEXT_COLUMN - 2)
        printf("\n%*s", OPTION_TEXT_COLUMN, "");
    print_wrapped(option->help, OPTION_TEXT_COLUMN);
}

static const struct verb_option help_option = { "help", .letter = 'h', .help = "show this" };

static void print_examples(const struct verb *verb)
{
    printf("\nexamples:\n");
    for (const struct verb_example *example = verb->examples; example->command; example++)
        printf("  %s\n      %s\n", example->command, example->what);
}

/* How the values of the verb's options are written, where that is not plain. */
static void print_notations(const struct verb *verb)
{
    bool durations = false, sizes = false;
    for (const struct verb_option *option = verb->options; option->name != NULL; option++) {
        durations |= option->kind == OPTION_DURATION;
        sizes |= option->kind == OPTION_SIZE;
    }
    if (durations)
        printf("\nD is a duration: 300ms, 2s, 1m, 1h; a bare number is seconds.\n");
    if (sizes)
        printf("SIZE is in bytes: 65536, 64k, 1M.\n");
}

void help_verb(const struct verb *verb)
{
    printf("usage: pier %s [OPTION...]%s%s\n", verb->name, *verb->operands ? " " : "",
           verb->operands);
    printf("\n%c%s.\n", toupper((unsigned char)verb->summary[0]), verb->summary + 1);
    if (verb->details != NULL) {
        putchar('\n');
        print_wrapped(verb->details, 0);
    }
    printf("\noptions:\n");
    for (const struct verb_option *option = verb->options; option->name != NULL; option++)
        print_option(option);
    print_option(&help_option);
    print_notations(verb);
    print_examples(verb);
}

/* ---- for a man page, mdoc(7) ---- */

/* Text in which nothing acts as roff: no backslash, no dot at the beginning, no quote of a macro.
 */
static void print_roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '"')
            fputs("\\(dq", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void mdoc_option(const struct verb_option *option)
{
    fputs(".It ", stdout);
    if (option->letter != 0)
        printf("Fl %c , ", option->letter);
    printf("Fl \\-%s", option->name);
    if (option->value != NULL)
        printf(" Ar %s", option->value);
    putchar('\n');
    print_roff(option->help);
    putchar('\n');
}

static void mdoc_verb(const struct verb *verb)
{
    printf(".Sh OPTIONS\n.Bl -tag -width Ds\n");
    for (const struct verb_option *option = verb->options; option->name != NULL; option++)
        mdoc_option(option);
    printf(".El\n.Sh EXAMPLES\n.Bl -tag -width Ds\n");
    for (const struct verb_example *example = verb->examples; example->command; example++) {
        fputs(".It Ic \"", stdout);
        print_roff(example->command);
        fputs("\"\n", stdout);
        print_roff(example->what);
        putchar('\n');
    }
    printf(".El\n");
}

/* ---- of the command ---- */

void help_command(FILE *out)
{
    fputs("usage: pier VERB [OPTION...] [OPERAND...]\n"
          "       pier help VERB\n"
          "       pier --version\n"
          "\n"
          "Network programs from the command line.\n"
          "\n"
          "verbs:\n",
          out);
    for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
        fprintf(out, "  %-12s%s\n", (*verb)->name, (*verb)->summary);
    fputs("\n"
          "exit status: 0 done, 1 failed, 2 usage, 3 name resolution, 4 connect, 5 TLS,\n"
          "6 time-out, 7 HTTP status of an error (--fail), 130 interrupted\n",
          out);
}

static int run_help(int count, char **operands)
{
    if (count == 0) {
        help_command(stdout);
        return output_finish();
    }
    const struct verb *verb = verb_find(operands[0]);
    if (verb == NULL)
        return verb_unknown(operands[0]);
    if (as_mdoc)
        mdoc_verb(verb);
    else
        help_verb(verb);
    return output_finish();
}

static const struct verb_option options[] = {
    { "mdoc", OPTION_FLAG, &as_mdoc,
      .help = "print the options and examples as the sections of a man page, mdoc(7)" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier help serve", "all that pier serve can do; the same as pier serve --help" },
    { 0 },
};

const struct verb verb_help = {
    .name = "help",
    .summary = "show what a verb does",
    .operands = "[VERB]",
    .max_operands = 1,
    .options = options,
    .examples = examples,
    .run = run_help,
};
