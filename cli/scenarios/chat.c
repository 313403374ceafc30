/* SPDX-License-Identifier: MIT */
/*
 * scenarios/chat.c - the chat handler as `pier serve` has it: guests who all speak, and write down
 * what they hear.
 *
 * What a guest says is known beforehand, word by word. Whoever listens hears every other guest's
 * words from some point on, in order, each once, and nothing of his own. In fair weather all are
 * there before the first one speaks and stay until the last one has: then they hear everything,
 * but for a guest who did not listen for so long that he is told so.
 */
#include "../service.h"
#include "scenario.h"

#include <stdlib.h>
#include <string.h>

enum {
    GUESTS = 5,
    LINES = 12,
    FEWEST_MANY = 120, /* lines of each, when one guest does not listen */
    MOST_MANY = 220,
    WORD_CAP = 1200,
    LINE_CAP = 2 * WORD_CAP,
    FOREVER_MS = 600000,
};

static const char too_slow[] = "too slow: messages were lost, goodbye";

/* How much of another guest's words one has heard. */
struct hearing {
    bool begun;
    int word;
    size_t at; /* bytes of that word */
};

struct guest {
    int number;
    bool begun;
    const char *url;
    char address[80]; /* as the others see it */
    int words;        /* that it says */
    int64_t deaf_ns;  /* before it listens */
    struct pier_conn *conn;
    struct hearing heard[GUESTS];
    int last_speaker;
    bool told_too_slow;
};

/* A point of time that all guests wait for each other at. */
struct meeting {
    int missing;
    struct pier_event all_there;
};

static struct {
    enum weather weather;
    struct service service;
    struct scenario_server server; /* not run()'s: the host may be back after its end */
    struct guest guests[GUESTS];
    int count;
    struct meeting in, done, gone;
} world;

static bool one_in(int64_t n)
{
    return pier_sim_between(1, n) == 1;
}

static void arrive(struct meeting *m)
{
    if (--m->missing == 0)
        pier_event_set(&m->all_there);
}

/* Rough, not everybody comes. */
static int meet(struct meeting *m)
{
    arrive(m);
    int rc = world.weather == WEATHER_ROUGH ? 0 : pier_event_wait(&m->all_there);
    return rc < 0 ? rc : pier_sleep(pier_sim_between(5, 10) * PIER_SECOND);
}

/* ---- words ---- */

/* "<guest.number ...>", mostly short. */
static size_t make_word(char out[WORD_CAP], int guest, int number)
{
    size_t len = (size_t)snprintf(out, WORD_CAP, "<%d.%d ", guest, number);
    size_t more = (size_t)(number * 7 + guest) % 40;
    if (number % 11 == 3)
        more = (size_t)(number * 331 + guest * 17) % 1000;
    memset(out + len, 'a' + number % 26, more);
    memcpy(out + len + more, ">", 2);
    return len + more + 1;
}

/* Takes a text of that speaker: whether it is what comes next. */
static bool hear(struct guest *g, int speaker, const char *text)
{
    char word[WORD_CAP];
    struct hearing *h = &g->heard[speaker];
    int number, whose;
    if (!h->begun && world.weather == WEATHER_ROUGH && sscanf(text, "<%d.%d", &whose, &number) == 2)
        h->word = number;
    h->begun = true;
    for (; *text != '\0'; text++) {
        make_word(word, speaker, h->word);
        if (*text != word[h->at])
            return false;
        if (word[++h->at] == '\0') {
            h->at = 0;
            h->word++;
        }
    }
    /* Without lines a read may have cut it; rough, its speaker's end. */
    return h->at == 0 || world.weather == WEATHER_ROUGH || !world.service.lines;
}

static bool is_address(const char *known, const char *text, size_t len)
{
    return strlen(known) == len && memcmp(known, text, len) == 0;
}

/* Who says "[address] text"; -1: nobody. *text is moved to what is said. Words name their speaker,
 * whose address must be right, unless there was no memory for it. */
static int speaker_of(const struct guest *g, const char **text)
{
    const char *address = *text + 1, *end = strstr(*text, "] ");
    int speaker = -1;
    if ((*text)[0] != '[' || end == NULL)
        return world.service.lines ? -1 : g->last_speaker; /* several lines were one read */
    size_t len = (size_t)(end - address);
    *text = end + 2;
    if (world.service.lines) {
        if (sscanf(*text, "<%d.", &speaker) != 1 || speaker < 0 || speaker >= world.count)
            return -1;
        bool right = is_address(world.guests[speaker].address, address, len);
        return right || world.weather == WEATHER_ROUGH ? speaker : -1;
    }
    for (int i = 0; i < world.count; i++)
        if (is_address(world.guests[i].address, address, len))
            speaker = i;
    return speaker;
}

static int take_line(struct guest *g, const char *line)
{
    if (strcmp(line, too_slow) == 0) {
        g->told_too_slow = true;
        return 0;
    }
    const char *text = line;
    int speaker = speaker_of(g, &text);
    /* The last line of a guest who died may be cut before it says who he is. */
    if (speaker < 0 && !g->told_too_slow && world.weather == WEATHER_ROUGH)
        return 0;
    if (g->told_too_slow || speaker < 0)
        return pier_sim_fail("guest %d hears \"%.80s\"", g->number, line);
    g->last_speaker = speaker;
    if (speaker == g->number)
        return pier_sim_fail("guest %d hears himself", g->number);
    struct hearing before = g->heard[speaker];
    if (!hear(g, speaker, text))
        return pier_sim_fail("guest %d hears \"%.80s\", not word %d of guest %d", g->number, text,
                             before.word, speaker);
    return 0;
}

/* ---- a guest ---- */

/* A task: until the server's end. */
static int listen_on(void *arg)
{
    struct guest *g = arg;
    char line[LINE_CAP];
    /* As the others begin, not before. */
    int rc = g->deaf_ns > 0 ? pier_event_wait(&world.in.all_there) : 0;
    if (rc == 0 && g->deaf_ns > 0)
        rc = pier_sleep(5 * PIER_SECOND + g->deaf_ns);
    ssize_t n = 0;
    while (rc == 0 && (n = pier_read_line(g->conn, line, sizeof line)) >= 0)
        rc = take_line(g, line);
    return n == -ENODATA ? rc : n < 0 ? (int)n : rc;
}

static int speak(struct guest *g)
{
    char word[WORD_CAP + 1];
    for (int i = 0; i < g->words; i++) {
        size_t len = make_word(word, g->number, i);
        word[len++] = '\n';
        for (size_t sent = 0, n; sent < len; sent += n) {
            n = scenario_piece(len - sent, len);
            ssize_t rc = pier_write(g->conn, word + sent, n);
            if (rc < 0)
                return (int)rc;
        }
        int rc = one_in(3) ? pier_sleep(pier_sim_between(0, 30) * PIER_MILLISECOND) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int take_part(struct guest *g)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int rc = pier_spawn(&scope, listen_on, g);
    if (rc == 0)
        rc = meet(&world.in);
    if (rc == 0)
        rc = speak(g);
    if (rc == 0)
        rc = meet(&world.done);
    if (rc == 0)
        rc = pier_shutdown_write(g->conn);
    if (rc == -ENOTCONN && g->told_too_slow)
        rc = 0; /* the server has hung up */
    if (rc < 0)
        pier_scope_cancel(&scope);
    int joined = pier_scope_join(&scope);
    return joined < 0 ? joined : rc;
}

static int visit(struct guest *g)
{
    struct pier_dial_opts opts = { .connect_timeout_ms = FOREVER_MS,
                                   .read_timeout_ms = FOREVER_MS };
    pier_sleep(pier_sim_between(0, 100) * PIER_MILLISECOND);
    g->conn = scenario_dial(g->url, &opts, 20);
    if (g->conn == NULL)
        return pier_error_code();
    bool is_unix = strncmp(g->url, "unix:", 5) == 0;
    snprintf(g->address, sizeof g->address, "%s", is_unix ? "unix" : pier_local(g->conn));
    return take_part(g);
}

static void check_all_heard(const struct guest *g)
{
    for (int i = 0; i < world.count; i++) {
        int words = i == g->number ? 0 : world.guests[i].words;
        if (g->told_too_slow)
            PIER_SIM_CHECK(g->deaf_ns > 0 && g->heard[i].word <= words);
        else if (g->heard[i].word != words || g->heard[i].at != 0)
            pier_sim_fail("guest %d has heard %d of %d words of guest %d", g->number,
                          g->heard[i].word, words, i);
    }
}

static int run_guest(void *arg)
{
    struct guest *g = arg;
    if (g->begun) /* its host has crashed, and is back */
        return 0;
    g->begun = true;
    int rc = visit(g);
    pier_close(g->conn);
    g->conn = NULL;
    if (rc < 0)
        pier_sim_note("guest %d: %s", g->number, pier_error());
    if (rc < 0 && world.weather != WEATHER_ROUGH)
        pier_sim_fail("guest %d: %s", g->number, pier_error());
    if (rc == 0 && world.weather != WEATHER_ROUGH)
        check_all_heard(g);
    arrive(&world.gone);
    return 0;
}

/* ---- the scenario ---- */

static void invite(struct pier_sim_host *server, struct pier_sim_host *const hosts[2])
{
    static const char *const far[] = { "tcp://server:8888", "tcp://10.0.0.1:8888",
                                       "tcp://[fd00::1]:8888" };
    bool many = world.weather != WEATHER_ROUGH && one_in(10);
    world.count = (int)pier_sim_amount(many ? 3 : 1, GUESTS);
    for (int i = 0; i < world.count; i++) {
        struct guest *g = &world.guests[i];
        bool is_near = world.service.lines && one_in(4);
        g->number = g->last_speaker = i;
        g->url = is_near ? "unix://@chat" : far[pier_sim_between(0, 2)];
        g->words = (int)(many ? pier_sim_amount(FEWEST_MANY, MOST_MANY)
                              : pier_sim_amount(0, LINES));
        if (many && i == 0) {
            g->words = 0;
            g->deaf_ns = pier_sim_between(50, one_in(2) ? 900 : 20000) * PIER_MILLISECOND;
        }
    }
    struct meeting meeting = { .missing = world.count };
    world.in = world.done = world.gone = meeting;
    for (int i = 0; i < world.count; i++) {
        bool is_near = world.guests[i].url[0] == 'u';
        pier_sim_start(is_near ? server : hosts[i % 2], run_guest, &world.guests[i]);
    }
}

static int run(void *arg)
{
    memset(&world, 0, sizeof world);
    struct pier_sim_host *server = pier_sim_host("server", "fd00::1 10.0.0.1");
    struct pier_sim_host *const hosts[] = {
        pier_sim_host("a", "10.0.0.2 fd00::2"),
        pier_sim_host("b", "10.0.0.3 fd00::3"),
    };
    world.weather = weather_draw();
    world.service = (struct service){
        .name = "chat",
        .run = handle_chat,
        .lines = world.weather == WEATHER_ROUGH || !one_in(4),
        .max_line = 1 << 20,
    };
    world.server = (struct scenario_server){
        .urls = { "tcp://:8888", "unix://@chat" },
        .handler = service_run,
        .arg = &world.service,
        .opts = { .model = pier_sim_between(0, 1) ? PIER_TASKS : PIER_THREADS },
    };
    pier_sim_start(server, scenario_serve, &world.server);
    invite(server, hosts);
    int rc = pier_event_wait(&world.gone.all_there);
    pier_sim_stop(server);
    pier_sim_join(server);
    return rc;
}

const struct scenario chat_scenario = {
    .name = "chat",
    .summary = "guests of the chat handler: each hears the others' lines once, in order",
    .run = run,
    .opts = { .event_limit = 2000000 },
};
