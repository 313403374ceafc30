/* SPDX-License-Identifier: MIT */
/*
 * game_client.c - walks on the field of game_server: w, a, s, d; q leaves, other keys stand still.
 *
 * game_client [URL] [SECONDS]. Players are shown on their way from the last state but one to the
 * last, so that they walk smoothly, also where one was lost. Terminals show the field, others get
 * four lines a second. It ends after SECONDS, at q and at the end of input.
 */
#include <pier/pier.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { PLAYERS = 64, RATE = 60, WIDTH = 64, HEIGHT = 20 };

static const int64_t PERIOD = PIER_SECOND / RATE;

struct input {
    uint64_t token;
    uint32_t sequence;
    char key;
} __attribute__((packed));

struct position {
    uint8_t number;
    uint16_t x, y;
} __attribute__((packed));

struct state {
    uint32_t tick;
    uint8_t own, count;
    struct position players[PLAYERS];
} __attribute__((packed));

static struct state before, last;
static int64_t heard_ns; /* when the last state came */
static uint64_t token;
static char key = ' ';

static int hear(void *c)
{
    struct state s;
    ssize_t n;
    while ((n = pier_read(c, &s, sizeof s)) > 0) {
        size_t len = offsetof(struct state, players) + s.count * sizeof s.players[0];
        int32_t ticks = (int32_t)(ntohl(s.tick) - ntohl(last.tick));
        if (n == 4)
            return pier_error_set(-EUSERS, "the field is full");
        if (n == sizeof token && memcmp(&token, &s, sizeof token) != 0) { /* another server */
            memcpy(&token, &s, sizeof token);
            last.count = 0;
        } else if (n == (ssize_t)len && n > 8 && (ticks > 0 || last.count == 0)) {
            before = last.count ? last : s;
            last = s;
            heard_ns = pier_now();
        }
    }
    return n == -ECANCELED ? 0 : (int)n;
}

static int read_keys(void *arg)
{
    char typed;
    struct pier_file *input = pier_file_open("/dev/stdin", O_RDONLY, 0);
    while (key != 'q')
        key = pier_file_read(input, &typed, 1) == 1 ? typed : 'q';
    pier_file_close(input);
    return input ? 0 : pier_error_code();
}

static int wait_for_signal(void *arg)
{
    static const int stops[] = { SIGINT, SIGTERM, SIGHUP, 0 };
    if (pier_signal_wait(stops, 0) > 0)
        key = 'q';
    return 0;
}

static int say(struct pier_conn *c)
{
    static uint32_t sequence;
    struct input input = { token, htonl(++sequence), key };
    return (int)pier_write(c, &input, sizeof input);
}

/* Where a player is at this moment, with x and y in the host's order. */
static struct position place(const struct position *to)
{
    const struct position *from = to;
    int64_t way_ns = (ntohl(last.tick) - ntohl(before.tick)) * PERIOD, gone = pier_now() - heard_ns;
    double part = gone < way_ns ? (double)gone / way_ns : 1;
    for (int i = 0; i < before.count; i++) {
        if (before.players[i].number == to->number)
            from = &before.players[i];
    }
    int x = ntohs(from->x), y = ntohs(from->y);
    return (struct position){ to->number, x + (ntohs(to->x) - x) * part,
                              y + (ntohs(to->y) - y) * part };
}

static void show(bool is_terminal)
{
    char field[HEIGHT][WIDTH];
    struct position own = { 0 };
    memset(field, '.', sizeof field);
    for (int i = 0; i < last.count; i++) {
        struct position p = place(&last.players[i]);
        bool is_own = p.number == last.own;
        field[p.y * HEIGHT / 65536][p.x * WIDTH / 65536] = is_own ? '@' : 'A' + p.number % 26;
        own = is_own ? p : own;
    }
    if (is_terminal)
        printf("\033[H");
    for (int y = 0; y < HEIGHT && is_terminal; y++)
        printf("%.*s\n", WIDTH, field[y]);
    printf("tick %u: %d players, %d at %d,%d%s\n", ntohl(last.tick), last.count, own.number, own.x,
           own.y, is_terminal ? "\033[K" : "");
    fflush(stdout);
}

static int play(struct pier_conn *c, int64_t end_ns)
{
    bool is_terminal = isatty(STDOUT_FILENO);
    int rc = 0;
    if (is_terminal)
        printf("\033[?1049h\033[?25l"); /* another screen, without a cursor */
    for (int frame = 0; rc >= 0 && key != 'q' && pier_now() < end_ns; frame++) {
        if (last.count > 0 && (is_terminal || frame % (RATE / 4) == 0))
            show(is_terminal);
        rc = say(c);
        if (rc >= 0)
            rc = pier_sleep(PERIOD);
    }
    key = 'q';
    for (int i = 0; i < 3 && rc >= 0; i++) /* one will get through */
        rc = say(c);
    if (is_terminal)
        printf("\033[?25h\033[?1049l");
    return rc;
}

int main(int argc, char **argv)
{
    struct pier_scope scope;
    struct termios saved, raw;
    bool types = tcgetattr(STDIN_FILENO, &saved) == 0;
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "udp://127.0.0.1:9001", &opts);
    int64_t end_ns = argc > 2 ? pier_after((int64_t)(atof(argv[2]) * PIER_SECOND)) : INT64_MAX;
    if (!c)
        return pier_fail("game_client");
    raw = saved;
    raw.c_lflag &= ~(ICANON | ECHO);
    if (types)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, hear, c);
    pier_spawn(&scope, read_keys, NULL);
    pier_spawn(&scope, wait_for_signal, NULL);
    int rc = play(c, end_ns);
    pier_scope_cancel(&scope);
    int joined = pier_scope_join(&scope);
    if (types)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    pier_close(c);
    return rc < 0 || joined < 0 ? pier_fail("game_client") : 0;
}
