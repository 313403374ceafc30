/* SPDX-License-Identifier: MIT */
/*
 * net_faults: every call that the library makes to the system, and every request for memory, made
 * to fail in turn.
 *
 *     static int walk(void) { ... a path through the API; 0 or a negative code ... }
 *
 *     fail_everywhere(&(struct path){ .walk = walk, .says = "dial tcp://" });
 *
 * The linker puts __wrap_socket() in the place of socket(), and so on (fault_calls in
 * tests/meson.build). A path is walked again and again, each time on a thread of its own: the first
 * call fails, with each of the errors that its manual page has, then the second one, and so on,
 * until a walk has fewer calls. Calls of all threads count but those of exempt ones, which are the
 * test's own. After each walk no descriptor, block, thread or child is left, and a failure has
 * named its operation and its cause. interrupt_everywhere() does the same with EINTR.
 *
 * The library's time can run faster than the world's, so that retries are not waited for.
 */
#ifndef PIER_TESTS_NET_FAULTS_H
#define PIER_TESTS_NET_FAULTS_H

#include "both.h"

#include "net/conn.h"
#include "net/dns_conf.h"

#include <linux/futex.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

/* ---- what may fail, and how ---- */

/* One a call, but where a call has several meanings. */
enum fault_kind {
    F_MEMORY,
    F_ACCEPT,
    F_BIND,
    F_CLOSE,
    F_CONNECT,
    F_EPOLL_CREATE,
    F_EPOLL_CTL,
    F_EPOLL_WAIT,
    F_EPOLL_PWAIT2,
    F_EVENTFD,
    F_FCHMOD,
    F_FCHOWN,
    F_FILE_ACTIONS,
    F_FLOCK,
    F_FORK,
    F_FORK_PIPE,
    F_FSTAT,
    F_FSYNC,
    F_FTRUNCATE,
    F_FUTEX,
    F_GETADDRINFO,
    F_GETIFADDRS,
    F_GETNAMEINFO,
    F_GETSERV,
    F_GETPEERNAME,
    F_GETSOCKNAME,
    F_GETSOCKOPT,
    F_IFINDEX,
    F_IOCTL,
    F_KILL,
    F_LISTEN,
    F_LSTAT,
    F_MADVISE,
    F_GUARD, /* madvise(MADV_GUARD_INSTALL) */
    F_MMAP,
    F_MKDIR,
    F_MPROTECT,
    F_NONBLOCK, /* fcntl(F_SETFL) */
    F_OPEN,
    F_OPENDIR,
    F_PIDFD_OPEN,
    F_PIPE,
    F_PIPE_SIZE, /* fcntl(F_SETPIPE_SZ) */
    F_POLL,
    F_PPOLL,
    F_PREAD,
    F_PWRITE,
    F_READ,
    F_READ_WAKE, /* of an eventfd */
    F_READLINK,
    F_RECV,
    F_RECVMMSG,
    F_RECVMSG,
    F_RENAME,
    F_RLIMIT,
    F_SEND,
    F_SENDMMSG,
    F_SENDMSG,
    F_SENDTO,
    F_SETSOCKOPT,
    F_SHUTDOWN,
    F_SIGALTSTACK,
    F_SIGTIMEDWAIT,
    F_SOCKET,
    F_SOCKETPAIR,
    F_SPAWN,
    F_SPLICE,
    F_STAT,
    F_THREAD,
    F_THREAD_ATTR,
    F_TIMERFD,
    F_UNLINK,
    F_UNLINKAT,
    F_WAITPID,
    F_WRITE_WAKE,
    F_WRITEV,
    FAULT_KINDS
};

/* interruptible: may be EINTR (signal(7)). benign: whoever calls it goes on, always. */
static const struct {
    const char *name;
    bool interruptible, benign;
    int errors[8];
} fault_kinds[FAULT_KINDS] = {
    [F_MEMORY] = { "memory", false, false, { ENOMEM } },
    [F_ACCEPT] = { "accept4", true, false, { EMFILE, ENFILE, ENOMEM, ECONNABORTED, EPROTO } },
    [F_BIND] = { "bind", false, false, { EADDRINUSE, EACCES, EADDRNOTAVAIL } },
    [F_CLOSE] = { "close", true, true, { EIO } },
    [F_CONNECT] = { "connect",
                    true,
                    false,
                    { ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EADDRNOTAVAIL } },
    [F_EPOLL_CREATE] = { "epoll_create1", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_EPOLL_CTL] = { "epoll_ctl", false, false, { ENOMEM, ENOSPC } },
    [F_EPOLL_WAIT] = { "epoll_wait", true, true, { EINTR } },
    [F_EPOLL_PWAIT2] = { "epoll_pwait2", true, true, { EINTR, ENOSYS } },
    [F_EVENTFD] = { "eventfd", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_FCHMOD] = { "fchmod", false, false, { EPERM, EIO } },
    [F_FCHOWN] = { "fchown", false, true, { EPERM } },
    [F_FILE_ACTIONS] = { "file actions", false, false, { ENOMEM } },
    [F_FLOCK] = { "flock", true, false, { ENOLCK } },
    [F_FORK] = { "fork", false, false, { EAGAIN, ENOMEM } },
    [F_FORK_PIPE] = { "pipe for a fork", false, false, { EMFILE, ENFILE } },
    [F_FSTAT] = { "fstat", false, false, { ENOMEM } },
    [F_FSYNC] = { "sync", true, false, { EIO, ENOSPC, EDQUOT } },
    [F_FTRUNCATE] = { "ftruncate", true, false, { EIO } },
    [F_FUTEX] = { "futex", true, true, { EAGAIN } },
    [F_GETADDRINFO] = { "getaddrinfo",
                        false,
                        false,
                        { EAI_MEMORY, EAI_AGAIN, EAI_FAIL, EAI_NONAME, EAI_SYSTEM } },
    [F_GETIFADDRS] = { "getifaddrs", false, false, { EMFILE, ENFILE, ENOMEM, ENOBUFS } },
    [F_GETNAMEINFO] = { "getnameinfo",
                        false,
                        false,
                        { EAI_MEMORY, EAI_AGAIN, EAI_FAIL, EAI_NONAME, EAI_SYSTEM } },
    [F_GETSERV] = { "getservbyname_r", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_GETPEERNAME] = { "getpeername", false, false, { ENOBUFS } },
    [F_GETSOCKNAME] = { "getsockname", false, false, { ENOBUFS } },
    [F_GETSOCKOPT] = { "getsockopt", false, false, { ENOBUFS } },
    [F_IFINDEX] = { "if_nametoindex", false, false, { ENODEV } },
    [F_IOCTL] = { "ioctl", false, false, { ENOTTY } },
    [F_KILL] = { "kill", false, true, { ESRCH } },
    [F_LISTEN] = { "listen", false, false, { EADDRINUSE } },
    [F_LSTAT] = { "lstat", false, false, { EACCES } },
    [F_MADVISE] = { "madvise", false, true, { EINVAL } },
    [F_GUARD] = { "guard", false, false, { ENOMEM, EINVAL } }, /* EINVAL: an older kernel */
    [F_MMAP] = { "mmap", false, false, { ENOMEM, EAGAIN } },
    [F_MPROTECT] = { "mprotect", false, false, { ENOMEM } },
    [F_MKDIR] = { "mkdir", false, false, { EACCES, ENOSPC, EROFS } },
    [F_NONBLOCK] = { "non-blocking", false, false, { EPERM } },
    [F_OPEN] = { "open", true, false, { EMFILE, ENFILE, EACCES, ENOSPC, EROFS } },
    [F_OPENDIR] = { "opendir", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_PIDFD_OPEN] = { "pidfd_open", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_PIPE] = { "pipe2", false, true, { EMFILE, ENFILE } },
    [F_PIPE_SIZE] = { "pipe size", false, true, { EPERM } },
    [F_POLL] = { "poll", true, false, { ENOMEM } },
    [F_PPOLL] = { "ppoll", true, false, { ENOMEM } },
    [F_PREAD] = { "pread", true, false, { EIO } },
    [F_PWRITE] = { "pwrite", true, false, { ENOSPC, EDQUOT, EIO } },
    [F_READ] = { "read", true, false, { EIO } },
    [F_READ_WAKE] = { "read of the eventfd", true, true, { EAGAIN } },
    [F_READLINK] = { "readlink", false, false, { EACCES, EIO } },
    [F_RECV] = { "recv", true, false, { ECONNRESET, ENOMEM, ETIMEDOUT } },
    [F_RECVMMSG] = { "recvmmsg", true, false, { ENOMEM } },
    [F_RECVMSG] = { "recvmsg", true, false, { ECONNRESET, ENOMEM, EINVAL } },
    [F_RENAME] = { "rename", false, false, { EIO, ENOSPC } },
    [F_RLIMIT] = { "getrlimit", false, true, { EINVAL } },
    [F_SEND] = { "send", true, false, { EPIPE, ECONNRESET, ENOBUFS, ENOMEM } },
    [F_SENDMMSG] = { "sendmmsg", true, false, { ENOBUFS, EPERM } },
    [F_SENDMSG] = { "sendmsg", true, false, { EPIPE, ENOBUFS, ETOOMANYREFS } },
    [F_SENDTO] = { "sendto", true, true, { ECONNREFUSED } },
    [F_SETSOCKOPT] = { "setsockopt", false, false, { ENOBUFS } },
    [F_SHUTDOWN] = { "shutdown", false, false, { ENOTCONN } },
    [F_SIGALTSTACK] = { "sigaltstack", false, true, { ENOMEM } },
    [F_SIGTIMEDWAIT] = { "sigtimedwait", true, true, { EINTR } },
    [F_SOCKET] = { "socket",
                   false,
                   false,
                   { EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT } },
    [F_SOCKETPAIR] = { "socketpair", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_SPAWN] = { "posix_spawn", false, false, { EAGAIN, ENOMEM, ENOENT } },
    [F_SPLICE] = { "splice", true, false, { EINVAL, ENOMEM } },
    [F_STAT] = { "stat", false, false, { EACCES, EIO } },
    [F_THREAD] = { "pthread_create", false, false, { EAGAIN } },
    [F_THREAD_ATTR] = { "pthread_attr_init", false, false, { ENOMEM } },
    [F_TIMERFD] = { "timerfd_create", false, false, { EMFILE, ENFILE, ENOMEM } },
    [F_UNLINK] = { "unlink", false, false, { EACCES } },
    [F_UNLINKAT] = { "unlinkat", false, true, { EIO } },
    [F_WAITPID] = { "waitpid", true, false, { ECHILD } },
    [F_WRITE_WAKE] = { "write to the eventfd", true, true, { EAGAIN } },
    [F_WRITEV] = { "writev", true, false, { EPIPE, EIO } },
};

/* ---- the injection ---- */

/* Which kinds have failed in this run of the program, over all its processes. */
struct fault_record {
    _Atomic int tests;
    _Atomic long walks, faults[FAULT_KINDS], interruptions;
};

static struct {
    _Atomic bool armed, injected;
    _Atomic long seen, blocks;
    _Atomic long at;    /* the call that is to fail; 0: none */
    _Atomic int turn;   /* with which of its errors */
    _Atomic bool stays; /* so do all later calls of its kind */
    _Atomic long storm; /* every such interruptible call is EINTR; 0: none */
    _Atomic long phase; /* and which of them comes first */
    int64_t speed, epoch_ns;
    const char *_Atomic spared; /* kinds that do not fail on this path */
    bool bombards;              /* the walking thread with signals */
    int source;                 /* of splice(2): it fails for this one alone; 0: for all */
    _Atomic int only, forced;   /* the kind that counts, and its error; 0: all, each its own */
    _Atomic int kind, error;
    struct fault_record *record;
} faults = { .speed = 1 };

/* Of threads that are the test's own. */
static _Thread_local bool faults_exempt;

__attribute__((constructor)) static void faults_share(void)
{
    faults.record = mmap(NULL, sizeof *faults.record, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* Names are getaddrinfo()'s, and the record that says so is there before anybody counts. */
    pi_dns_conf_folder(NULL);
    pi_dns_conf_put(pi_dns_conf_get(NULL, "settings"));
}

/* Whether a list as "accept4|memory" names the kind; "*" names all. */
static bool fault_is_listed(const char *list, enum fault_kind kind)
{
    const char *name = fault_kinds[kind].name;
    size_t len = strlen(name);
    for (const char *at = list ? strstr(list, name) : NULL; at; at = strstr(at + 1, name))
        if ((at == list || at[-1] == '|') && (at[len] == '\0' || at[len] == '|'))
            return true;
    return list && strcmp(list, "*") == 0;
}

static int fault_strikes(enum fault_kind kind, int error)
{
    atomic_fetch_add(&faults.record->faults[kind], 1);
    return error;
}

/* The error that this call has to have; 0: it is made. */
static int fault(enum fault_kind kind)
{
    if (!faults.armed || faults_exempt || fault_is_listed(faults.spared, kind))
        return 0;
    if (faults.storm) {
        if (!fault_kinds[kind].interruptible || (++faults.seen + faults.phase) % faults.storm != 0)
            return 0;
        atomic_fetch_add(&faults.record->interruptions, 1);
        return fault_strikes(kind, EINTR);
    }
    if (faults.forced && (int)kind != faults.only)
        return 0;
    if (faults.injected)
        return faults.stays && (int)kind == faults.kind &&
                       (faults.forced || !fault_kinds[kind].benign)
                   ? fault_strikes(kind, faults.error)
                   : 0;
    if (++faults.seen != faults.at)
        return 0;
    faults.kind = (int)kind;
    const int *errors = fault_kinds[kind].errors;
    faults.error = errors[faults.turn] ? errors[faults.turn] : errors[0];
    if (faults.forced)
        faults.error = faults.forced;
    faults.injected = true;
    return fault_strikes(kind, faults.error);
}

#define FAULTY(kind, type, name, params, args) \
    type __real_##name params;                 \
    type __wrap_##name params;                 \
    type __wrap_##name params                  \
    {                                          \
        int error = fault(kind);               \
        if (!error)                            \
            return __real_##name args;         \
        errno = error;                         \
        return (type)-1;                       \
    }

/* Those that return the error itself. */
#define FAULTY_CODE(kind, name, params, args)      \
    int __real_##name params;                      \
    int __wrap_##name params;                      \
    int __wrap_##name params                       \
    {                                              \
        int error = fault(kind);                   \
        return error ? error : __real_##name args; \
    }

/* Those that are counted, too. */
#define FAULTY_MEMORY(type, name, params, args) \
    type __real_##name params;                  \
    type __wrap_##name params;                  \
    type __wrap_##name params                   \
    {                                           \
        if (fault(F_MEMORY))                    \
            return NULL;                        \
        type got = __real_##name args;          \
        faults.blocks += got != NULL;           \
        return got;                             \
    }

/* ---- memory ---- */

FAULTY_MEMORY(void *, pi_alloc, (size_t size), (size))
FAULTY_MEMORY(void *, pi_zalloc, (size_t size), (size))
FAULTY_MEMORY(char *, pi_strdup, (const char *text), (text))

void *__real_pi_realloc(void *ptr, size_t size);
void *__wrap_pi_realloc(void *ptr, size_t size);
void *__wrap_pi_realloc(void *ptr, size_t size)
{
    if (fault(F_MEMORY))
        return NULL;
    void *moved = __real_pi_realloc(ptr, size);
    faults.blocks += moved && !ptr;
    return moved;
}

void __real_pi_free(void *ptr);
void __wrap_pi_free(void *ptr);
void __wrap_pi_free(void *ptr)
{
    faults.blocks -= ptr != NULL;
    __real_pi_free(ptr);
}

/* The user's from then on. */
void *__real_pi_release(void *ptr);
void *__wrap_pi_release(void *ptr);
void *__wrap_pi_release(void *ptr)
{
    faults.blocks -= ptr != NULL;
    return __real_pi_release(ptr);
}

/* ---- sockets ---- */

FAULTY(F_SOCKET, int, socket, (int family, int type, int protocol), (family, type, protocol))
FAULTY(F_SOCKETPAIR, int, socketpair, (int family, int type, int protocol, int fds[2]),
       (family, type, protocol, fds))
FAULTY(F_BIND, int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
FAULTY(F_LISTEN, int, listen, (int fd, int backlog), (fd, backlog))
FAULTY(F_ACCEPT, int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
       (fd, addr, len, flags))
FAULTY(F_CONNECT, int, connect, (int fd, const struct sockaddr *addr, socklen_t len),
       (fd, addr, len))
FAULTY(F_GETSOCKNAME, int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len),
       (fd, addr, len))
unsigned __real_if_nametoindex(const char *name);
unsigned __wrap_if_nametoindex(const char *name);
unsigned __wrap_if_nametoindex(const char *name)
{
    int error = fault(F_IFINDEX);
    if (!error)
        return __real_if_nametoindex(name);
    errno = error;
    return 0;
}
FAULTY(F_GETPEERNAME, int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len),
       (fd, addr, len))
FAULTY(F_SETSOCKOPT, int, setsockopt,
       (int fd, int level, int option, const void *value, socklen_t len),
       (fd, level, option, value, len))
FAULTY(F_GETSOCKOPT, int, getsockopt, (int fd, int level, int option, void *value, socklen_t *len),
       (fd, level, option, value, len))
FAULTY(F_SHUTDOWN, int, shutdown, (int fd, int how), (fd, how))
FAULTY(F_RECV, ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
FAULTY(F_SEND, ssize_t, send, (int fd, const void *buf, size_t len, int flags),
       (fd, buf, len, flags))
FAULTY(F_RECVMSG, ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
FAULTY(F_SENDMSG, ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
FAULTY(F_RECVMMSG, int, recvmmsg,
       (int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *wait),
       (fd, msgs, count, flags, wait))
FAULTY(F_SENDMMSG, int, sendmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags),
       (fd, msgs, count, flags))
FAULTY(F_SENDTO, ssize_t, sendto,
       (int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
        socklen_t to_len),
       (fd, buf, len, flags, to, to_len))

/* A name has the addresses that faults_names says, separated by blanks; literals are the system's.
 */
static const char *faults_names = "127.0.0.1";

int __real_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    int error = fault(F_GETADDRINFO);
    if (error == EAI_SYSTEM)
        errno = EMFILE;
    if (error)
        return error;
    if (hints->ai_flags & AI_NUMERICHOST)
        return __real_getaddrinfo(name, service, hints, found);
    struct addrinfo literal = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
    char texts[64], *rest = texts, *text;
    snprintf(texts, sizeof texts, "%s", faults_names);
    *found = NULL;
    while ((text = strtok_r(rest, " ", &rest)) != NULL) {
        ck_assert_int_eq(__real_getaddrinfo(text, NULL, &literal, found), 0);
        found = &(*found)->ai_next;
    }
    return 0;
}

/* Every address has the same name. */
int __real_getnameinfo(const struct sockaddr *addr, socklen_t len, char *host, socklen_t cap,
                       char *service, socklen_t service_cap, int flags);
int __wrap_getnameinfo(const struct sockaddr *addr, socklen_t len, char *host, socklen_t cap,
                       char *service, socklen_t service_cap, int flags);
int __wrap_getnameinfo(const struct sockaddr *addr, socklen_t len, char *host, socklen_t cap,
                       char *service, socklen_t service_cap, int flags)
{
    int error = fault(F_GETNAMEINFO);
    if (error == EAI_SYSTEM)
        errno = EMFILE;
    if (!error)
        snprintf(host, cap, "host.test");
    return error;
}

struct ifaddrs;
FAULTY(F_GETIFADDRS, int, getifaddrs, (struct ifaddrs * *list), (list))

FAULTY_CODE(F_GETSERV, getservbyname_r,
            (const char *name, const char *protocol, struct servent *out, char *buf, size_t cap,
             struct servent **found),
            (name, protocol, out, buf, cap, found))
FAULTY_CODE(F_GETSERV, getservbyport_r,
            (int port, const char *protocol, struct servent *out, char *buf, size_t cap,
             struct servent **found),
            (port, protocol, out, buf, cap, found))

/* ---- descriptors ---- */

/* It is closed all the same (close(2)). */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    int error = fault(F_CLOSE);
    int rc = __real_close(fd);
    if (!error)
        return rc;
    errno = error;
    return -1;
}

/* Eight bytes are an eventfd's. */
ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len)
{
    int error = fault(len == sizeof(uint64_t) ? F_READ_WAKE : F_READ);
    if (!error)
        return __real_read(fd, buf, len);
    errno = error;
    return -1;
}

/* It says EAGAIN when the counter is full: then it is readable as it is, as it is here. */
ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
    int error = len == sizeof(uint64_t) ? fault(F_WRITE_WAKE) : 0;
    if (error != EINTR) {
        ssize_t n = __real_write(fd, buf, len);
        if (!error)
            return n;
    }
    errno = error;
    return -1;
}

FAULTY(F_WRITEV, ssize_t, writev, (int fd, const struct iovec *pieces, int count),
       (fd, pieces, count))
ssize_t __real_splice(int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags);
ssize_t __wrap_splice(int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags);
ssize_t __wrap_splice(int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags)
{
    int error = faults.source && from != faults.source ? 0 : fault(F_SPLICE);
    if (!error)
        return __real_splice(from, from_at, to, to_at, len, flags);
    errno = error;
    return -1;
}

/* One that blocks is a fork's. */
int __real_pipe2(int fds[2], int flags);
int __wrap_pipe2(int fds[2], int flags);
int __wrap_pipe2(int fds[2], int flags)
{
    int error = fault(flags & O_NONBLOCK ? F_PIPE : F_FORK_PIPE);
    if (!error)
        return __real_pipe2(fds, flags);
    errno = error;
    return -1;
}
FAULTY(F_FSTAT, int, fstat64, (int fd, struct stat *st), (fd, st))
FAULTY(F_LSTAT, int, lstat64, (const char *path, struct stat *st), (path, st))
FAULTY(F_UNLINK, int, unlink, (const char *path), (path))
FAULTY(F_EVENTFD, int, eventfd, (unsigned count, int flags), (count, flags))
FAULTY(F_EPOLL_CREATE, int, epoll_create1, (int flags), (flags))
FAULTY(F_TIMERFD, int, timerfd_create, (int clock, int flags), (clock, flags))

FAULTY(F_FCHMOD, int, fchmod, (int fd, mode_t mode), (fd, mode))
FAULTY(F_FCHOWN, int, fchown, (int fd, uid_t owner, gid_t group), (fd, owner, group))
FAULTY(F_FSYNC, int, fsync, (int fd), (fd))
FAULTY(F_FSYNC, int, fdatasync, (int fd), (fd))
FAULTY(F_FTRUNCATE, int, ftruncate64, (int fd, off_t size), (fd, size))
FAULTY(F_PREAD, ssize_t, pread64, (int fd, void *buf, size_t len, off_t at), (fd, buf, len, at))
FAULTY(F_PWRITE, ssize_t, pwrite64, (int fd, const void *buf, size_t len, off_t at),
       (fd, buf, len, at))
FAULTY(F_READLINK, ssize_t, readlink, (const char *path, char *buf, size_t len), (path, buf, len))
FAULTY(F_RENAME, int, renameat, (int from_dir, const char *from, int to_dir, const char *to),
       (from_dir, from, to_dir, to))
FAULTY(F_FLOCK, int, flock, (int fd, int how), (fd, how))
FAULTY(F_MKDIR, int, mkdir, (const char *path, mode_t mode), (path, mode))
FAULTY(F_STAT, int, stat64, (const char *path, struct stat *st), (path, st))
FAULTY(F_UNLINKAT, int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))

FAULTY(F_RLIMIT, int, getrlimit64, (__rlimit_resource_t what, struct rlimit *limit), (what, limit))

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    int error = fault(F_OPEN);
    if (!error)
        return __real_openat64(dir, path, flags, mode);
    errno = error;
    return -1;
}

/* Taking one out needs nothing. */
int __real_epoll_ctl(int epfd, int how, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int how, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int how, int fd, struct epoll_event *event)
{
    int error = how == EPOLL_CTL_DEL ? 0 : fault(F_EPOLL_CTL);
    if (!error)
        return __real_epoll_ctl(epfd, how, fd, event);
    errno = error;
    return -1;
}

int __real_fcntl64(int fd, int how, ...);
int __wrap_fcntl64(int fd, int how, ...);
int __wrap_fcntl64(int fd, int how, ...)
{
    va_list args;
    va_start(args, how);
    long value = va_arg(args, long);
    va_end(args);
    int error = how == F_SETFL ? fault(F_NONBLOCK) : how == F_SETPIPE_SZ ? fault(F_PIPE_SIZE) : 0;
    if (!error)
        return __real_fcntl64(fd, how, value);
    errno = error;
    return -1;
}

int __real_ioctl(int fd, unsigned long how, ...);
int __wrap_ioctl(int fd, unsigned long how, ...);
int __wrap_ioctl(int fd, unsigned long how, ...)
{
    va_list args;
    va_start(args, how);
    void *value = va_arg(args, void *);
    va_end(args);
    int error = fault(F_IOCTL);
    if (!error)
        return __real_ioctl(fd, how, value);
    errno = error;
    return -1;
}

/* ---- memory maps, threads, processes ---- */

FAULTY(F_MMAP, void *, mmap64, (void *at, size_t len, int prot, int flags, int fd, off_t offset),
       (at, len, prot, flags, fd, offset))
FAULTY(F_MPROTECT, int, mprotect, (void *at, size_t len, int prot), (at, len, prot))
FAULTY(F_SIGALTSTACK, int, sigaltstack, (const stack_t *wanted, stack_t *before), (wanted, before))
FAULTY(F_SIGTIMEDWAIT, int, sigtimedwait,
       (const sigset_t *set, siginfo_t *info, const struct timespec *left), (set, info, left))
FAULTY(F_KILL, int, kill, (pid_t pid, int number), (pid, number))
FAULTY_CODE(F_THREAD, pthread_create,
            (pthread_t * id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg),
            (id, attr, fn, arg))
FAULTY_CODE(F_THREAD_ATTR, pthread_attr_init, (pthread_attr_t * attr), (attr))
FAULTY_CODE(F_SPAWN, posix_spawn,
            (pid_t * pid, const char *path, const posix_spawn_file_actions_t *files,
             const posix_spawnattr_t *attr, char *const argv[], char *const env[]),
            (pid, path, files, attr, argv, env))
FAULTY_CODE(F_FILE_ACTIONS, posix_spawn_file_actions_adddup2,
            (posix_spawn_file_actions_t * files, int fd, int as), (files, fd, as))
FAULTY_CODE(F_FILE_ACTIONS, posix_spawn_file_actions_addclosefrom_np,
            (posix_spawn_file_actions_t * files, int from), (files, from))

/* Somebody else has reaped it, so it has ended. */
pid_t __real_waitpid(pid_t pid, int *status, int flags);
pid_t __wrap_waitpid(pid_t pid, int *status, int flags);
pid_t __wrap_waitpid(pid_t pid, int *status, int flags)
{
    int error = fault(F_WAITPID);
    if (!error)
        return __real_waitpid(pid, status, flags);
    if (error == ECHILD) {
        __real_kill(pid, SIGKILL);
        __real_waitpid(pid, NULL, 0);
    }
    errno = error;
    return -1;
}

int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice)
{
    bool is_benign = advice == MADV_NOHUGEPAGE || advice == MADV_REMOVE || advice == MADV_DONTNEED;
    int error = fault(is_benign ? F_MADVISE : F_GUARD);
    if (!error)
        return __real_madvise(at, len, advice);
    errno = error;
    return -1;
}

/* A walk may fork: the test's other thread, the first one, only waits for it, and is not seen. */
static bool faults_alone;

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
    int error = fault(F_OPENDIR);
    if (!error)
        return __real_opendir(path);
    errno = error;
    return NULL;
}

struct dirent *__real_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir)
{
    struct dirent *entry = __real_readdir64(dir);
    while (entry && faults_alone && faults.armed && atoi(entry->d_name) == getpid())
        entry = __real_readdir64(dir);
    return entry;
}

/* What happens in the child is another walk. */
pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
    int error = fault(F_FORK);
    if (error) {
        errno = error;
        return -1;
    }
    pid_t pid = __real_fork();
    if (pid == 0)
        faults.armed = false;
    return pid;
}

/* ---- time, and what waits ---- */

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

static int64_t faults_real_ns(void)
{
    struct timespec ts;
    __real_clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * PIER_SECOND + ts.tv_nsec;
}

/* Before anything else runs in the process: from now on the library's time is that many times
 * faster. */
UNUSED_FN static void run_time_faster(int64_t speed)
{
    faults.epoch_ns = faults_real_ns();
    faults.speed = speed;
}

static struct timespec faults_timespec(int64_t ns)
{
    return (struct timespec){ ns / PIER_SECOND, ns % PIER_SECOND };
}

static int64_t faults_nanoseconds(const struct timespec *ts)
{
    return (int64_t)ts->tv_sec * PIER_SECOND + ts->tv_nsec;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = __real_clock_gettime(id, ts);
    if (id == CLOCK_MONOTONIC && faults.speed > 1)
        *ts = faults_timespec(faults.epoch_ns +
                              (faults_nanoseconds(ts) - faults.epoch_ns) * faults.speed);
    return rc;
}

/* The library's span, and point, of time in the world's. */
static const struct timespec *faults_span(struct timespec *room, const struct timespec *ts)
{
    if (!ts)
        return NULL;
    *room = faults_timespec((faults_nanoseconds(ts) + faults.speed - 1) / faults.speed);
    return room;
}

static const struct timespec *faults_point(struct timespec *room, const struct timespec *ts)
{
    int64_t since = faults_nanoseconds(ts) - faults.epoch_ns;
    *room = faults_timespec(faults.epoch_ns + (since + faults.speed - 1) / faults.speed);
    return faults.speed > 1 ? room : ts;
}

int __real_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *lock, clockid_t id,
                                  const struct timespec *until);
int __wrap_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *lock, clockid_t id,
                                  const struct timespec *until);
int __wrap_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *lock, clockid_t id,
                                  const struct timespec *until)
{
    struct timespec real;
    return __real_pthread_cond_clockwait(cond, lock, id, faults_point(&real, until));
}

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *spec,
                           struct itimerspec *before);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *spec,
                           struct itimerspec *before);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *spec,
                           struct itimerspec *before)
{
    struct timespec real;
    struct itimerspec changed = *spec;
    if (faults_nanoseconds(&spec->it_value) > 0)
        changed.it_value = *faults_point(&real, &spec->it_value);
    return __real_timerfd_settime(fd, flags, &changed, before);
}

FAULTY(F_POLL, int, poll, (struct pollfd * fds, nfds_t count, int ms), (fds, count, ms))

int __real_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *left,
                 const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *left,
                 const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *left,
                 const sigset_t *mask)
{
    struct timespec real;
    int error = fault(F_PPOLL);
    if (!error)
        return __real_ppoll(fds, count, faults_span(&real, left), mask);
    errno = error;
    return -1;
}

int __real_epoll_pwait2(int epfd, struct epoll_event *events, int most, const struct timespec *left,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int epfd, struct epoll_event *events, int most, const struct timespec *left,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int epfd, struct epoll_event *events, int most, const struct timespec *left,
                        const sigset_t *mask)
{
    struct timespec real;
    int error = fault(F_EPOLL_PWAIT2);
    if (!error)
        return __real_epoll_pwait2(epfd, events, most, faults_span(&real, left), mask);
    errno = error;
    return -1;
}

int __real_epoll_wait(int epfd, struct epoll_event *events, int most, int ms);
int __wrap_epoll_wait(int epfd, struct epoll_event *events, int most, int ms);
int __wrap_epoll_wait(int epfd, struct epoll_event *events, int most, int ms)
{
    int error = fault(F_EPOLL_WAIT);
    int real_ms = ms < 0 ? ms : (int)((ms + faults.speed - 1) / faults.speed);
    if (!error)
        return __real_epoll_wait(epfd, events, most, real_ms);
    errno = error;
    return -1;
}

/* What src/ calls by number; none of them has more than six arguments. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6] = { 0 };
    int count = number == SYS_gettid ? 0 : number == SYS_pidfd_open ? 2 : 6;
    va_list args;
    va_start(args, number);
    for (int i = 0; i < count; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    switch (number) {
    case SYS_recvfrom:
        return __wrap_recv((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3]);
    case SYS_sendto:
        return __wrap_send((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3]);
    case SYS_epoll_pwait2:
        return __wrap_epoll_pwait2((int)a[0], (void *)a[1], (int)a[2], (void *)a[3], NULL);
    case SYS_gettid:
        return __real_syscall(number);
    case SYS_tgkill: /* the thread waits for it */
        return __real_syscall(number, a[0], a[1], a[2]);
    case SYS_pidfd_send_signal: /* a signal that exists, to a child */
        return __real_syscall(number, a[0], a[1], a[2], a[3]);
    }
    struct timespec real;
    bool waits = number == SYS_futex && (int)a[1] == FUTEX_WAIT_PRIVATE;
    int error = waits ? fault(F_FUTEX) : number == SYS_pidfd_open ? fault(F_PIDFD_OPEN) : 0;
    if (waits)
        a[3] = (long)faults_span(&real, (void *)a[3]);
    if (!error)
        return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    errno = error;
    return -1;
}

/* ---- paths ---- */

/* Lists are separated by "|". */
struct path {
    void (*prepare)(void); /* before a walk; what it does does not fail */
    int (*walk)(void);     /* 0 or a negative code, with its words */
    void (*clean)(int rc); /* after it */
    const char *says;      /* one of these is in the words of every failure */
    const char *instead;   /* one of these may stand for the words of the cause */
    const char *recovers;  /* kinds whose failure need not be the walk's; "*": all */
    const char *spares;    /* kinds that cannot fail here */
    bool brief;            /* each call fails with its first error alone */
    bool fails_once;       /* no walks where all later calls of a kind fail as well */
    bool offloads;         /* threads of the pool may stay */
    bool in_task_only, on_thread_only;
    bool forks; /* walks on the test's own thread, beside which there is no other */
};

struct walk {
    const struct path *path;
    bool in_task;
    int rc;
    char words[640];
};

/* Signals come while the path is walked. */
static void let_signals_in(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(how, &set, NULL);
}

static void walk_here(struct walk *w)
{
    let_signals_in(SIG_BLOCK);
    if (w->path->prepare)
        w->path->prepare();
    faults.seen = 0;
    faults.injected = false;
    faults.armed = true;
    let_signals_in(SIG_UNBLOCK);
    w->rc = w->path->walk();
    let_signals_in(SIG_BLOCK);
    faults.armed = false;
    snprintf(w->words, sizeof w->words, "%s", w->rc < 0 ? pier_error() : "");
    if (w->path->clean)
        w->path->clean(w->rc);
}

static int walk_task(void *arg)
{
    walk_here(arg);
    return 0;
}

static void *walk_main(void *arg)
{
    struct walk *w = arg;
    struct pier_scope scope;
    if (!w->in_task) {
        walk_here(w);
        return NULL;
    }
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, walk_task, w), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    return NULL;
}

/* A thread of the test's own. */
struct faults_helper {
    void *(*fn)(void *);
    void *arg;
};

static void *faults_helper_main(void *arg)
{
    struct faults_helper helper = *(struct faults_helper *)arg;
    free(arg);
    faults_exempt = true;
    return helper.fn(helper.arg);
}

UNUSED_FN static pthread_t start_helper(void *(*fn)(void *), void *arg)
{
    pthread_t id;
    struct faults_helper *helper = malloc(sizeof *helper);
    *helper = (struct faults_helper){ fn, arg };
    ck_assert_int_eq(__real_pthread_create(&id, NULL, faults_helper_main, helper), 0);
    return id;
}

/* From now on the n-th call of a kind has that error, and so have all later ones if it stays. */
UNUSED_FN static void fail_call(enum fault_kind kind, int error, long n, bool stays)
{
    faults.only = (int)kind;
    faults.forced = error;
    faults.at = n;
    faults.stays = stays;
    faults.seen = 0;
    faults.injected = false;
    faults.armed = true;
}

UNUSED_FN static void fail_no_more(void)
{
    faults.armed = false;
    faults.forced = 0;
    faults.at = 0;
    faults.stays = false;
}

/* ---- what is left behind ---- */

struct belongings {
    int fds, threads;
    long blocks;
};

static int faults_threads(void)
{
    struct stat st;
    return __real_lstat64("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : 0;
}

static struct belongings belongings(void)
{
    return (struct belongings){ open_fds(), faults_threads(), faults.blocks };
}

/* Threads that nobody joins may take a moment; offload threads stay for more work. */
static bool has_left_nothing(const struct path *path, const struct belongings *before)
{
    enum { PATIENCE_S = 10, POOL = 16 };
    int most = before->threads + (path->offloads ? POOL : 0);
    int64_t end = faults_real_ns() + PATIENCE_S * PIER_SECOND;
    for (;;) {
        struct belongings now = belongings();
        if (now.fds == before->fds && now.blocks == before->blocks && now.threads <= most)
            return true;
        if (faults_real_ns() > end)
            return false;
        usleep(100);
    }
}

/* ---- the rounds ---- */

static void describe(char *out, size_t cap, const struct walk *w)
{
    const struct belongings now = belongings();
    snprintf(out, cap, "%s, call %ld (%s) %s: error %d; walk: %d, \"%s\"; %d fds, %ld blocks",
             w->in_task ? "task" : "thread", faults.at, fault_kinds[faults.kind].name,
             faults.stays ? "and all later" : "once", faults.error, w->rc, w->words, now.fds,
             now.blocks);
}

static void take_a_walk(struct walk *w, const struct belongings *before)
{
    char what[1024];
    pthread_t id;
    w->rc = 0;
    faults_exempt = true;
    atomic_fetch_add(&faults.record->walks, 1);
    faults_exempt = !w->path->forks;
    if (w->path->forks) {
        walk_main(w);
        pi_err_fini(&pi_task_self()->err);                          /* as a thread's end does */
    } else if (__real_pthread_create(&id, NULL, walk_main, w) != 0) /* no check: libcheck's */
        ck_abort_msg("no thread for a walk"); /* descriptor may be another's by now */
    while (faults.bombards && pthread_tryjoin_np(id, NULL) == EBUSY) {
        pthread_kill(id, SIGUSR1);
        usleep(20);
    }
    if (!faults.bombards && !w->path->forks)
        pthread_join(id, NULL);
    faults_exempt = true;
    describe(what, sizeof what, w);
    ck_assert_msg(__real_waitpid(-1, NULL, WNOHANG) < 0, "a child is left: %s", what);
    if (before && !has_left_nothing(w->path, before)) {
        describe(what, sizeof what, w);
        ck_abort_msg("something is left (had %d fds, %ld blocks): %s", before->fds, before->blocks,
                     what);
    }
}

static bool says_one_of(const char *words, const char *list)
{
    char copy[256], *rest = copy, *part;
    snprintf(copy, sizeof copy, "%s", list);
    while ((part = strtok_r(rest, "|", &rest)) != NULL)
        if (strcasestr(words, part))
            return true;
    return false;
}

static const char *fault_words(void)
{
    if (faults.kind != F_GETADDRINFO && faults.kind != F_GETNAMEINFO)
        return pier_strerror(-faults.error);
    switch ((int)faults.error) {
    case EAI_MEMORY:
        return pier_strerror(-ENOMEM);
    case EAI_NONAME:
        return "unknown name";
    case EAI_SYSTEM:
        return pier_strerror(-EMFILE);
    default:
        return gai_strerror(faults.error);
    }
}

/* Whether the library has another way then: mprotect(2), a buffer, another thread of the pool, a
 * time-out in place of a loop's timer. */
static bool is_got_round(const struct path *path, enum fault_kind kind)
{
    return fault_kinds[kind].benign || kind == F_TIMERFD ||
           ((kind == F_THREAD || kind == F_THREAD_ATTR) && path->offloads) ||
           ((kind == F_GUARD || kind == F_SPLICE) && faults.error == EINVAL);
}

/* What a walk with a fault may have come to. */
static const char *what_is_wrong(const struct walk *w)
{
    const struct path *p = w->path;
    enum fault_kind kind = (enum fault_kind)faults.kind;
    if (w->rc > 0)
        return "neither 0 nor a code";
    if (w->rc == 0)
        return is_got_round(p, kind) || fault_is_listed(p->recovers, kind)
                   ? NULL
                   : "the failure is not noticed";
    if (!strcasestr(w->words, fault_words()) && !(p->instead && says_one_of(w->words, p->instead)))
        return "the cause is not named";
    bool has_words = !(kind == F_MEMORY && faults.stays);
    return !has_words || says_one_of(w->words, p->says) ? NULL : "the operation is not named";
}

/* One call fails with each of its errors: whether there was such a call. */
static bool fail_one_call(struct walk *w, const struct belongings *before)
{
    char what[1024];
    for (faults.turn = 0; faults.turn < 8; faults.turn++) {
        take_a_walk(w, before);
        if (!faults.injected)
            return false;
        const char *wrong = what_is_wrong(w);
        if (wrong) {
            describe(what, sizeof what, w);
            ck_abort_msg("%s: %s", wrong, what);
        }
        if (faults.stays || w->path->brief || fault_kinds[faults.kind].errors[faults.turn + 1] == 0)
            return true;
    }
    return true;
}

static void fail_in_one_place(const struct path *path, bool in_task)
{
    enum { MOST = 3000 };
    struct walk w = { .path = path, .in_task = in_task };
    faults.at = 0;
    faults.spared = path->spares;
    take_a_walk(&w, NULL); /* what is made once and kept is there now */
    ck_assert_msg(w.rc == 0, "without a fault: %s", w.words);
    struct belongings before = belongings();
    for (int stays = 0; stays < (path->fails_once ? 1 : 2); stays++) {
        faults.stays = stays;
        faults.at = 1;
        while (fail_one_call(&w, &before))
            ck_assert_int_lt(faults.at++, MOST);
        ck_assert_int_gt(faults.at, 1);
    }
    faults.at = 0;
}

UNUSED_FN static void fail_everywhere(const struct path *path)
{
    atomic_fetch_add(&faults.record->tests, 1);
    if (!path->in_task_only)
        fail_in_one_place(path, false);
    if (!path->on_thread_only)
        fail_in_one_place(path, true);
}

/* Every second, third, fifth call that may be interrupted is: the walk does not notice. */
UNUSED_FN static void interrupt_everywhere(const struct path *path)
{
    struct walk w = { .path = path };
    faults.spared = path->spares;
    for (int in_task = path->in_task_only; in_task < (path->on_thread_only ? 1 : 2); in_task++) {
        w.in_task = in_task;
        for (faults.storm = 2; faults.storm <= 5; faults.storm += faults.storm == 2 ? 1 : 2)
            for (faults.phase = 0; faults.phase < faults.storm; faults.phase++) {
                take_a_walk(&w, NULL);
                ck_assert_msg(w.rc == 0, "every %ld. call is interrupted, %s: %s", faults.storm,
                              in_task ? "task" : "thread", w.words);
            }
    }
    faults.storm = 0;
}

static _Atomic long signals_handled;

static void handle_signal(int number)
{
    signals_handled++;
}

/* The same with real signals, as fast as they can be sent. */
UNUSED_FN static void signal_everywhere(const struct path *path)
{
    enum { WALKS = 10 };
    struct sigaction plain = { .sa_handler = handle_signal }; /* without SA_RESTART */
    sigaction(SIGUSR1, &plain, NULL);
    for (int i = 0; i < WALKS; i++) {
        struct walk w = { .path = path, .in_task = path->in_task_only || i % 2 };
        faults.bombards = true;
        take_a_walk(&w, NULL);
        ck_assert_msg(w.rc == 0, "%s: %s", w.in_task ? "task" : "thread", w.words);
    }
    faults.bombards = false;
    ck_assert_int_gt(signals_handled, 0);
}

/* ---- whether all of it has failed ---- */

/* After all tests of a program: which kind it never came to; NULL: none. missing names those that
 * another program has. */
UNUSED_FN static const char *never_failed(const char *missing)
{
    for (int kind = 0; kind < FAULT_KINDS; kind++)
        if (faults.record->faults[kind] == 0 && !fault_is_listed(missing, kind))
            return fault_kinds[kind].name;
    return NULL;
}

#endif
