/* SPDX-License-Identifier: MIT */
/*
 * hash.h - what the two halves of `pier hash` share: printing digests (hash.c) and checking them
 * (hash_check.c).
 */
#ifndef CLI_HASH_H
#define CLI_HASH_H

#include <pier/text.h>

/* The digest of a file as text; "-" is standard input. 0, or a negative code after a line on
 * standard error that says which file and why. */
int hash_file(char hex[PIER_SHA256_HEX_CAP], const char *path);

/* What is wrong with a file: a line on standard error. Returns the code. */
int hash_complain(const char *path, int code);

/* Prints a name on standard output with line feed, carriage return and backslash as \n, \r, \\. */
void hash_print_escaped(const char *name);

/* Checks the digests that a file lists, as sha256sum -c does. Returns the exit code. */
int hash_check(const char *list);

#endif
