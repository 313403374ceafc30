/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* not on valgrind: it does not know pidfd_open(2) */
/* net_exec: a child process as a connection, reaped whatever happens. */
#include "both.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* Every test ends with this: no zombie, no child, no descriptor. */
static void check_no_child(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

static struct pier_conn *run(const char *command)
{
    struct pier_conn *c = pier_exec(command);
    if (!c)
        ck_abort_msg("%s", pier_error());
    return c;
}

/* Everything that the command prints. */
static const char *output_of(const char *command)
{
    static char text[65536];
    struct pier_conn *c = run(command);
    size_t len = 0;
    for (ssize_t n = 1; n > 0; len += n > 0 ? (size_t)n : 0)
        n = pier_read(c, text + len, sizeof text - 1 - len);
    text[len] = '\0';
    pier_close(c);
    return text;
}

BOTH(exec_is_the_commands_input_and_output)
{
    char text[16];
    int before = open_fds();
    struct pier_conn *c = run("tr a-z A-Z");
    ck_assert_int_eq(pier_puts(c, "hello"), 5);
    ck_assert_int_eq(pier_shutdown_write(c), 0);
    ck_assert_int_eq(pier_read_exact(c, text, 5), 5);
    ck_assert_int_eq(memcmp(text, "HELLO", 5), 0);
    ck_assert_int_eq(pier_read(c, text, sizeof text), 0);
    pier_close(c);
    check_no_child();
    ck_assert_int_eq(open_fds(), before + (open_fds() > before)); /* the thread's wake-up */
}

static int status_of(const char *command)
{
    int status = -1;
    struct pier_conn *c = run(command);
    ck_assert_int_eq(pier_exec_wait(c, &status, 0), 0);
    int again = -1;
    ck_assert_int_eq(pier_exec_wait(c, &again, 0), 0); /* it is remembered */
    ck_assert_int_eq(again, status);
    ck_assert_int_eq(pier_exec_wait(c, NULL, 0), 0);
    pier_close(c);
    check_no_child();
    return status;
}

BOTH(exec_wait_returns_the_status)
{
    ck_assert_int_eq(status_of("exit 0"), 0);
    ck_assert_int_eq(WEXITSTATUS(status_of("exit 3")), 3);
    ck_assert_int_eq(WEXITSTATUS(status_of("/no/such/command 2>/dev/null")), 127);
    ck_assert_int_eq(WTERMSIG(status_of("kill -9 $$")), SIGKILL);
    ck_assert_int_eq(WEXITSTATUS(status_of("sleep 0.05; exit 4")), 4);
}

BOTH(exec_wait_ends_at_its_deadline)
{
    struct pier_conn *c = run("read line; exit 5");
    int status = -1;
    ck_assert_int_eq(pier_exec_wait(c, &status, pier_after(20 * PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_eq(pier_exec_wait(c, &status, 1), -ETIMEDOUT);
    ck_assert_int_eq(pier_exec_wait(c, &status, -1), -ETIMEDOUT);
    ck_assert_int_eq(status, -1);
    ck_assert_int_eq(pier_puts(c, "go\n"), 3);
    ck_assert_int_eq(pier_exec_wait(c, &status, 0), 0);
    ck_assert_int_eq(WEXITSTATUS(status), 5);
    pier_close(c);
    check_no_child();
}

BOTH(exec_wait_is_for_commands)
{
    int other, status;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    ck_assert_int_eq(pier_exec_wait(c, &status, 0), -EINVAL);
    pier_close(c);
    close(other);
    pier_error_set(-ENOENT, "run");
    ck_assert_int_eq(pier_exec_wait(NULL, &status, 0), -ENOENT);
}

/* ---- what the child finds ---- */

BOTH(exec_child_starts_with_the_usual_signals)
{
    sigset_t all;
    sigfillset(&all);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const char *text = output_of("grep -E '^Sig(Blk|Ign)' /proc/self/status");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    unsigned long long blocked = 1, ignored = 1;
    ck_assert_int_eq(sscanf(text, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    ck_assert_uint_eq(blocked, 0);
    ck_assert_uint_eq(ignored & ~0x180000000ULL, 0); /* 32 and 33 are posix_spawn's own */
    check_no_child();
}

BOTH(exec_child_inherits_three_descriptors)
{
    int leaky[2], other;
    ck_assert_int_eq(pipe(leaky), 0); /* not close-on-exec */
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    ck_assert_str_eq(output_of("ls /proc/$$/fd"), "0\n1\n2\n");
    pier_close(c);
    close(other);
    close(leaky[0]);
    close(leaky[1]);
}

/* Without standard descriptors the socket pair itself has their numbers. */
BOTH(exec_works_without_standard_descriptors)
{
    int saved[2] = { fcntl(0, F_DUPFD_CLOEXEC, 10), fcntl(1, F_DUPFD_CLOEXEC, 10) };
    for (int which = 1; which < 4; which++) {
        if (which & 1)
            close(0);
        if (which & 2)
            close(1);
        const char *text = output_of("echo hello");
        for (int i = 0; i < 2; i++)
            if (saved[i] >= 0)
                dup2(saved[i], i);
        ck_assert_str_eq(text, "hello\n");
    }
    close(saved[0]);
    close(saved[1]);
    check_no_child();
}

BOTH(exec_child_has_a_group_of_its_own_and_blocking_input)
{
    char expected[64];
    ck_assert_str_eq(output_of("test $$ = $(ps -o pgid= -p $$) && echo own"), "own\n");
    snprintf(expected, sizeof expected, "%d\n", (int)getpid());
    ck_assert_str_eq(output_of("echo $PPID"), expected);
    const char *flags = output_of("grep flags /proc/$$/fdinfo/0");
    ck_assert_int_eq(strtol(strrchr(flags, '\t'), NULL, 8) & O_NONBLOCK, 0);
}

/* ---- closing ---- */

BOTH(exec_close_is_the_end_of_the_commands_input)
{
    struct pier_conn *c = run("cat");
    int64_t begin = pier_now();
    pier_close(c);
    ck_assert_int_lt(ms_since(begin), 900);
    check_no_child();
}

static pid_t read_pid(struct pier_conn *c)
{
    char line[32];
    ck_assert_int_gt(pier_read_line(c, line, sizeof line), 0);
    return atoi(line);
}

/* A zombie is not: who reaps an orphan, and when, is not ours to say. */
static bool is_alive(pid_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    if (fscanf(f, "%*d %*s %c", &state) != 1)
        state = 'Z';
    fclose(f);
    return state != 'Z' && state != 'X';
}

BOTH(exec_close_kills_the_group_after_a_second)
{
    struct pier_conn *c = run("trap '' HUP TERM PIPE; sleep 600 & echo $!; echo $$; wait");
    pid_t grandchild = read_pid(c), child = read_pid(c);
    ck_assert(is_alive(grandchild));
    int64_t begin = pier_now();
    pier_close(c);
    ck_assert_int_ge(ms_since(begin), 1000);
    check_no_child();
    ck_assert(!is_alive(child));
    for (int i = 0; is_alive(grandchild); i++) {
        ck_assert_int_lt(i, 5000);
        poll(NULL, 0, 1);
    }
}

static int exec_and_read(void *arg)
{
    char text[8];
    struct pier_conn *c = run("exec sleep 600");
    *(int64_t *)arg = pier_now();
    ssize_t n = pier_read(c, text, sizeof text);
    ck_assert_int_eq(n, -ECANCELED);
    pier_close(c);
    check_no_child();
    return (int)n;
}

/* The second of grace and the reaping are shielded. */
BOTH(exec_close_in_a_cancelled_task_reaps)
{
    struct pier_scope scope;
    int64_t begin = 0;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, exec_and_read, &begin), 0);
    while (begin == 0)
        pier_yield();
    pier_scope_cancel(&scope);
    ck_assert_int_eq(pier_scope_join(&scope), -ECANCELED);
    ck_assert_int_ge(ms_since(begin), 1000);
    check_no_child();
}

static int wait_for_command(void *c)
{
    int status;
    return pier_exec_wait(c, &status, 0);
}

BOTH(exec_close_ends_a_wait_of_another_task)
{
    struct pier_scope scope;
    struct pier_conn *c = run("exec cat");
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, wait_for_command, c), 0);
    pier_yield();
    ck_assert_int_eq(pier_exec_wait(c, NULL, 0), -EBUSY);
    pier_close(c);
    ck_assert_int_eq(pier_scope_join(&scope), -ECANCELED);
    check_no_child();
}

/* ---- want ---- */

BOTH(exec_without_descriptors_fails_and_leaves_nothing)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int next = dup(2);
    close(next);
    int before = open_fds();
    for (int room = 0; room < 3; room++) {
        struct rlimit low = { (rlim_t)(next + room), limit.rlim_max };
        setrlimit(RLIMIT_NOFILE, &low);
        struct pier_conn *c = pier_exec("exec cat");
        setrlimit(RLIMIT_NOFILE, &limit);
        ck_assert_ptr_null(c);
        ck_assert_int_eq(pier_error_code(), -EMFILE);
        ck_assert_str_eq(pier_error(), "run \"exec cat\": too many open files");
        check_no_child();
        ck_assert_int_eq(open_fds(), before);
    }
}

/* Where not even the wake-up can have a descriptor, the second of grace is kept all the same. */
TEST(exec_close_without_descriptors_still_gives_time)
{
    struct rlimit limit;
    struct pier_conn *c = run("read x; sleep 0.1; exit 0");
    getrlimit(RLIMIT_NOFILE, &limit);
    struct rlimit low = { 3, limit.rlim_max };
    setrlimit(RLIMIT_NOFILE, &low);
    int64_t begin = pier_now();
    pier_close(c);
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_int_ge(ms_since(begin), 90);
    ck_assert_int_lt(ms_since(begin), 1000);
    check_no_child();
}

long pi_alloc_fail(long countdown);

BOTH(exec_without_memory_fails_and_leaves_nothing)
{
    int before = open_fds();
    struct pier_conn *c = NULL;
    for (long i = 1; !c; i++) {
        ck_assert_int_lt(i, 10);
        pi_alloc_fail(i);
        c = pier_exec("exec cat");
        pi_alloc_fail(0);
        if (c)
            break;
        ck_assert_int_eq(pier_error_code(), -ENOMEM);
        check_no_child();
        ck_assert_int_eq(open_fds(), before);
    }
    pier_close(c);
    check_no_child();
}

/* A program that lets the system reap its children still gets its connection closed. */
BOTH(exec_stands_children_that_others_reap)
{
    signal(SIGCHLD, SIG_IGN);
    struct pier_conn *c = run("exec cat");
    pier_shutdown_write(c);
    ck_assert_int_eq(pier_exec_wait(c, NULL, 0), -ECHILD);
    ck_assert_int_eq(pier_exec_wait(c, NULL, 0), -ECHILD);
    pier_close(c);
    c = run("exec sleep 600");
    pier_close(c);
    check_no_child();
}

HARNESS_MAIN("net_exec")
