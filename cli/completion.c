/* SPDX-License-Identifier: MIT */
/*
 * completion.c - `pier completion bash`: the table of verbs as a completion script for the shell.
 */
#include "verb.h"

#include <stdio.h>
#include <string.h>

static void print_verbs(void)
{
    for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
        printf(" %s", (*verb)->name);
}

/* The options of a verb, and its operands where they are words of ours. */
static void print_options(const struct verb *verb)
{
    printf("    %s) words='--help", verb->name);
    for (const struct verb_option *option = verb->options; option->name != NULL; option++)
        printf(" --%s", option->name);
    if (verb == &verb_help)
        print_verbs();
    else if (verb == &verb_completion)
        printf(" bash");
    printf("' ;;\n");
}

/* A case for each option that is followed by one of a few words. */
static void print_choices(const struct verb *verb)
{
    for (const struct verb_option *option = verb->options; option->name != NULL; option++) {
        if (option->kind != OPTION_CHOICE)
            continue;
        printf("    %s:--%s) words='", verb->name, option->name);
        for (const char *const *choice = option->choices; *choice != NULL; choice++)
            printf("%s%s", choice == option->choices ? "" : " ", *choice);
        printf("' ;;\n");
    }
}

static void print_bash(void)
{
    printf("# bash completion for pier: source <(pier completion bash)\n"
           "_pier()\n{\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words=\n"
           "    if [ \"$COMP_CWORD\" = 1 ]; then verb=; fi\n"
           "    case $verb in\n"
           "    '') words='--help --version");
    print_verbs();
    printf("' ;;\n");
    for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
        print_options(*verb);
    printf("    esac\n    case $verb:${COMP_WORDS[COMP_CWORD - 1]} in\n");
    for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
        print_choices(*verb);
    printf("    esac\n"
           "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
           "}\n"
           "complete -o default -F _pier pier\n");
}

static int run_completion(int count, char **operands)
{
    if (strcmp(operands[0], "bash") != 0)
        return usage_error(&verb_completion, "there is no completion for %s, only bash",
                           operands[0]);
    print_bash();
    return output_finish();
}

static const struct verb_option options[] = { { 0 } };

static const struct verb_example examples[] = {
    { "source <(pier completion bash)", "complete verbs, options and their values in this shell" },
    { 0 },
};

const struct verb verb_completion = {
    .name = "completion",
    .summary = "print a completion script for the shell",
    .operands = "bash",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
    .examples = examples,
    .run = run_completion,
};
