/* SPDX-License-Identifier: MIT */
/*
 * serve.c - `pier serve`: the options, the server, and the lines that say where it listens.
 *
 * What it does with a connection is in handlers.c, chat.c and relay.c.
 */
#include "service.h"
#include "tls_options.h"
#include "verb.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEFAULT_URL "tcp://127.0.0.1:8888"
#define DEFAULT_UDP_URL "udp://127.0.0.1:9999"

enum { DEFAULT_IDLE_MS = 300000, DEFAULT_MAX_LINE = 1 << 20, MOST_WORKERS = 1024 };

/* ---- the options ---- */

/* What a client meets. The handlers come first, in the order of their names below. */
enum {
    SERVICE_MESSAGE = 1,
    SERVICE_CHAT = 3,
    SERVICE_TIME = 5,
    SERVICE_RECEIVER,
    SERVICE_REPLY,
    SERVICE_EXEC
};

static const struct {
    const char *name;
    int (*run)(struct pier_conn *c, const struct service *service);
    bool has_messages;
} services[] = {
    { "echo", handle_echo, false },
    { "message", handle_message, true },
    { "hello", handle_hello, true },
    [SERVICE_CHAT] = { "chat", handle_chat, true },
    { "discard", handle_discard, false },
    { "time", handle_time, false },
    { "receiver", handle_receiver, true },
    [SERVICE_REPLY] = { "reply", handle_reply, true },
    [SERVICE_EXEC] = { "exec", handle_exec, false },
};

static const char *const handler_names[] = {
    "echo", "message", "hello", "chat", "discard", "time", "receiver", NULL,
};

static const char *const model_names[] = {
    [PIER_TASKS] = "tasks",
    [PIER_THREADS] = "threads",
    [PIER_PROCESSES] = "processes",
    [PIER_PREFORK] = "prefork",
    NULL,
};

static struct {
    int handler, model, verbosity;
    const char *reply, *exec, *capture;
    bool once, lines, json;
    int64_t max_line, workers, max_conns, idle_timeout;
    const char **allow, **deny, **proxy_from, *rate;
    int64_t max_per_ip, burst, ban;
} given = { .handler = -1, .max_line = -1, .idle_timeout = -1 };

static const struct verb_option options[] = {
    { "handler", OPTION_CHOICE, &given.handler, .value = "NAME", .choices = handler_names,
      .help = "what a client meets: echo, message (default), hello, chat, discard, time or "
              "receiver" },
    { "reply", OPTION_TEXT, &given.reply, .value = "TEXT",
      .help = "answer each message with TEXT, in which %m is the message and %% a percent sign" },
    { "once", OPTION_FLAG, &given.once, .help = "with --reply: close after the first reply" },
    { "exec", OPTION_TEXT, &given.exec, .value = "CMD",
      .help = "run CMD by sh -c for each client, its standard input and output the connection" },
    { "lines", OPTION_FLAG, &given.lines,
      .help = "a message is a line, not one read; each reply ends with a newline" },
    { "max-line", OPTION_SIZE, &given.max_line, .value = "SIZE", .min = 1,
      .help = "with --lines: the longest line (default 1M)" },
    { "model", OPTION_CHOICE, &given.model, .value = "NAME", .choices = model_names,
      .help = "serve clients in tasks (default), threads, processes, or prefork: tasks in worker "
              "processes" },
    { "workers", OPTION_COUNT, &given.workers, .value = "N", .min = 1, .max = MOST_WORKERS,
      .help =
          "event loops, with prefork processes, that run the tasks (default: one a processor)" },
    { "max-conns", OPTION_COUNT, &given.max_conns, .value = "N", .min = 1,
      .help = "clients at once; others wait for their turn (default 10000)" },
    { "idle-timeout", OPTION_DURATION, &given.idle_timeout, .value = "D",
      .help = "close a connection that is silent for so long (default 5m, of HTTP 75s, of "
              "datagrams 1m; 0: never)" },
    { "allow", OPTION_TEXTS, &given.allow, .value = "CIDR|FILE",
      .help =
          "let clients of this network in, or of those in FILE, one a line, and nobody else but "
          "by another --allow; again for more" },
    { "deny", OPTION_TEXTS, &given.deny, .value = "CIDR|FILE",
      .help = "refuse clients of this network, or of those in FILE; again for more. The longest "
              "prefix decides, and a file that changes is read again" },
    { "max-per-ip", OPTION_COUNT, &given.max_per_ip, .value = "N", .min = 1,
      .help = "connections at once of an address (IPv6: a /64); more are refused (default: any "
              "number)" },
    { "rate", OPTION_TEXT, &given.rate, .value = "N/s",
      .help = "connections that an address may begin a second (N/m: a minute, N/h: an hour); more "
              "are refused (default: any number)" },
    { "burst", OPTION_COUNT, &given.burst, .value = "N", .min = 1,
      .help = "with --rate: so many of them at once (default: the N of --rate)" },
    { "ban", OPTION_DURATION, &given.ban, .value = "D",
      .help = "with --rate: refuse an address that comes faster for so long" },
    { "proxy-from", OPTION_TEXTS, &given.proxy_from, .value = "CIDR|FILE",
      .help = "trust proxies of this network, or of those in FILE, whose connections begin with a "
              "PROXY header; again for more" },
    { "capture", OPTION_TEXT, &given.capture, .value = "FILE",
      .help = "write what is received and sent to FILE, for Wireshark, with the secrets of TLS" },
    TLS_SERVER_OPTIONS,
    { "json", OPTION_FLAG, &given.json,
      .help = "say where it listens in JSON lines on standard output, and log in JSON" },
    { "verbose", OPTION_REPEAT, &given.verbosity, .letter = 'v',
      .help = "log each connect, message and disconnect; -vv: the bytes as well" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier serve", "answer on TCP port 8888 and UDP port 9999; try: pier connect tcp://:8888" },
    { "pier serve udp://:9999 --handler receiver", "print what is sent or broadcast to this host" },
    { "pier serve tcp://:7000 unix:///run/echo.sock --handler echo -v",
      "echo on every address and on a Unix socket, and log who says what" },
    { "pier serve --reply 'you said %m' --lines", "one reply for each line" },
    { "pier serve --exec 'tr a-z A-Z' --max-conns 100", "make a network service of a filter" },
    { "pier serve tls://:8443", "the same over TLS, with a certificate for development" },
    { "pier serve tls://:8443 --cert server.pem --key server-key.pem",
      "with one's own; certificates are read again when they change" },
    { "pier serve --handler chat --model threads", "a chat room, a thread for each guest" },
    { "pier serve http://127.0.0.1:8000 --reply 'Hello, World!'", "answer every HTTP request" },
    { "pier serve --handler echo --model prefork --workers 4",
      "echo in four processes, which are started again when they crash" },
    { "pier serve tcp://:7000 --deny blocked.txt --rate 20/s --max-per-ip 50",
      "refuse the networks of a list, and those who want too much" },
    { 0 },
};

static int which_service(void)
{
    if (given.exec != NULL)
        return SERVICE_EXEC;
    if (given.reply != NULL)
        return SERVICE_REPLY;
    return given.handler < 0 ? SERVICE_MESSAGE : given.handler;
}

/* Whether handlers run in processes other than this one. */
static bool has_processes(void)
{
    return given.model == PIER_PROCESSES || given.model == PIER_PREFORK;
}

/* Whether the options go together: 0, or the usage error's exit code. */
static int check_options(void)
{
    if ((given.handler >= 0) + (given.reply != NULL) + (given.exec != NULL) > 1)
        return usage_error(&verb_serve, "--handler, --reply and --exec exclude each other");
    if (given.once && given.reply == NULL)
        return usage_error(&verb_serve, "--once needs --reply");
    if (given.lines && !services[which_service()].has_messages)
        return usage_error(&verb_serve,
                           "--lines is for message, hello, chat, receiver and --reply");
    if (given.max_line >= 0 && !given.lines)
        return usage_error(&verb_serve, "--max-line needs --lines");
    if (has_processes() && which_service() == SERVICE_CHAT)
        return usage_error(&verb_serve,
                           "--handler chat needs guests in one process, not --model %s",
                           model_names[given.model]);
    return 0;
}

static bool is_udp(const char *url)
{
    return strncasecmp(url, "udp://", 6) == 0;
}

/* Whether each URL suits the handler: 0, or the usage error's exit code. */
static int check_urls(int count, char **urls)
{
    int which = which_service();
    bool only_tcp = which == SERVICE_CHAT || which == SERVICE_TIME;
    bool is_talk = given.handler >= 0 || given.exec != NULL || given.lines || given.once;
    for (int i = 0; i < count; i++) {
        if (is_http(urls[i]) && is_talk)
            return usage_error(
                &verb_serve, "--handler, --exec, --lines and --once are not for HTTP: %s", urls[i]);
        if (is_udp(urls[i]) && only_tcp)
            return usage_error(&verb_serve, "--handler %s is not for datagrams: %s",
                               services[which].name, urls[i]);
        if (!is_udp(urls[i]) && which == SERVICE_RECEIVER)
            return usage_error(&verb_serve, "--handler receiver is for datagrams (udp://), not %s",
                               urls[i]);
    }
    return 0;
}

static int idle_timeout_ms(void)
{
    if (given.idle_timeout < 0)
        return DEFAULT_IDLE_MS;
    return given.idle_timeout == 0 ? PIER_NO_TIMEOUT : duration_ms(given.idle_timeout);
}

/* Makes of the options what all connections are given. 0, or a usage error's exit code. */
static int choose_service(struct service *service)
{
    *service = (struct service){
        .name = services[which_service()].name,
        .run = services[which_service()].run,
        .lines = given.lines,
        .max_line = given.max_line < 0 ? DEFAULT_MAX_LINE : (size_t)given.max_line,
        .once = given.once,
        .command = given.exec,
        .idle_timeout_ms = idle_timeout_ms(),
        .http_idle_ms = given.idle_timeout < 0 ? 0 : idle_timeout_ms(),
        .traces = given.verbosity > 0,
    };
    int rc = given.reply != NULL ? reply_parse(&service->reply, given.reply) : 0;
    if (rc == -E2BIG)
        return usage_error(&verb_serve, "--reply: more than %d pieces", REPLY_PIECES);
    if (rc < 0)
        return usage_error(&verb_serve,
                           "--reply: a percent sign is written %%%%; %%m is the message");
    return 0;
}

static bool has_firewall(void)
{
    return given.allow != NULL || given.deny != NULL || given.max_per_ip > 0 || given.rate != NULL;
}

/* Makes of the options what is asked of each client. 0, or a usage error's exit code. */
static int choose_firewall(struct pier_firewall_opts *firewall)
{
    int64_t rate = 0, ns = PIER_SECOND;
    if (given.rate == NULL && (given.burst > 0 || given.ban > 0))
        return usage_error(&verb_serve, "--%s needs --rate", given.burst > 0 ? "burst" : "ban");
    if (given.rate != NULL && value_rate(&rate, &ns, given.rate) == -EINVAL)
        return usage_error(&verb_serve, "--rate: '%s' is not a rate (100/s, 10/m, 5/h)",
                           given.rate);
    if (given.rate != NULL && (rate < 1 || rate > INT_MAX))
        return usage_error(&verb_serve, "--rate: '%s' is too %s", given.rate,
                           rate < 1 ? "small" : "large");
    *firewall = (struct pier_firewall_opts){
        .allow = given.allow,
        .deny = given.deny,
        .max_per_ip = (int)given.max_per_ip,
        .rate = (int)rate,
        .rate_ms = rate > 0 ? duration_ms(ns) : 0,
        .burst = (int)given.burst,
        .ban_ms = duration_ms(given.ban),
    };
    return 0;
}

/* ---- the process ---- */

/* A server needs what it may have; programs that it starts get it as well. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* The server, from when it listens until it has stopped. */
static _Atomic(struct pier_server *) serving;

/* The first signal stops the server, the second ends the process. Not left to the library: it would
 * listen for signals a moment after the lines that say where the server listens. */
static void on_signal(int number)
{
    static atomic_bool stopping;
    struct pier_server *server = atomic_load(&serving);
    if (server == NULL || atomic_exchange(&stopping, true))
        _exit(EXIT_INTERRUPTED);
    pier_server_stop_remote(server);
}

/* Certificates are read again, unless it is the kernel who says that the terminal is gone. */
static void on_hangup(int number, siginfo_t *info, void *context)
{
    if (info->si_code == SI_KERNEL)
        on_signal(number);
    else
        pier_server_reload_remote(atomic_load(&serving));
}

static void stop_when_signalled(bool has_tls)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    struct sigaction reload = { .sa_sigaction = on_hangup, .sa_flags = SA_RESTART | SA_SIGINFO };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (has_tls)
        sigaction(SIGHUP, &reload, NULL);
}

static bool any_tls(int count, char **urls)
{
    for (int i = 0; i < count; i++)
        if (tls_is_url(urls[i]))
            return true;
    return false;
}

static void *dump_tasks_when_asked(void *arg)
{
    for (int number; sigwait(arg, &number) == 0;)
        pier_task_dump(stderr);
    return NULL;
}

/* SIGUSR1 is blocked everywhere, so that only the thread that waits for it has it. A process that
 * forks has no other thread. */
static void watch_for_dumps(void)
{
    static sigset_t usr1;
    if (has_processes()) {
        signal(SIGUSR1, SIG_IGN);
        return;
    }
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, dump_tasks_when_asked, &usr1);
    if (error == 0)
        pthread_detach(thread);
    else
        pier_log(PIER_LOG_WARN, "no task dumps", pier_str("cause", pier_strerror(-error)));
}

/* ---- the server ---- */

int service_run(struct pier_conn *c, void *arg)
{
    const struct service *service = arg;
    trace_connect(c);
    int end = service->run(c, service);
    trace_disconnect(c, end);
    return end < 0 ? end : 0;
}

static int add_endpoint(struct pier_server *server, const struct service *service, const char *url)
{
    if (is_http(url))
        return http_add(server, service, url);
    return pier_server_add(server, url, service_run, (void *)&service[is_udp(url)]);
}

/* What the service manager passes on, or else what there is without a URL. */
static int add_defaults(struct pier_server *server, const struct service *service)
{
    int which = which_service();
    int rc = which == SERVICE_RECEIVER
                 ? 0
                 : pier_server_add_inherited(server, service_run, (void *)&service[0]);
    if (rc != 0)
        return rc;
    if (which != SERVICE_RECEIVER)
        rc = add_endpoint(server, service, DEFAULT_URL);
    if (rc == 0 && which != SERVICE_CHAT && which != SERVICE_TIME)
        rc = add_endpoint(server, service, DEFAULT_UDP_URL);
    return rc;
}

static int add_endpoints(struct pier_server *server, const struct service *service, int count,
                         char **urls)
{
    int rc = 0;
    for (int i = 0; i < count && rc == 0; i++)
        rc = add_endpoint(server, service, urls[i]);
    return count == 0 ? add_defaults(server, service) : rc;
}

static void say_json(const char *url, const char *handler, const char *backend)
{
    char buf[256];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "event");
    pier_json_str(&w, "listening");
    pier_json_key(&w, "url");
    pier_json_str(&w, url);
    pier_json_key(&w, "handler");
    pier_json_str(&w, handler);
    pier_json_key(&w, "model");
    pier_json_str(&w, model_names[given.model]);
    pier_json_key(&w, "backend");
    pier_json_str(&w, backend);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

/* A line for each endpoint, on standard error or, as JSON, on standard output. */
static int say_where(const struct pier_server *server, const struct service *service)
{
    bool has_tasks = given.model == PIER_TASKS || given.model == PIER_PREFORK;
    const char *backend = has_tasks ? pier_backend(NULL) : "direct";
    for (int i = 0; i < pier_server_count(server); i++) {
        const char *url = pier_server_url(server, i);
        const char *name = is_http(url) ? http_service_name(service) : service->name;
        if (given.json)
            say_json(url, name, backend);
        else
            fprintf(stderr, "listening on %s (%s, %s, %s)\n", url, name, model_names[given.model],
                    backend);
    }
    return output_finish();
}

/* The exit code of a failure to listen: 2 for a URL that is none, 3 for an unknown name, else 1. */
static int fail_to_listen(void)
{
    int code = pier_fail("pier");
    return code == 2 || code == 3 ? code : EXIT_FAILED;
}

static int serve(struct pier_server *server, const struct service *service, int count, char **urls)
{
    if (add_endpoints(server, service, count, urls) < 0 || pier_server_listen(server) < 0)
        return fail_to_listen();
    atomic_store(&serving, server);
    int code = say_where(server, service);
    if (code == EXIT_OK && pier_server_run(server) < 0)
        code = pier_fail("pier");
    atomic_store(&serving, NULL);
    return code;
}

static int run_serve(int count, char **urls)
{
    static struct service service[2]; /* for streams, for datagrams */
    struct pier_firewall_opts firewall;
    int tls_code, code = check_options();
    const struct pier_tls_opts *tls = tls_options(&verb_serve, &tls_code);
    if (code == 0)
        code = tls_code != 0 ? tls_code : check_urls(count, urls);
    if (code == 0)
        code = choose_service(&service[0]);
    if (code == 0)
        code = choose_firewall(&firewall);
    if (code != 0)
        return code;
    service[1] = service[0];
    service[1].datagrams = true;
    if (given.json)
        pier_log_set(pier_log_json, NULL);
    trace_set(given.verbosity);
    raise_descriptor_limit();
    if (any_tls(count, urls) && tls_given.cert == NULL) {
        code = tls_use_own_cert();
        tls = tls_options(&verb_serve, &tls_code);
        if (code != 0)
            return code;
    }
    stop_when_signalled(any_tls(count, urls));
    watch_for_dumps();
    struct pier_capture *capture = given.capture ? pier_capture_open(given.capture, NULL) : NULL;
    if (given.capture && !capture)
        return pier_fail("pier");

    struct pier_server *server = pier_server_new(&(struct pier_serve_opts){
        .model = (enum pier_model)given.model,
        .workers = (int)given.workers,
        .max_conns = (int)given.max_conns,
        .read_timeout_ms = service->idle_timeout_ms,
        .silence_ms = given.idle_timeout < 0 ? 0 : service->idle_timeout_ms,
        .no_signals = true,
        .proxy_from = given.proxy_from,
        .firewall = has_firewall() ? &firewall : NULL,
        .tls = tls,
        .capture = capture,
    });
    code = server != NULL ? serve(server, service, count, urls) : pier_fail("pier");
    pier_server_free(server);
    pier_capture_close(capture); /* the log has said what ended it before */
    return code;
}

const struct verb verb_serve = {
    .name = "serve",
    .summary = "serve clients until SIGINT or SIGTERM",
    .operands = "[URL...]",
    .max_operands = -1,
    .details = "A URL is tcp://HOST:PORT, tls://HOST:PORT, http://HOST:PORT, https://HOST:PORT, "
               "udp://HOST:PORT, unix:///PATH or unix://@NAME. Without one it is the sockets that "
               "a service manager passes on, or else both of tcp://127.0.0.1:8888 and "
               "udp://127.0.0.1:9999 (chat and time: only the first; receiver: only the second).",
    .options = options,
    .examples = examples,
    .run = run_serve,
};
