/* SPDX-License-Identifier: MIT */
/*
 * hash.c - `pier hash`: SHA-256 digests of files, printed as sha256sum(1) prints them and checked
 * as it checks them, so that each reads the other's lists.
 */
#include "hash.h"
#include "verb.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 128 * 1024 }; /* a read; larger ones are no faster */

static bool checks;

int hash_complain(const char *path, int code)
{
    char shown[1024];
    pier_escape(shown, sizeof shown, path, strlen(path));
    fprintf(stderr, "pier: %s: %s\n", shown, pier_strerror(code));
    return code;
}

/* 0 or a negative code. */
static int hash_fd(char hex[PIER_SHA256_HEX_CAP], int fd)
{
    static char piece[PIECE_BYTES];
    unsigned char digest[PIER_SHA256_LEN];
    struct pier_sha256 h;
    pier_sha256_init(&h);
    ssize_t n;
    do {
        n = read(fd, piece, sizeof piece);
        if (n > 0)
            pier_sha256_update(&h, piece, (size_t)n);
    } while (n > 0 || (n < 0 && errno == EINTR));
    if (n < 0) {
        int code = -errno;
        pier_sha256_fini(&h);
        return code;
    }
    int rc = pier_sha256_final(&h, digest);
    if (rc == 0)
        pier_sha256_hex(hex, digest);
    return rc;
}

int hash_file(char hex[PIER_SHA256_HEX_CAP], const char *path)
{
    bool is_input = strcmp(path, "-") == 0;
    int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hash_complain(path, -errno);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint; pipes have none */
    int rc = hash_fd(hex, fd);
    if (!is_input)
        close(fd);
    return rc < 0 ? hash_complain(path, rc) : 0;
}

void hash_print_escaped(const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name == '\n')
            fputs("\\n", stdout);
        else if (*name == '\r')
            fputs("\\r", stdout);
        else if (*name == '\\')
            fputs("\\\\", stdout);
        else
            putchar(*name);
    }
}

static int print_digest(const char *path)
{
    char hex[PIER_SHA256_HEX_CAP];
    if (hash_file(hex, path) < 0)
        return EXIT_FAILED;
    printf("%s%s  ", strpbrk(path, "\n\r\\") != NULL ? "\\" : "", hex);
    hash_print_escaped(path);
    putchar('\n');
    return EXIT_OK;
}

static int run_hash(int count, char **operands)
{
    static char *input[] = { "-" };
    if (count == 0) {
        count = 1;
        operands = input;
    }
    int code = EXIT_OK;
    for (int i = 0; i < count; i++)
        code |= checks ? hash_check(operands[i]) : print_digest(operands[i]);
    return code | output_finish();
}

static const struct verb_option options[] = {
    { "check", OPTION_FLAG, &checks, .letter = 'c',
      .help =
          "the files are lists of digests: tell whether the files named there still have them" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier hash *.tar.gz > SHA256SUMS", "a list of digests, as sha256sum writes it" },
    { "pier hash --check SHA256SUMS",
      "whether the files are still the same: exit status 1 if not" },
    { "pier send tcp://:8888 time | pier hash", "of standard input" },
    { 0 },
};

const struct verb verb_hash = {
    .name = "hash",
    .summary = "print or check SHA-256 digests of files",
    .operands = "[FILE...]",
    .max_operands = -1,
    .details = "Prints what sha256sum(1) prints. Without a file, or for -, standard input is read.",
    .options = options,
    .examples = examples,
    .run = run_hash,
};
