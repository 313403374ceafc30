/* SPDX-License-Identifier: MIT */
/*
 * post.c - `pier post`: see http.h.
 *
 * The table entry is all there is.
 */
#include "http.h"

static int run_post(int count, char **operands)
{
    return http_run(&verb_post, "POST", count, operands);
}

static const struct verb_example examples[] = {
    { "pier post :8000/users name=Ann age:=42", "{\"name\":\"Ann\",\"age\":42}" },
    { "pier post --form :8000/login user=ann password=secret", "a form" },
    { "pier post :8000/notes @note.txt", "a file as it is" },
    { 0 },
};

const struct verb verb_post = {
    .name = "post",
    .summary = "send data over HTTP and print the answer",
    .operands = "URL [ITEM...]",
    .min_operands = 1,
    .max_operands = -1,
    .details = HTTP_DETAILS,
    .options = http_options,
    .examples = examples,
    .run = run_post,
};
