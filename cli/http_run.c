/* SPDX-License-Identifier: MIT */
/*
 * http_run.c - `pier get` and its like: one request, its response on standard output or in a file.
 *
 * Standard output has the body and nothing else, unless the head is asked for. What is for people,
 * progress and times, goes to standard error.
 */
#include "http.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 65536, BAR = 30 };

static struct {
    bool include, remote_name, resume, form, fail, timing, json, no_proxy, insecure, no_gzip;
    const char *output, *user, *bearer, *proxy, *unix_path, *ca, *cert, *key;
    int64_t timeout, connect_timeout, retries, redirects, max_size;
} given = { .redirects = 10 };

/* ---- the request ---- */

static ssize_t read_stdin_or_file(void *file, void *buf, size_t cap)
{
    size_t n = fread(buf, 1, cap, file);
    return n == 0 && ferror((FILE *)file) ? pier_error_set(-EIO, "read the body") : (ssize_t)n;
}

/* Opens "@file". 0 or the exit code. */
static int open_body(struct pier_request *req, const char *path)
{
    struct stat st;
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &st) < 0) {
        fprintf(stderr, "pier: %s: %s\n", path, pier_strerror(-errno));
        return EXIT_FAILED;
    }
    req->source = read_stdin_or_file;
    req->source_arg = file;
    req->source_len = S_ISREG(st.st_mode) && file != stdin ? st.st_size : 0;
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        req->source = NULL; /* nothing, rather than an unknown number of bytes */
    return 0;
}

/* "user:password". */
static void take_user(struct pier_request *req)
{
    static char user[512];
    snprintf(user, sizeof user, "%s", given.user);
    char *colon = strchr(user, ':');
    if (colon != NULL)
        *colon++ = '\0';
    req->user = user;
    req->password = colon;
}

static bool has_field(const struct http_items *items, const char *name)
{
    size_t len = strlen(name);
    for (int i = 0; i < items->field_count; i++)
        if (strncasecmp(items->fields[i], name, len) == 0 && items->fields[i][len] == ':')
            return true;
    return false;
}

static int make_request(struct pier_request *req, struct http_items *items)
{
    if (items->has_body && !given.form && !has_field(items, "Accept"))
        items->fields[items->field_count++] = "Accept: application/json, */*;q=0.5";
    req->fields = items->fields;
    req->body_type = items->body_type;
    if (items->has_body) {
        req->body = items->body.bytes;
        req->body_len = items->body.len;
    }
    req->bearer = given.bearer;
    req->timeout_ms = given.timeout > 0 ? duration_ms(given.timeout) : 0;
    req->redirects_max = given.redirects > 0 ? (int)given.redirects : -1;
    req->retries = (int)given.retries;
    req->body_max = given.max_size;
    req->no_gzip = given.no_gzip;
    if (given.user != NULL)
        take_user(req);
    return items->file != NULL ? open_body(req, items->file) : 0;
}

static struct pier_http_client *make_client(void)
{
    static struct pier_tls_opts tls;
    tls = (struct pier_tls_opts){ .ca_file = given.ca,
                                  .cert_file = given.cert,
                                  .key_file = given.key,
                                  .insecure_skip_verify = given.insecure };
    return pier_http_client_new(&(struct pier_http_client_opts){
        .connect_timeout_ms = given.connect_timeout > 0 ? duration_ms(given.connect_timeout) : 0,
        .proxy = given.no_proxy ? "" : given.proxy,
        .unix_path = given.unix_path,
        .tls = &tls,
    });
}

/* ---- the head ---- */

static void print_head(const struct pier_response *r)
{
    const char *name, *value;
    const char *reason = pier_response_reason(r);
    printf("HTTP/1.%d %d%s%s\r\n", pier_response_version(r) - 10, pier_response_status(r),
           *reason != '\0' ? " " : "", reason);
    for (int i = 0; pier_response_field_at(r, i, &name, &value); i++)
        printf("%s: %s\r\n", name, value);
    printf("\r\n");
}

static void print_head_as_json(const struct pier_response *r)
{
    char buf[4096];
    const char *name, *value;
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "url");
    pier_json_str(&w, pier_response_url(r));
    pier_json_key(&w, "version");
    pier_json_str(&w, pier_response_version(r) == 10 ? "1.0" : "1.1");
    pier_json_key(&w, "status");
    pier_json_int(&w, pier_response_status(r));
    pier_json_key(&w, "reason");
    pier_json_str(&w, pier_response_reason(r));
    pier_json_key(&w, "fields");
    pier_json_array(&w);
    for (int i = 0; pier_response_field_at(r, i, &name, &value); i++) {
        pier_json_object(&w);
        pier_json_key(&w, "name");
        pier_json_str(&w, name);
        pier_json_key(&w, "value");
        pier_json_str(&w, value);
        pier_json_close(&w);
    }
    pier_json_close(&w);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    (void)pier_json_end(&w); /* output_finish() tells */
}

static void show_head(const struct pier_response *r, bool is_head)
{
    if (given.json && is_head)
        print_head_as_json(r);
    else if (given.include || is_head)
        print_head(r);
}

/* ---- times ---- */

static void print_times(const struct pier_response *r)
{
    struct pier_http_times t;
    pier_response_times(r, &t);
    const struct {
        const char *name, *key;
        int64_t ns;
    } rows[] = { { "resolve", "resolve_ms", t.resolved },
                 { "connect", "connect_ms", t.connected },
                 { "TLS", "tls_ms", t.secured },
                 { "first byte", "first_byte_ms", t.first_byte },
                 { "total", "total_ms", t.total } };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    for (int i = 0; i < ROWS && !given.json; i++) {
        if (rows[i].ns > 0)
            fprintf(stderr, "%-10s %10.3f ms\n", rows[i].name, (double)rows[i].ns / 1e6);
    }
    if (!given.json)
        return;
    char buf[512];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, NULL, NULL);
    pier_json_object(&w);
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].ns <= 0)
            continue;
        pier_json_key(&w, rows[i].key);
        pier_json_double(&w, (double)(rows[i].ns / 1000) / 1e3);
    }
    pier_json_close(&w);
    ssize_t len = pier_json_end(&w);
    fprintf(stderr, "%.*s\n", (int)len, buf);
}

/* ---- progress ---- */

struct progress {
    bool shown;
    int64_t began, drawn; /* pier_now() */
    int64_t first, total; /* bytes that were there before; of the whole, -1: not known */
};

static void format_bytes(char *out, size_t cap, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    int unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(out, cap, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void draw(struct progress *p, int64_t done, bool is_last)
{
    enum { REDRAW_MS = 100 };
    char have[32], all[32], rate[32], bar[BAR + 1];
    int64_t now = pier_now();
    if (!p->shown || (!is_last && now - p->drawn < REDRAW_MS * PIER_MILLISECOND))
        return;
    p->drawn = now;
    double seconds = (double)(now - p->began) / 1e9;
    format_bytes(have, sizeof have, (double)done);
    format_bytes(rate, sizeof rate, (double)(done - p->first) / (seconds > 0 ? seconds : 1));
    if (p->total <= 0) {
        fprintf(stderr, "\r%s  %s/s\033[K", have, rate);
    } else {
        int filled = (int)((double)BAR * (double)done / (double)p->total);
        memset(bar, '-', BAR);
        memset(bar, '#', (size_t)(filled < BAR ? filled : BAR));
        bar[BAR] = '\0';
        format_bytes(all, sizeof all, (double)p->total);
        fprintf(stderr, "\r[%s] %3d %%  %s of %s  %s/s\033[K", bar, (int)(100 * done / p->total),
                have, all, rate);
    }
    if (is_last)
        fputc('\n', stderr);
}

/* ---- the body ---- */

/* The last segment of the URL's path, decoded: a name in this folder, never a path. NULL: there is
 * none. */
static const char *name_of(const char *url)
{
    static char name[256];
    struct pier_uri u;
    if (pier_uri_parse(&u, url, strlen(url)) < 0)
        return NULL;
    const char *path = u.path.ptr, *end = path + u.path.len, *begin = end;
    while (begin > path && begin[-1] != '/')
        begin--;
    ssize_t len = pier_percent_decode(name, sizeof name, begin, (size_t)(end - begin));
    bool is_fine = len > 0 && strlen(name) == (size_t)len && strchr(name, '/') == NULL &&
                   strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    return is_fine ? name : NULL;
}

/* Copies the body to a stream. 0 or the exit code. */
static int copy_body(struct pier_response *r, FILE *out, const char *path, int64_t first)
{
    static char piece[PIECE];
    int64_t len = pier_response_len(r), done = first;
    struct progress p = {
        .shown = path != NULL && isatty(STDERR_FILENO),
        .began = pier_now(),
        .first = first,
        .total = len >= 0 ? first + len : -1,
    };
    ssize_t n;
    while ((n = pier_response_read(r, piece, sizeof piece)) > 0) {
        if (path == NULL && isatty(STDOUT_FILENO) && memchr(piece, '\0', (size_t)n) != NULL) {
            fputs("pier: the body is not text, and standard output a terminal: give -o FILE\n",
                  stderr);
            return EXIT_FAILED;
        }
        if (fwrite(piece, 1, (size_t)n, out) < (size_t)n) {
            if (path != NULL)
                fprintf(stderr, "pier: %s: %s\n", path, pier_strerror(-errno));
            return EXIT_FAILED;
        }
        done += n;
        draw(&p, done, false);
        if (path == NULL && pier_response_len(r) < 0)
            fflush(stdout); /* a stream is seen as it comes */
    }
    draw(&p, done, true);
    return n < 0 ? pier_fail("pier") : 0;
}

/* --resume found a file that is whole: the server has nothing beyond it. */
static bool is_whole_already(const struct pier_response *r, int64_t have)
{
    const char *range = pier_response_field(r, "Content-Range");
    long long whole;
    return pier_response_status(r) == 416 && range != NULL &&
           sscanf(range, "bytes */%lld", &whole) == 1 && whole == have;
}

static int save_body(struct pier_response *r, const char *path, int64_t have)
{
    if (have > 0 && is_whole_already(r, have))
        return 0;
    if (have > 0 && pier_response_status(r) == 416) {
        fprintf(stderr, "pier: %s: the file here is no beginning of what is there\n", path);
        return EXIT_FAILED;
    }
    bool continues = have > 0 && pier_response_status(r) == 206 && pier_response_from(r) == have;
    FILE *file = fopen(path, continues ? "ab" : "wb");
    if (file == NULL) {
        fprintf(stderr, "pier: %s: %s\n", path, pier_strerror(-errno));
        return EXIT_FAILED;
    }
    int code = copy_body(r, file, path, continues ? have : 0);
    if (fclose(file) != 0 && code == 0) {
        fprintf(stderr, "pier: %s: %s\n", path, pier_strerror(-errno));
        code = EXIT_FAILED;
    }
    return code;
}

/* ---- all of it ---- */

/* The exit code of a response. */
static int show(struct pier_response *r, const char *path, int64_t have, bool is_head)
{
    int status = pier_response_status(r);
    bool failed = given.fail && status >= 400 && !(path != NULL && is_whole_already(r, have));
    show_head(r, is_head);
    int code = 0;
    if (path == NULL)
        code = copy_body(r, stdout, NULL, 0);
    else if (!failed) /* what tells of an error is not what the file is for */
        code = save_body(r, path, have);
    int written = output_finish();
    if (given.timing)
        print_times(r);
    if (code == 0 && written != EXIT_OK)
        code = written;
    if (code != 0 || !failed)
        return code;
    fprintf(stderr, "pier: %s: %d %s\n", pier_response_url(r), status, pier_response_reason(r));
    return EXIT_STATUS;
}

/* Where the body goes, and how much of it is there already. 0 or the exit code. */
static int find_file(const struct verb *verb, const char *url, const char **path, int64_t *have)
{
    struct stat st;
    *have = 0;
    *path = given.remote_name ? name_of(url) : given.output;
    if (given.output != NULL && strcmp(given.output, "-") == 0)
        *path = NULL;
    if (given.remote_name && given.output != NULL)
        return usage_error(verb, "either -o or -O");
    if (given.remote_name && *path == NULL)
        return usage_error(verb, "-O: there is no name at the end of the URL; give -o FILE");
    if (given.resume && *path == NULL)
        return usage_error(verb, "--resume needs -o FILE or -O");
    if (given.resume && stat(*path, &st) == 0 && S_ISREG(st.st_mode))
        *have = st.st_size;
    return 0;
}

int http_run(const struct verb *verb, const char *method, int count, char **operands)
{
    static struct http_items items; /* with what hangs on it: until the end */
    struct pier_request req = { .method = method };
    const char *path;
    signal(SIGPIPE, SIG_IGN); /* an output that is closed is an error with a text */
    if (given.resume && strcmp(method, "GET") != 0)
        return usage_error(verb, "--resume is for get");
    items.form = given.form;
    int code = http_items_parse(&items, verb, count, operands);
    if (code == 0)
        code = find_file(verb, items.url.bytes, &path, &req.from);
    if (code == 0)
        code = make_request(&req, &items);
    if (code != 0)
        return code;
    struct pier_http_client *client = make_client();
    req.client = client;
    struct pier_response *r = client != NULL ? pier_http_call(items.url.bytes, &req) : NULL;
    code = r != NULL ? show(r, path, req.from, strcmp(method, "HEAD") == 0) : pier_fail("pier");
    pier_response_free(r);
    pier_http_client_free(client);
    return code;
}

const struct verb_option http_options[] = {
    { "include", OPTION_FLAG, &given.include, .letter = 'i',
      .help = "print the status line and the fields before the body" },
    { "output", OPTION_TEXT, &given.output, .letter = 'o', .value = "FILE",
      .help = "write the body to FILE, with a progress bar on a terminal" },
    { "remote-name", OPTION_FLAG, &given.remote_name, .letter = 'O',
      .help = "the same, to a file of this folder named as the end of the URL's path" },
    { "resume", OPTION_FLAG, &given.resume,
      .help = "get: ask only for what FILE does not have yet" },
    { "form", OPTION_FLAG, &given.form, .letter = 'f', .help = "send data as a form, not as JSON" },
    { "fail", OPTION_FLAG, &given.fail,
      .help = "exit with 7 when the status is 400 or above; FILE is not written then" },
    { "timing", OPTION_FLAG, &given.timing,
      .help = "print when name, connection, TLS, first byte and all of it were there" },
    { "json", OPTION_FLAG, &given.json,
      .help = "print as JSON what is printed beside the body: --timing, and what head prints" },
    { "user", OPTION_TEXT, &given.user, .letter = 'u', .value = "USER:PW",
      .help = "who asks (Basic authentication)" },
    { "bearer", OPTION_TEXT, &given.bearer, .value = "TOKEN",
      .help = "who asks (Bearer authentication)" },
    { "timeout", OPTION_DURATION, &given.timeout, .value = "D", .min = PIER_MILLISECOND,
      .help = "the longest that all of it may take (default: no limit)" },
    { "connect-timeout", OPTION_DURATION, &given.connect_timeout, .value = "D",
      .min = PIER_MILLISECOND, .help = "the longest wait for the connection (default 10s)" },
    { "retry", OPTION_COUNT, &given.retries, .value = "N", .max = 100,
      .help = "try again, with growing pauses, when connecting fails or the server is busy "
              "(not with post and patch)" },
    { "redirects", OPTION_COUNT, &given.redirects, .value = "N", .max = 100,
      .help = "how many to follow at most (default 10; 0: none)" },
    { "max-size", OPTION_SIZE, &given.max_size, .value = "SIZE", .min = 1, .max = INT64_MAX,
      .help = "give up beyond so many bytes of body" },
    { "proxy", OPTION_TEXT, &given.proxy, .value = "URL",
      .help = "use this proxy, not those of the environment (http_proxy, https_proxy, all_proxy, "
              "no_proxy)" },
    { "no-proxy", OPTION_FLAG, &given.no_proxy, .help = "use no proxy" },
    { "unix", OPTION_TEXT, &given.unix_path, .value = "PATH",
      .help = "connect to this Unix socket instead of the URL's host" },
    { "ca", OPTION_TEXT, &given.ca, .value = "FILE",
      .help = "https: trust the authorities in FILE (PEM) instead of the system's" },
    { "cert", OPTION_TEXT, &given.cert, .value = "FILE",
      .help = "https: our own certificate (PEM)" },
    { "key", OPTION_TEXT, &given.key, .value = "FILE", .help = "https: its key (PEM)" },
    { "insecure", OPTION_FLAG, &given.insecure,
      .help = "https: verify nothing; anybody may be at the other end" },
    { "no-gzip", OPTION_FLAG, &given.no_gzip, .help = "do not ask for a compressed body" },
    { 0 },
};
