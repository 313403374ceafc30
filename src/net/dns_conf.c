/* SPDX-License-Identifier: MIT */
/*
 * net/dns_conf.c - see dns_conf.h. Reading is left to whoever first needs it, in its own task;
 * others wait for that one.
 *
 * What is not understood here is not guessed at: is_strange sends every name to getaddrinfo(3).
 * Specification: resolver(5), nsswitch.conf(5), gai.conf(5).
 */
#define _GNU_SOURCE
#include "net/dns_conf.h"

#include "net/hosts.h"
#include "task/task.h"

#include <pier/task.h>

#include <arpa/inet.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    NDOTS_MAX = 15, /* resolver(5) */
    TIMEOUT_S_MAX = 30,
    ATTEMPTS_MAX = 5,
    /* Shorter than resolver(5)'s 5 s and 2: one lost datagram should cost less. */
    TIMEOUT_MS = 2000,
    ATTEMPTS = 3,
    CHECK_MS = 100,           /* between two looks at the files: four system calls */
    FILE_MAX_LEN = 64 * 1024, /* of a file that people write */
    HOSTS_MAX_LEN = 4 << 20,  /* some list advertisers there */
};

static const char BLANKS[] = " \t\r\n";

/* ---- resolv.conf ---- */

static int limited(const char *number, int least, int most)
{
    long n = strtol(number, NULL, 10);
    return n < least ? least : n > most ? most : (int)n;
}

static void read_option(struct pi_dns_conf *conf, const char *option)
{
    if (strncmp(option, "ndots:", 6) == 0)
        conf->ndots = limited(option + 6, 0, NDOTS_MAX);
    else if (strncmp(option, "timeout:", 8) == 0)
        conf->timeout_ms = 1000 * limited(option + 8, 1, TIMEOUT_S_MAX);
    else if (strncmp(option, "attempts:", 9) == 0)
        conf->attempts = limited(option + 9, 1, ATTEMPTS_MAX);
    else if (strcmp(option, "rotate") == 0)
        conf->rotate = true;
    else if (strcmp(option, "use-vc") == 0)
        conf->use_tcp = true;
    else if (strcmp(option, "no-aaaa") == 0)
        conf->no_ipv6 = true;
}

void pi_dns_conf_options(struct pi_dns_conf *conf, char *options)
{
    char *rest = NULL;
    for (char *word = strtok_r(options, BLANKS, &rest); word; word = strtok_r(NULL, BLANKS, &rest))
        read_option(conf, word);
}

void pi_dns_conf_search(struct pi_dns_conf *conf, char *names)
{
    char *rest = NULL;
    conf->search_count = 0;
    for (char *word = strtok_r(names, BLANKS, &rest); word; word = strtok_r(NULL, BLANKS, &rest)) {
        size_t len = strlen(word);
        if (len > 1 && word[len - 1] == '.')
            word[--len] = '\0';
        if (len < PIER_NAME_CAP && conf->search_count < PI_DNS_SEARCH_MAX)
            memcpy(conf->search[conf->search_count++], word, len + 1);
    }
}

/* "192.0.2.1", "192.0.2.1:53", "::1", "[::1]:53". */
static int add_server(struct pi_dns_conf *conf, const char *text)
{
    union {
        struct pier_addr addr;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u = { .addr = { { 0 } } };
    if (conf->server_count == PI_DNS_SERVERS_MAX)
        return -EINVAL;
    if (inet_pton(AF_INET, text, &u.in.sin_addr) == 1) {
        u.in.sin_family = AF_INET;
        u.in.sin_port = htons(PI_DNS_PORT);
    } else if (inet_pton(AF_INET6, text, &u.in6.sin6_addr) == 1) {
        u.in6.sin6_family = AF_INET6;
        u.in6.sin6_port = htons(PI_DNS_PORT);
    } else {
        int rc = strchr(text, '%') ? -EINVAL : pier_addr_parse(&u.addr, text);
        if (rc < 0 || u.in.sin_port == 0)
            return rc == -ENOMEM ? rc : -EINVAL; /* c-ares knows no zones */
    }
    conf->servers[conf->server_count++] = u.addr;
    return 0;
}

static void read_line(struct pi_dns_conf *conf, char *line)
{
    enum { SYSTEM_MAX = 3 }; /* MAXNS of resolver(5) */
    char *rest = NULL;
    const char *key = strtok_r(line, BLANKS, &rest);
    if (!key || *key == '#' || *key == ';')
        return;
    if (strcmp(key, "nameserver") == 0) {
        const char *server = strtok_r(NULL, BLANKS, &rest);
        if (server && conf->server_count < SYSTEM_MAX && add_server(conf, server) < 0)
            conf->is_strange = true;
    } else if (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0) {
        pi_dns_conf_search(conf, rest);
    } else if (strcmp(key, "options") == 0) {
        pi_dns_conf_options(conf, rest);
    } else if (strcmp(key, "sortlist") == 0) {
        conf->is_strange = true;
    }
}

void pi_dns_conf_defaults(struct pi_dns_conf *conf)
{
    conf->ndots = 1;
    conf->timeout_ms = TIMEOUT_MS;
    conf->attempts = ATTEMPTS;
}

void pi_dns_conf_read(struct pi_dns_conf *conf, char *text)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        read_line(conf, line);
}

int pi_dns_conf_servers(struct pi_dns_conf *conf, const char *list)
{
    char copy[PI_DNS_SERVERS_TEXT], *rest = NULL;
    int rc = 0;
    if (snprintf(copy, sizeof copy, "%s", list) >= (int)sizeof copy)
        return -EINVAL;
    conf->server_count = 0;
    for (char *one = strtok_r(copy, ", ", &rest); one && rc == 0; one = strtok_r(NULL, ", ", &rest))
        rc = add_server(conf, one);
    return rc < 0 || conf->server_count > 0 ? rc : -EINVAL;
}

/* ---- the others ---- */

/* What is before a comment. */
static char *next_setting(char **rest)
{
    char *line = strtok_r(NULL, "\n", rest);
    if (line)
        line[strcspn(line, "#")] = '\0';
    return line;
}

static bool is_mdns(const char *word)
{
    size_t len = strlen(word);
    return strncmp(word, "mdns", 4) == 0 && len > 8 && strcmp(word + len - 8, "_minimal") == 0;
}

/* "files dns", with what may stand between them: see the header. */
static bool sources_are_usual(char *sources)
{
    static const char *const wanted[] = { "files", "dns" };
    size_t seen = 0;
    bool after_mdns = false;
    char *rest = NULL;
    for (char *w = strtok_r(sources, BLANKS, &rest); w; w = strtok_r(NULL, BLANKS, &rest)) {
        bool is_fine = (after_mdns && strcasecmp(w, "[NOTFOUND=return]") == 0) ||
                       strcmp(w, "myhostname") == 0 || is_mdns(w);
        after_mdns = is_mdns(w);
        if (is_fine)
            continue;
        if (seen == 2 || strcmp(w, wanted[seen]) != 0)
            return false;
        seen++;
    }
    return seen == 2;
}

bool pi_dns_nss_is_usual(char *text)
{
    char *rest = text;
    for (char *line; (line = next_setting(&rest));) {
        line += strspn(line, BLANKS);
        if (strncmp(line, "hosts:", 6) == 0)
            return sources_are_usual(line + 6);
    }
    return true;
}

bool pi_dns_gai_is_usual(char *text)
{
    char *rest = text;
    for (char *line; (line = next_setting(&rest));) {
        line += strspn(line, BLANKS);
        if (*line && strncmp(line, "reload", 6) != 0)
            return false;
    }
    return true;
}

/* ---- the files ---- */

enum { RESOLV, HOSTS, NSS, GAI, FILES };

static const char *const names[FILES] = { [RESOLV] = "resolv.conf",
                                          [HOSTS] = "hosts",
                                          [NSS] = "nsswitch.conf",
                                          [GAI] = "gai.conf" };

/* What a file was when it was read; all zero: it was not there. */
struct mark {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

static const char *folder = "/etc";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pier_mutex loading; /* held while files are read */
static struct pi_dns_conf *current;
static struct mark marks[FILES]; /* of current */
static int64_t checked_ns;
/* The last record with servers of the caller's is kept: most programs have one list of them, and
 * many look-ups. */
static struct pi_dns_conf *last_own, *last_base; /* last_base is only compared */
static char last_servers[PI_DNS_SERVERS_TEXT];

static void look_at_files(struct mark now[FILES])
{
    char path[PATH_MAX];
    memset(now, 0, FILES * sizeof now[0]);
    for (int i = 0; folder && i < FILES; i++) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (stat(path, &st) < 0)
            continue;
        now[i].dev = st.st_dev;
        now[i].ino = st.st_ino;
        now[i].size = st.st_size;
        now[i].changed = st.st_mtim;
    }
}

/* A user more of the current record, if that is as the files are; else NULL. */
static struct pi_dns_conf *take_current(const struct mark *now)
{
    struct pi_dns_conf *conf = NULL;
    pthread_mutex_lock(&lock);
    bool is_fresh = now ? memcmp(marks, now, sizeof marks) == 0
                        : pi_clock_ns() < checked_ns + CHECK_MS * PIER_MILLISECOND;
    if (current && is_fresh) {
        conf = current;
        conf->users++;
        if (now)
            checked_ns = pi_clock_ns();
    }
    pthread_mutex_unlock(&lock);
    return conf;
}

static void keep(struct pi_dns_conf *conf, const struct mark *now)
{
    pthread_mutex_lock(&lock);
    struct pi_dns_conf *old = current;
    current = conf;
    last_base = NULL;
    if (conf) {
        conf->users++;
        memcpy(marks, now, sizeof marks);
        checked_ns = pi_clock_ns();
    }
    pthread_mutex_unlock(&lock);
    pi_dns_conf_put(old);
}

void pi_dns_conf_put(struct pi_dns_conf *conf)
{
    if (!conf || atomic_fetch_sub(&conf->users, 1) > 1)
        return;
    pi_hosts_free(conf->hosts);
    pi_free(conf);
}

/* A file's text, for free(3), or NULL: it cannot be read. *rc: a failure of the caller's own, that
 * of a file being as if it were not there. */
static char *read_text(int file, size_t max_len, int *rc)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, names[file]);
    char *text = pier_read_file(path, max_len, NULL);
    int code = text ? 0 : pier_error_code();
    *rc = code == -ENOMEM || code == -ECANCELED || code == -ETIMEDOUT || code == -EFBIG ? code : 0;
    return text;
}

static int load_hosts(struct pi_dns_conf *conf)
{
    int rc;
    char *text = read_text(HOSTS, HOSTS_MAX_LEN, &rc);
    if (!text)
        return rc;
    conf->hosts = pi_hosts_new(text);
    if (conf->hosts)
        return 0;
    free(text);
    return -ENOMEM;
}

static void heed(struct pi_dns_conf *conf, int file, char *text)
{
    if (file == RESOLV)
        pi_dns_conf_read(conf, text);
    else if (file == NSS && !pi_dns_nss_is_usual(text))
        conf->is_strange = true;
    else if (file == GAI && !pi_dns_gai_is_usual(text))
        conf->is_strange = true;
}

static int load_files(struct pi_dns_conf *conf)
{
    static const int files[] = { RESOLV, NSS, GAI };
    int rc = load_hosts(conf);
    for (int i = 0; i < 3 && (rc == 0 || rc == -EFBIG); i++) {
        conf->is_strange = conf->is_strange || rc == -EFBIG;
        char *text = read_text(files[i], FILE_MAX_LEN, &rc);
        if (text)
            heed(conf, files[i], text);
        free(text);
    }
    if (rc != -EFBIG)
        return rc;
    conf->is_strange = true;
    return 0;
}

/* resolver(5): these override the file. */
static void heed_environment(struct pi_dns_conf *conf)
{
    char copy[1024];
    const char *options = getenv("RES_OPTIONS"), *domain = getenv("LOCALDOMAIN");
    if (options) {
        snprintf(copy, sizeof copy, "%s", options);
        pi_dns_conf_options(conf, copy);
    }
    if (domain) {
        snprintf(copy, sizeof copy, "%s", domain);
        pi_dns_conf_search(conf, copy);
    }
}

static int load(struct pi_dns_conf **out)
{
    struct pi_dns_conf *conf = pi_zalloc(sizeof *conf);
    if (!conf)
        return -ENOMEM;
    conf->users = 1;
    pi_dns_conf_defaults(conf);
    conf->is_strange = !folder;
    int rc = folder ? load_files(conf) : 0;
    if (rc < 0) {
        pi_dns_conf_put(conf);
        return rc;
    }
    heed_environment(conf);
    if (conf->server_count == 0)
        add_server(conf, "127.0.0.1"); /* resolver(5); it always is an address */
    *out = conf;
    return 0;
}

/* In the child of a fork whoever read the files is not there. */
static void forget_loader(void)
{
    loading = (struct pier_mutex){ 0 };
}

static void heed_forks(void)
{
    pthread_atfork(NULL, NULL, forget_loader); /* without memory forks are the caller's care */
}

static int get_system(struct pi_dns_conf **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, heed_forks);
    struct mark now[FILES];
    *out = take_current(NULL);
    if (*out)
        return 0;
    int rc = pier_mutex_lock(&loading);
    if (rc < 0)
        return rc;
    look_at_files(now);
    *out = take_current(now);
    if (!*out) {
        rc = load(out);
        if (rc == 0)
            keep(*out, now);
    }
    pier_mutex_unlock(&loading);
    return rc;
}

static struct pi_dns_conf *take_own(const struct pi_dns_conf *base, const char *servers)
{
    struct pi_dns_conf *own = NULL;
    pthread_mutex_lock(&lock);
    if (last_own && last_base == base && strcmp(last_servers, servers) == 0) {
        own = last_own;
        own->users++;
    }
    pthread_mutex_unlock(&lock);
    return own;
}

static void keep_own(struct pi_dns_conf *own, struct pi_dns_conf *base, const char *servers)
{
    pthread_mutex_lock(&lock);
    struct pi_dns_conf *old = last_own;
    last_own = own;
    last_base = base;
    if (own) {
        own->users++;
        snprintf(last_servers, sizeof last_servers, "%s", servers);
    }
    pthread_mutex_unlock(&lock);
    pi_dns_conf_put(old);
}

static int get_own(struct pi_dns_conf **out, struct pi_dns_conf *base, const char *servers)
{
    *out = take_own(base, servers);
    if (*out)
        return 0;
    struct pi_dns_conf *own = pi_alloc(sizeof *own);
    if (!own)
        return -ENOMEM;
    memcpy(own, base, sizeof *own);
    own->users = 1;
    own->hosts = NULL;
    own->is_strange = false;
    own->has_own_servers = true;
    int rc = pi_dns_conf_servers(own, servers);
    if (rc < 0) {
        pi_free(own);
        return rc;
    }
    keep_own(own, base, servers);
    *out = own;
    return 0;
}

void pi_dns_conf_folder(const char *path)
{
    folder = path;
    keep(NULL, NULL);
    keep_own(NULL, NULL, NULL);
}

struct pi_dns_conf *pi_dns_conf_get(const char *servers, const char *what)
{
    struct pi_task *self = pi_task_self();
    struct pi_dns_conf *conf = NULL, *base = NULL;
    struct pi_err before = { 0 }; /* a file that is not there is no failure of the caller's */
    pi_err_move(&before, &self->err);
    int rc = get_system(&base);
    conf = base;
    if (rc == 0 && servers) {
        rc = get_own(&conf, base, servers);
        pi_dns_conf_put(base);
    }
    pi_err_move(&self->err, &before);
    if (rc == -EINVAL)
        pi_fail_text(rc, "%s: servers are IP addresses, as \"192.0.2.1,[::1]:5353\"", what);
    else if (rc < 0)
        pi_fail(rc, "%s", what);
    return rc < 0 ? NULL : conf;
}
