/* SPDX-License-Identifier: MIT */
/*
 * cert.c - `pier cert`: makes certificates for development, and shows what certificates say.
 *
 * create prints where key, certificate and CA are; show a block of lines for each certificate. What
 * the user has to know about a CA that was just made goes to standard error.
 */
#include "tls_options.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

enum {
    ROOM_BYTES = 512, /* of the JSON writer's buffer */
    PATH_CAP = 4096,
    DATE_CAP = 40,
    EXIT_TLS = 5,
};

static const char *const kinds[] = { "p256", "p384", "ed25519", "rsa", NULL };

static struct {
    int64_t days;
    int kind;
    const char *out;
    bool client, force, json;
} given = { .days = 365 };

/* ---- create ---- */

/* What the files are called after: the first name, with what shells and browsers' dialogs like. */
static void put_stem(char *out, size_t cap, const char *name)
{
    size_t len = 0;
    for (; *name != '\0' && len + sizeof "_wildcard" < cap; name++) {
        if (*name == '*')
            len += (size_t)snprintf(out + len, cap - len, "_wildcard");
        else
            out[len++] = *name == ':' || *name == '/' ? '_' : *name;
    }
    out[len] = '\0';
}

/* The prefix of the files: --out, in which a folder stands for the usual names within it. */
static int put_prefix(char out[PATH_CAP], const char *name)
{
    char stem[300];
    struct stat st;
    put_stem(stem, sizeof stem, name);
    const char *given_out = given.out != NULL ? given.out : "";
    size_t len = strlen(given_out);
    bool has_slash = len > 0 && given_out[len - 1] == '/';
    bool is_folder = has_slash || (len > 0 && stat(given_out, &st) == 0 && S_ISDIR(st.st_mode));
    const char *slash = is_folder && !has_slash ? "/" : "";
    int made = snprintf(out, PATH_CAP, "%s%s%s", given_out, slash,
                        len == 0 || is_folder ? stem : "");
    return made < PATH_CAP ? 0 : pier_error_set(-ENAMETOOLONG, "cert create: --out");
}

static void print_files_json(const struct pier_cert_files *files)
{
    char buf[ROOM_BYTES];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "certificate");
    pier_json_str(&w, files->cert_file);
    pier_json_key(&w, "key");
    pier_json_str(&w, files->key_file);
    pier_json_key(&w, "ca");
    pier_json_str(&w, files->ca_file);
    pier_json_key(&w, "made_ca");
    pier_json_bool(&w, files->made_ca);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

static void print_files(const struct pier_cert_files *files)
{
    printf("certificate  %s\n", files->cert_file);
    printf("key          %s\n", files->key_file);
    printf("CA           %s\n", files->ca_file);
}

static int create(int count, char **names)
{
    char prefix[PATH_CAP];
    struct pier_cert_files files;
    const struct pier_cert_opts opts = {
        .kind = (enum pier_key_kind)given.kind,
        .days = (int)given.days,
        .is_client = given.client,
        .replaces = given.force,
    };
    if (put_prefix(prefix, names[0]) < 0)
        return pier_fail("pier");
    int rc = pier_cert_create(&files, prefix, (const char *const *)names, count, &opts);
    if (rc == -EINVAL)
        return usage_error(&verb_cert, "%s", pier_error());
    if (rc == -EEXIST)
        fprintf(stderr, "pier: %s: --force replaces it\n", pier_error());
    if (rc < 0)
        return rc == -EEXIST ? EXIT_FAILED : pier_fail("pier");
    if (given.json)
        print_files_json(&files);
    else
        print_files(&files);
    if (files.made_ca)
        fprintf(stderr,
                "pier: made a CA; programs trust it when told so: pier --ca, curl --cacert %s\n",
                files.ca_file);
    pier_cert_files_fini(&files);
    return output_finish();
}

/* ---- show ---- */

static int64_t days_left(const struct pier_cert *cert)
{
    const int64_t day_s = 24 * 60 * 60;
    int64_t left_s = cert->not_after_ns / PIER_SECOND - time(NULL);
    return left_s >= 0 ? left_s / day_s : -((-left_s + day_s - 1) / day_s);
}

static void print_cert_json(struct pier_json *w, const struct pier_cert *cert)
{
    char date[DATE_CAP];
    pier_json_object(w);
    pier_json_key(w, "subject");
    pier_json_str(w, cert->subject);
    pier_json_key(w, "names");
    pier_json_array(w);
    for (int i = 0; i < cert->name_count; i++)
        pier_json_str(w, cert->names[i]);
    pier_json_close(w);
    pier_json_key(w, "issuer");
    pier_json_str(w, cert->issuer);
    pier_json_key(w, "not_before");
    pier_date_rfc3339(date, sizeof date, cert->not_before_ns, false);
    pier_json_str(w, date);
    pier_json_key(w, "not_after");
    pier_date_rfc3339(date, sizeof date, cert->not_after_ns, false);
    pier_json_str(w, date);
    pier_json_key(w, "days_left");
    pier_json_int(w, days_left(cert));
    pier_json_key(w, "key");
    pier_json_str(w, cert->key);
    pier_json_key(w, "serial");
    pier_json_str(w, cert->serial);
    pier_json_key(w, "sha256");
    pier_json_str(w, cert->sha256);
    pier_json_key(w, "pin");
    pier_json_str(w, cert->pin);
    pier_json_key(w, "is_ca");
    pier_json_bool(w, cert->is_ca);
    pier_json_close(w);
}

static void print_valid(const struct pier_cert *cert)
{
    char from[DATE_CAP], until[DATE_CAP];
    int64_t left = days_left(cert);
    pier_date_rfc3339(from, sizeof from, cert->not_before_ns, false);
    pier_date_rfc3339(until, sizeof until, cert->not_after_ns, false);
    printf("valid        %s to %s ", from, until);
    if (left < 0)
        printf("(expired)\n");
    else if (cert->not_before_ns / PIER_SECOND > time(NULL))
        printf("(not yet)\n");
    else
        printf("(%lld day%s left)\n", (long long)left, left == 1 ? "" : "s");
}

static void print_cert(const struct pier_cert *cert)
{
    printf("subject      %s\n", cert->subject);
    for (int i = 0; i < cert->name_count; i++)
        printf("%s%s%s", i == 0 ? "names        " : ", ", cert->names[i],
               i + 1 == cert->name_count ? "\n" : "");
    printf("issuer       %s%s\n", cert->issuer, cert->is_self_issued ? " (itself)" : "");
    print_valid(cert);
    printf("key          %s%s\n", cert->key, cert->is_ca ? ", of a CA" : "");
    printf("serial       %s\n", cert->serial);
    printf("sha256       %s\n", cert->sha256);
    printf("pin          sha256//%s\n", cert->pin);
}

/* What is shown: the certificates of a file, or of a server and whether it convinces. */
struct shown {
    const char *from;
    struct pier_certs certs;
    bool is_server;
    char fault[600]; /* why a server does not; "": it does */
};

static void print_certs_json(const struct shown *s)
{
    char buf[ROOM_BYTES];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "from");
    pier_json_str(&w, s->from);
    if (s->is_server) {
        pier_json_key(&w, "verified");
        pier_json_bool(&w, s->fault[0] == '\0');
        pier_json_key(&w, "error");
        pier_json_str(&w, s->fault[0] != '\0' ? s->fault : NULL);
    }
    pier_json_key(&w, "certificates");
    pier_json_array(&w);
    for (int i = 0; i < s->certs.count; i++)
        print_cert_json(&w, &s->certs.items[i]);
    pier_json_close(&w);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

static void print_certs(const struct shown *s, bool is_first)
{
    for (int i = 0; i < s->certs.count; i++) {
        if (!is_first || i > 0)
            putchar('\n');
        if (i == 0 && s->is_server)
            printf("verified     %s\n", s->fault[0] != '\0' ? s->fault : "yes");
        print_cert(&s->certs.items[i]);
    }
}

/* "tls://host:443" of "https://host/path"; other URLs as they are. */
static void put_url(char *out, size_t cap, const char *url)
{
    const char *host = url + strlen("https://");
    if (strncasecmp(url, "https://", strlen("https://")) != 0) {
        snprintf(out, cap, "%s", url);
        return;
    }
    int len = (int)strcspn(host, "/?#");
    const char *bracket = memchr(host, ']', (size_t)len);
    const char *port = bracket != NULL ? bracket : host;
    bool has_port = memchr(port, ':', (size_t)(host + len - port)) != NULL;
    snprintf(out, cap, "tls://%.*s%s", len, host, has_port ? "" : ":443");
}

/* Asks again without verifying when the first answer does not convince: what is wrong with it is
 * best seen in what it says. */
static int ask(struct shown *s)
{
    char url[PATH_CAP];
    struct pier_tls_opts tls = { .ca_file = tls_given.ca, .server_name = tls_given.servername };
    const struct pier_dial_opts opts = { .tls = &tls };
    put_url(url, sizeof url, s->from);
    struct pier_conn *c = pier_dial(url, &opts);
    if (c == NULL && pier_error_code() == PIER_ETLS) {
        snprintf(s->fault, sizeof s->fault, "%s", pier_error());
        pier_log_set_level(PIER_LOG_ERROR); /* that it was not verified is what we say */
        tls.insecure_skip_verify = true;
        c = pier_dial(url, &opts);
    }
    int rc = pier_certs_of_peer(&s->certs, c);
    pier_close(c);
    return rc;
}

/* Returns the exit code. */
static int show_one(const char *from, bool is_first)
{
    struct shown s = { .from = from, .is_server = strstr(from, "://") != NULL };
    if ((s.is_server ? ask(&s) : pier_certs_read(&s.certs, from)) < 0)
        return pier_fail("pier");
    if (given.json)
        print_certs_json(&s);
    else
        print_certs(&s, is_first);
    pier_certs_fini(&s.certs);
    return s.fault[0] != '\0' ? EXIT_TLS : EXIT_OK;
}

static int show(int count, char **from)
{
    int code = EXIT_OK;
    for (int i = 0; i < count; i++) {
        int rc = show_one(from[i], i == 0);
        code = code == EXIT_OK ? rc : code;
        output_flush();
    }
    int rc = output_finish();
    return code != EXIT_OK ? code : rc;
}

/* ---- the verb ---- */

static int run_cert(int count, char **operands)
{
    bool is_create = strcmp(operands[0], "create") == 0;
    if (!is_create && strcmp(operands[0], "show") != 0)
        return usage_error(&verb_cert, "cert can create or show, not '%s'", operands[0]);
    if (count < 2)
        return usage_error(&verb_cert, "cert %s needs %s", operands[0],
                           is_create ? "a name" : "a file or a URL");
    return is_create ? create(count - 1, operands + 1) : show(count - 1, operands + 1);
}

static const struct verb_option options[] = {
    { "out", OPTION_TEXT, &given.out, .letter = 'o', .value = "PREFIX",
      .help = "create: write PREFIX.pem and PREFIX-key.pem, or into that folder "
              "(default: called after the first name)" },
    { "days", OPTION_COUNT, &given.days, .value = "N", .min = 1, .max = 825,
      .help = "create: good for so long (default 365)" },
    { "kind", OPTION_CHOICE, &given.kind, .value = "KIND", .choices = kinds,
      .help = "create: the key, p256, p384, ed25519 or rsa (default p256)" },
    { "client", OPTION_FLAG, &given.client,
      .help = "create: for a client that shows it; names may be mail addresses" },
    { "force", OPTION_FLAG, &given.force, .letter = 'f',
      .help = "create: replace files that are there" },
    { "ca", OPTION_TEXT, &tls_given.ca, .value = "FILE",
      .help = "show: trust the authorities in FILE (PEM) instead of the system's" },
    { "servername", OPTION_TEXT, &tls_given.servername, .value = "NAME",
      .help = "show: ask for NAME and expect it in the certificate (default: the host)" },
    { "json", OPTION_FLAG, &given.json, .help = "print JSON objects instead, one a line" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier cert create shop.test '*.shop.test' 192.168.1.5",
      "shop.test.pem and shop.test-key.pem, and a CA the first time" },
    { "pier cert create --client --out alice alice@shop.test",
      "alice.pem and alice-key.pem, for a server that asks for them" },
    { "pier cert show shop.test.pem", "for whom, by whom, for how long, and its pin" },
    { "pier cert show https://example.com", "what a server shows, and whether it convinces" },
    { "pier cert show --json shop.test.pem | jq '.certificates[0].days_left'",
      "the same, for a script" },
    { 0 },
};

const struct verb verb_cert = {
    .name = "cert",
    .summary = "make certificates for development, show what certificates say",
    .operands = "create NAME... | show FILE|URL...",
    .min_operands = 1,
    .max_operands = -1,
    .details = "create makes a key and a certificate for host names, \"*.host.name\" and IP "
               "addresses, signed by a CA of your own, ca.pem in "
               "${XDG_DATA_HOME:-~/.local/share}/pier, which is made the first time. show prints "
               "what certificates say: those in files, or those of servers (tls://HOST:PORT, "
               "https://HOST), which need not convince.",
    .options = options,
    .examples = examples,
    .run = run_cert,
};
