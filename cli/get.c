/* SPDX-License-Identifier: MIT */
/*
 * get.c - `pier get`: see http.h.
 *
 * The table entry is all there is.
 */
#include "http.h"

static int run_get(int count, char **operands)
{
    return http_run(&verb_get, "GET", count, operands);
}

static const struct verb_example examples[] = {
    { "pier get example.com", "a page" },
    { "pier get :8000/users name==Ann Accept:application/json",
      "with a query and a field, from port 8000 of this host" },
    { "pier get -O --resume https://example.com/big.iso",
      "a file, continued where it was broken off" },
    { "pier get --timing -o /dev/null https://example.com", "how long each step took" },
    { 0 },
};

const struct verb verb_get = {
    .name = "get",
    .summary = "get a resource over HTTP and print its body",
    .operands = "URL [ITEM...]",
    .min_operands = 1,
    .max_operands = -1,
    .details = HTTP_DETAILS,
    .options = http_options,
    .examples = examples,
    .run = run_get,
};
