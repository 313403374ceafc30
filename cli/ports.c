/* SPDX-License-Identifier: MIT */
/*
 * ports.c - `pier ports`: services and their ports, "https 443/tcp" a line.
 *
 * A service is asked for with each protocol, and its number printed for those that have it. Without
 * operands these are the services that people know.
 */
#include "verb.h"

#include <stdbool.h>
#include <string.h>

enum { SERVICE_CAP = 64 };

static bool as_json;

static const char *const protocols[] = { "tcp", "udp", "sctp", "dccp", NULL };

static const char *const known[] = {
    "ftp",   "ssh",  "telnet", "smtp",  "domain",      "tftp",       "http",  "pop3",  "ntp",
    "imap",  "snmp", "ldap",   "https", "submissions", "submission", "ldaps", "rsync", "imaps",
    "pop3s", "mqtt", "mysql",  "sip",   "postgresql",  "amqp",       "redis", NULL,
};

static void print_port(const char *name, int port, const char *protocol)
{
    if (!as_json) {
        printf("%s %d/%s\n", name, port, protocol);
        return;
    }
    char buf[128];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "name");
    pier_json_str(&w, name);
    pier_json_key(&w, "port");
    pier_json_int(&w, port);
    pier_json_key(&w, "protocol");
    pier_json_str(&w, protocol);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

static bool is_number(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* The port of a name, or the name of a port: whatever is asked for, with one protocol. Prints what
 * it finds. 0 or a negative code. */
static int look_up(const char *asked, const char *protocol)
{
    char name[SERVICE_CAP];
    int port = pier_service_port(asked, protocol); /* a number is itself */
    if (port < 0 || !is_number(asked)) {
        if (port >= 0)
            print_port(asked, port, protocol);
        return port < 0 ? port : 0;
    }
    int rc = pier_service_name(name, sizeof name, port, protocol);
    if (rc == 0)
        print_port(name, port, protocol);
    return rc;
}

/* A line for each protocol that has it. Returns the exit code. */
static int print_all(const char *asked)
{
    bool found = false;
    for (const char *const *protocol = protocols; *protocol != NULL; protocol++) {
        int rc = look_up(asked, *protocol);
        if (rc == -EINVAL) /* a number that is no port */
            return usage_error(&verb_ports, "%s", pier_error());
        if (rc < 0 && rc != PIER_ERESOLVE)
            return pier_fail("pier");
        found |= rc == 0;
    }
    if (found)
        return EXIT_OK;
    char shown[256];
    pier_escape(shown, sizeof shown, asked, strlen(asked));
    pier_error_set(PIER_ERESOLVE, "%s %s", is_number(asked) ? "port" : "service", shown);
    return pier_fail("pier");
}

static int run_ports(int count, char **operands)
{
    int code = EXIT_OK;
    for (const char *const *name = known; count == 0 && *name != NULL && code == EXIT_OK; name++)
        code = print_all(*name);
    for (int i = 0; i < count; i++) {
        int rc = print_all(operands[i]);
        code = code == EXIT_OK ? rc : code;
    }
    int rc = output_finish();
    return code != EXIT_OK ? code : rc;
}

static const struct verb_option options[] = {
    { "json", OPTION_FLAG, &as_json, .help = "print JSON objects instead, one a line" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier ports https", "https 443/tcp" },
    { "pier ports 25 53", "which services these are, a line for each protocol" },
    { "pier ports | sort -n -k 2", "the best known services in the order of their ports" },
    { 0 },
};

const struct verb verb_ports = {
    .name = "ports",
    .summary = "print the ports of services, or the services of ports",
    .operands = "[NAME|NUMBER...]",
    .max_operands = -1,
    .details = "A line \"NAME PORT/PROTOCOL\" for each; without operands, for the best known.",
    .options = options,
    .examples = examples,
    .run = run_ports,
};
