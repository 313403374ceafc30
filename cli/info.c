/* SPDX-License-Identifier: MIT */
/*
 * info.c - `pier info`: the version, what it stands on here, and the limits that servers meet.
 */
#include "verb.h"

#include <inttypes.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static bool as_json;

static struct pier_json json;

/* What this command can do, beside what the other lines say. */
static const char *const features[] = {
    "tcp",        "tls",      "udp",
    "unix",       "http",     "https",
    "dns",        "exec",     "socket activation",
    "tasks",      "threads",  "processes",
    "prefork",    "charsets", "sha256",
    "simulation", NULL,
};

/* ---- one fact: a line, or a member of the object ---- */

static void put_name(const char *name)
{
    if (as_json)
        pier_json_key(&json, name);
    else
        printf("%-18s", name);
}

static void put_text(const char *name, const char *value)
{
    put_name(name);
    if (as_json)
        pier_json_str(&json, value);
    else
        puts(value);
}

/* A negative value is one that there is no number for. */
static void put_number(const char *name, int64_t value, const char *without)
{
    put_name(name);
    if (as_json && value >= 0)
        pier_json_int(&json, value);
    else if (as_json)
        pier_json_null(&json);
    else if (value >= 0)
        printf("%" PRId64 "\n", value);
    else
        puts(without);
}

static void put_list(const char *name, const char *const *values)
{
    put_name(name);
    if (as_json)
        pier_json_array(&json);
    for (; *values != NULL; values++) {
        if (as_json)
            pier_json_str(&json, *values);
        else
            printf("%s%s", *values, values[1] != NULL ? ", " : "\n");
    }
    if (as_json)
        pier_json_close(&json);
}

/* ---- the facts ---- */

/* The number in a file of /proc/sys, or -1. */
static int64_t read_number(const char *path)
{
    int64_t value = -1;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%" SCNd64, &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

static int64_t limit_number(rlim_t limit)
{
    return limit == RLIM_INFINITY ? -1 : (int64_t)limit;
}

static void put_facts(void)
{
    struct utsname system = { 0 };
    struct rlimit descriptors = { RLIM_INFINITY, RLIM_INFINITY };
    const char *why;
    const char *backend = pier_backend(&why);
    uname(&system);
    getrlimit(RLIMIT_NOFILE, &descriptors);

    put_text("version", pier_version());
    put_text("kernel", system.release);
    put_text("machine", system.machine);
    put_text("backend", backend);
    put_text("backend_reason", why);
    put_number("cpus", pier_cpu_count(), "unknown");
    put_number("descriptors_soft", limit_number(descriptors.rlim_cur), "unlimited");
    put_number("descriptors_hard", limit_number(descriptors.rlim_max), "unlimited");
    put_number("max_map_count", read_number("/proc/sys/vm/max_map_count"), "unknown");
    put_number("somaxconn", read_number("/proc/sys/net/core/somaxconn"), "unknown");
    put_list("features", features);
}

static int run_info(int count, char **operands)
{
    char buf[1024];
    pier_json_init(&json, buf, sizeof buf, output_json, NULL);
    if (as_json)
        pier_json_object(&json);
    put_facts();
    if (as_json) {
        pier_json_close(&json);
        pier_json_raw(&json, "\n", 1);
        pier_json_end(&json);
    }
    return output_finish();
}

static const struct verb_option options[] = {
    { "json", OPTION_FLAG, &as_json, .help = "print one JSON object" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier info", "what this machine lets a server do" },
    { "pier info --json | jq -r .backend", "one value, for a script" },
    { 0 },
};

const struct verb verb_info = {
    .name = "info",
    .summary = "show the version, the backend and the limits of this machine",
    .operands = "",
    .options = options,
    .examples = examples,
    .run = run_info,
};
