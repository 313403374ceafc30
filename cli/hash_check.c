/* SPDX-License-Identifier: MIT */
/*
 * hash_check.c - `pier hash --check`: the lines of a list of digests, and whether the files have
 * them.
 *
 * A line is "DIGEST  NAME" or "DIGEST *NAME", where a backslash in front means that the name has
 * escapes; or "SHA256 (NAME) = DIGEST", as BSD has it; or "DIGEST NAME" when the first line is.
 * Empty lines and those that begin with # are left out, others that are none of these are counted.
 */
#include "hash.h"
#include "verb.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 2 * PIER_SHA256_LEN };

/* One space between digest and name: an old form, of which a list has all lines or none. */
enum spacing { UNDECIDED, TWO, ONE };

struct list {
    const char *name;
    bool is_input;
    enum spacing spacing;
    long good, bad_lines, unreadable, different;
};

/* ---- a line ---- */

static char *skip_blanks(char *at)
{
    return at + strspn(at, " \t");
}

static bool is_digest(const char *text, size_t len)
{
    return len == DIGITS && strspn(text, "0123456789abcdefABCDEF") >= DIGITS;
}

/* In place. false for an escape that is none. */
static bool unescape(char *name)
{
    char *out = name;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at != '\\') {
            *out++ = *at;
            continue;
        }
        at++;
        if (*at != 'n' && *at != 'r' && *at != '\\')
            return false;
        *out++ = *at;
        if (*at != '\\')
            out[-1] = *at == 'n' ? '\n' : '\r';
    }
    *out = '\0';
    return true;
}

/* "NAME) = DIGEST" at at. */
static bool split_bsd(char *at, char **digest, char **name)
{
    char *end = strrchr(at, ')');
    if (end == NULL)
        return false;
    char *equals = skip_blanks(end + 1);
    if (*equals != '=')
        return false;
    *end = '\0';
    *name = at;
    *digest = skip_blanks(equals + 1);
    return is_digest(*digest, strlen(*digest));
}

/* "DIGEST  NAME" at at. */
static bool split_plain(struct list *list, char *at, char **digest, char **name)
{
    size_t len = strcspn(at, " \t");
    if (!is_digest(at, len) || at[len] == '\0')
        return false;
    *digest = at;
    at[len] = '\0';
    at += len + 1;
    bool is_one = at[0] == '\0' || at[1] == '\0' || (at[0] != ' ' && at[0] != '*');
    if (is_one && list->spacing == TWO)
        return false;
    if (list->spacing == UNDECIDED)
        list->spacing = is_one ? ONE : TWO;
    *name = list->spacing == TWO ? at + 1 : at;
    return **name != '\0';
}

static bool split(struct list *list, char *line, char **digest, char **name)
{
    char *at = skip_blanks(line);
    bool is_escaped = *at == '\\';
    at += is_escaped;
    char *bsd = strncmp(at, "SHA256", 6) == 0 ? at + 6 : NULL;
    if (bsd != NULL && *bsd == ' ')
        bsd++;
    bool fits = bsd != NULL && *bsd == '(' ? split_bsd(bsd + 1, digest, name)
                                           : split_plain(list, at, digest, name);
    return fits && (!is_escaped || unescape(*name)) && !(list->is_input && strcmp(*name, "-") == 0);
}

/* ---- a list ---- */

static void print_result(const char *name, const char *result)
{
    if (strchr(name, '\n') != NULL) {
        putchar('\\');
        hash_print_escaped(name);
    } else {
        fputs(name, stdout);
    }
    printf(": %s\n", result);
}

static void check_line(struct list *list, char *line)
{
    char *digest, *name, hex[PIER_SHA256_HEX_CAP];
    if (!split(list, line, &digest, &name)) {
        list->bad_lines++;
        return;
    }
    list->good++;
    if (hash_file(hex, name) < 0) {
        list->unreadable++;
        print_result(name, "FAILED open or read");
        return;
    }
    bool is_same = strncasecmp(hex, digest, DIGITS) == 0;
    list->different += !is_same;
    print_result(name, is_same ? "OK" : "FAILED");
}

static void warn(long count, const char *one, const char *many)
{
    if (count > 0)
        fprintf(stderr, "pier: warning: %ld %s\n", count, count == 1 ? one : many);
}

/* 0 or a negative code. */
static int check_lines(struct list *list, FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    while ((len = getline(&line, &room, file)) >= 0) {
        if (len > 0 && line[len - 1] == '\n')
            line[--len] = '\0';
        if (len > 0 && line[len - 1] == '\r')
            line[--len] = '\0';
        if (len > 0 && line[0] != '#')
            check_line(list, line);
    }
    int code = ferror(file) ? -errno : 0;
    free(line);
    return code;
}

static int tell(const struct list *list)
{
    if (list->good == 0) {
        fprintf(stderr, "pier: %s: no line with a SHA-256 digest\n",
                list->is_input ? "standard input" : list->name);
        return EXIT_FAILED;
    }
    warn(list->bad_lines, "line is improperly formatted", "lines are improperly formatted");
    warn(list->unreadable, "listed file could not be read", "listed files could not be read");
    warn(list->different, "computed digest did NOT match", "computed digests did NOT match");
    return list->unreadable + list->different > 0 ? EXIT_FAILED : EXIT_OK;
}

int hash_check(const char *name)
{
    struct list list = { .name = name, .is_input = strcmp(name, "-") == 0 };
    FILE *file = list.is_input ? stdin : fopen(name, "re");
    int rc = file != NULL ? check_lines(&list, file) : -errno;
    if (file != NULL && !list.is_input)
        fclose(file);
    if (rc < 0) {
        hash_complain(name, rc);
        return EXIT_FAILED;
    }
    return tell(&list);
}
