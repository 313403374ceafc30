/* SPDX-License-Identifier: MIT */
/* Channels and select: order, ends, cancellation, and nothing lost between loops and threads. */
#include "harness.h"
#include "task_threads.h"

static void settle(void)
{
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pier_yield(), 0);
}

static struct pier_chan make_chan(size_t size, size_t cap, int flags)
{
    struct pier_chan ch;
    ck_assert_int_eq(pier_chan_init(&ch, size, cap, flags), 0);
    return ch;
}

/* ---- order and ends ---- */

struct flow {
    struct pier_chan *ch;
    size_t size;
    int count;
    int rc;
};

static void fill(unsigned char *elem, size_t size, int number)
{
    for (size_t i = 0; i < size; i++)
        elem[i] = (unsigned char)(number * 7 + (int)i);
}

static int send_all(void *arg)
{
    struct flow *f = arg;
    unsigned char elem[100];
    for (int i = 0; i < f->count; i++) {
        fill(elem, f->size, i);
        int rc = pier_chan_send(f->ch, elem);
        memset(elem, 0xee, sizeof elem); /* it has been copied */
        if (rc < 0)
            return rc;
    }
    pier_chan_close(f->ch);
    return 0;
}

static int receive_all(void *arg)
{
    struct flow *f = arg;
    unsigned char elem[101], expected[100];
    int count = 0, rc;
    elem[f->size] = 0x5a;
    while ((rc = pier_chan_recv(f->ch, elem)) == 1) {
        fill(expected, f->size, count++);
        if (memcmp(elem, expected, f->size) != 0 || elem[f->size] != 0x5a)
            return -EIO;
    }
    return rc == 0 && count == f->count ? 0 : -EPROTO;
}

TEST(elements_of_every_size_pass_in_order)
{
    static const size_t sizes[] = { 0, 1, 3, 4, 8, 16, 24, 100 }, caps[] = { 0, 1, 2, 7, 64 };
    static const int flags[] = { 0, PIER_LOCAL };
    for (int i = 0; i < 8 * 5 * 2; i++) {
        size_t size = sizes[i % 8], cap = caps[i / 8 % 5];
        struct pier_chan ch = make_chan(size, cap, flags[i / 40]);
        struct flow f = { &ch, size, 200, 0 };
        struct pier_scope s;
        pier_scope_open(&s, 0);
        if (i % 3) { /* either may come first */
            pier_spawn(&s, send_all, &f);
            pier_spawn(&s, receive_all, &f);
        } else {
            pier_spawn(&s, receive_all, &f);
            pier_spawn(&s, send_all, &f);
        }
        int rc = pier_scope_join(&s);
        ck_assert_msg(rc == 0, "size %zu cap %zu: %d", size, cap, rc);
        pier_chan_fini(&ch);
    }
}

TEST(a_full_channel_and_an_empty_one_say_so)
{
    struct pier_chan ch = make_chan(sizeof(int), 2, 0);
    int elem = 1;
    ck_assert_int_eq(pier_chan_try_recv(&ch, &elem), -EAGAIN);
    ck_assert_int_eq(pier_chan_try_send(&ch, &(int){ 10 }), 0);
    ck_assert_int_eq(pier_chan_try_send(&ch, &(int){ 11 }), 0);
    ck_assert_int_eq(pier_chan_try_send(&ch, &(int){ 12 }), -EAGAIN);
    ck_assert_int_eq(pier_chan_try_recv(&ch, &elem), 1);
    ck_assert_int_eq(elem, 10);
    ck_assert_int_eq(pier_chan_try_send(&ch, &(int){ 12 }), 0);
    ck_assert_int_eq(pier_chan_recv(&ch, &elem), 1);
    ck_assert_int_eq(elem, 11);
    pier_chan_fini(&ch);
    pier_chan_fini(&ch); /* twice is safe */
}

TEST(a_closed_channel_gives_what_is_left_then_ends)
{
    struct pier_chan ch = make_chan(sizeof(int), 2, 0);
    int elem = 0;
    pier_chan_send(&ch, &(int){ 1 });
    pier_chan_send(&ch, &(int){ 2 });
    pier_chan_close(&ch);
    pier_chan_close(&ch);
    ck_assert_int_eq(pier_chan_send(&ch, &elem), -EPIPE);
    ck_assert_int_eq(pier_chan_try_send(&ch, &elem), -EPIPE);
    ck_assert_int_eq(pier_chan_recv(&ch, &elem), 1);
    ck_assert_int_eq(elem, 1);
    ck_assert_int_eq(pier_chan_try_recv(&ch, &elem), 1);
    ck_assert_int_eq(elem, 2);
    ck_assert_int_eq(pier_chan_recv(&ch, &elem), 0);
    ck_assert_int_eq(pier_chan_try_recv(&ch, &elem), 0);
    ck_assert_int_eq(elem, 2);
    pier_chan_fini(&ch);
}

static int send_one(void *arg)
{
    struct flow *f = arg;
    f->rc = pier_chan_send(f->ch, &f->count);
    return 0;
}

static int receive_one(void *arg)
{
    struct flow *f = arg;
    f->rc = pier_chan_recv(f->ch, &f->count);
    return 0;
}

TEST(close_ends_the_waits_of_both_sides)
{
    for (size_t cap = 0; cap < 2; cap++) {
        struct pier_chan full = make_chan(sizeof(int), cap, 0),
                         empty = make_chan(sizeof(int), cap, 0);
        struct flow senders[2] = { { &full, 0, 5, 9 }, { &full, 0, 6, 9 } };
        struct flow receivers[2] = { { &empty, 0, 7, 9 }, { &empty, 0, 8, 9 } };
        struct pier_scope s;
        if (cap)
            pier_chan_send(&full, &(int){ 4 });
        pier_scope_open(&s, 0);
        for (int i = 0; i < 2; i++) {
            pier_spawn(&s, send_one, &senders[i]);
            pier_spawn(&s, receive_one, &receivers[i]);
        }
        settle();
        pier_chan_close(&full);
        pier_chan_close(&empty);
        ck_assert_int_eq(pier_scope_join(&s), 0);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(senders[i].rc, -EPIPE);
            ck_assert_int_eq(receivers[i].rc, 0);
            ck_assert_int_eq(receivers[i].count, 7 + i);
        }
        int elem;
        ck_assert_int_eq(pier_chan_recv(&full, &elem), (int)cap); /* only what had been sent */
        pier_chan_fini(&full);
        pier_chan_fini(&empty);
    }
}

TEST(waiting_senders_and_receivers_are_served_in_order)
{
    struct pier_chan ch = make_chan(sizeof(int), 1, 0);
    struct flow f[6];
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 6; i++) {
        f[i] = (struct flow){ &ch, 0, i, 0 };
        pier_spawn(&s, send_one, &f[i]);
    }
    settle();
    for (int i = 0; i < 6; i++) {
        int elem = -1;
        ck_assert_int_eq(pier_chan_recv(&ch, &elem), 1);
        ck_assert_int_eq(elem, i);
    }
    for (int i = 0; i < 6; i++)
        pier_spawn(&s, receive_one, &f[i]);
    settle();
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(pier_chan_send(&ch, &(int){ 10 + i }), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(f[i].count, 10 + i);
    pier_chan_fini(&ch);
}

TEST(a_channel_without_memory_is_an_error)
{
    struct pier_chan ch;
    pi_alloc_fail(1);
    ck_assert_int_eq(pier_chan_init(&ch, 8, 8, 0), -ENOMEM);
    pi_alloc_fail(0);
    ck_assert_int_eq(pier_chan_init(&ch, SIZE_MAX / 8 + 2, 8, 0), -ENOMEM);
    pier_chan_fini(&ch);
}

/* ---- cancellation ---- */

struct one {
    struct pier_chan *ch;
    struct pier_scope scope;
    enum pier_select_op op;
    bool by_select;
    int elem, rc;
};

static int do_one(void *arg)
{
    struct one *o = arg;
    pier_scope_open(&o->scope, 0);
    if (o->by_select) {
        struct pier_select_case c = { o->ch, o->op, &o->elem, 77 };
        o->rc = pier_select(&c, 1, 0);
        if (o->rc == 0)
            o->rc = c.rc;
    } else if (o->op == PIER_SELECT_SEND) {
        o->rc = pier_chan_send(o->ch, &o->elem);
    } else {
        o->rc = pier_chan_recv(o->ch, &o->elem);
    }
    return pier_scope_join(&o->scope);
}

/* The other side is done by this task: an element that one side says it passed, the other has. */
static void check_order(struct one *o, const char *order)
{
    int cap = (int)o->ch->cap, other = 0, passed = 0;
    struct pier_scope s;
    if (o->op == PIER_SELECT_SEND && cap)
        pier_chan_send(o->ch, &(int){ 1000 });
    pier_scope_open(&s, 0);
    pier_spawn(&s, do_one, o);
    settle();
    for (const char *at = order; *at; at++) {
        if (*at == 'c')
            pier_scope_cancel(&o->scope);
        else if (*at == '.')
            settle();
        else if (o->op == PIER_SELECT_SEND)
            other = pier_chan_try_recv(o->ch, &passed);
        else
            other = pier_chan_try_send(o->ch, &(int){ 5 });
    }
    ck_assert_int_eq(pier_scope_join(&s), 0);
    if (o->op == PIER_SELECT_RECV) {
        int left = 0;
        bool has_left = pier_chan_try_recv(o->ch, &left) == 1;
        ck_assert_int_eq((o->rc == 1) + has_left, other == 0 && strchr(order, 'g') ? 1 : 0);
        ck_assert_int_eq(o->rc == 1 ? o->elem : 5, 5);
        return;
    }
    int count = other == 1 && passed == 5, elem;
    while (pier_chan_try_recv(o->ch, &elem) == 1)
        count += elem == 5;
    ck_assert_msg(count == (o->rc == 0), "order %s cap %d: rc %d, %d there", order, cap, o->rc,
                  count);
}

TEST(no_element_is_lost_or_doubled_by_a_cancellation)
{
    static const char *const orders[] = { "g", "gc", "cg", "c", "c.g", "g.c" };
    for (int i = 0; i < 6 * 2 * 2 * 2 * 2; i++) {
        const char *order = orders[i % 6];
        struct pier_chan ch = make_chan(sizeof(int), i / 6 % 2, i / 12 % 2 ? PIER_LOCAL : 0);
        struct one o = { .ch = &ch,
                         .op = i / 24 % 2 ? PIER_SELECT_SEND : PIER_SELECT_RECV,
                         .by_select = i / 48 % 2 };
        o.elem = o.op == PIER_SELECT_SEND ? 5 : -1;
        check_order(&o, order);
        bool cancelled = order[0] == 'c' && order[1] != 'g';
        int done = o.op == PIER_SELECT_SEND ? 0 : 1;
        ck_assert_msg(o.rc == (cancelled ? -ECANCELED : done), "case %d order %s: %d", i, order,
                      o.rc);
        pier_chan_fini(&ch);
    }
}

TEST(waits_fail_in_a_cancelled_scope_and_tries_do_not)
{
    struct pier_chan ch = make_chan(sizeof(int), 2, 0);
    struct pier_scope s;
    int elem = 3;
    struct pier_select_case c = { &ch, PIER_SELECT_SEND, &elem, 77 };
    pier_scope_open(&s, 0);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_chan_send(&ch, &elem), -ECANCELED);
    ck_assert_int_eq(pier_chan_recv(&ch, &elem), -ECANCELED);
    ck_assert_int_eq(pier_select(&c, 1, 0), -ECANCELED);
    ck_assert_int_eq(c.rc, 77);
    ck_assert_int_eq(pier_chan_try_send(&ch, &elem), 0);
    ck_assert_int_eq(pier_chan_try_recv(&ch, &elem), 1);
    pier_scope_join(&s);
    pier_chan_fini(&ch);
}

/* ---- select ---- */

TEST(select_does_the_first_case_that_can_be_done)
{
    struct pier_chan a = make_chan(sizeof(int), 1, 0), b = make_chan(sizeof(int), 1, 0);
    int from_a = 0, from_b = 0, to_b = 9;
    struct pier_select_case cases[] = { { &a, PIER_SELECT_RECV, &from_a, 7 },
                                        { &b, PIER_SELECT_RECV, &from_b, 7 },
                                        { &b, PIER_SELECT_SEND, &to_b, 7 } };
    ck_assert_int_eq(pier_select(cases, 3, 0), 2);
    ck_assert_int_eq(cases[2].rc, 0);
    ck_assert_int_eq(cases[0].rc, 7);
    ck_assert_int_eq(pier_select(cases, 3, 0), 1);
    ck_assert_int_eq(cases[1].rc, 1);
    ck_assert_int_eq(from_b, 9);
    pier_chan_send(&a, &(int){ 4 });
    pier_chan_send(&b, &(int){ 5 });
    ck_assert_int_eq(pier_select(cases, 3, 0), 0);
    ck_assert_int_eq(from_a, 4);
    ck_assert_uint_eq(b.count, 1);
    pier_chan_close(&a);
    ck_assert_int_eq(pier_select(cases, 3, 0), 0);
    ck_assert_int_eq(cases[0].rc, 0);
    pier_chan_fini(&a);
    pier_chan_fini(&b);
}

TEST(select_ends_at_its_deadline_and_takes_its_waiters_out)
{
    struct pier_chan a = make_chan(sizeof(int), 0, 0);
    int elem = 1;
    struct pier_select_case cases[] = { { &a, PIER_SELECT_RECV, &elem, 7 },
                                        { &a, PIER_SELECT_SEND, &elem, 7 } };
    int64_t start = pier_now();
    ck_assert_int_eq(pier_select(cases, 2, pier_after(3 * PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_ge(pier_now() - start, 3 * PIER_MILLISECOND);
    ck_assert_int_eq(pier_select(cases, 2, 1), -ETIMEDOUT); /* long ago: only a try */
    ck_assert_int_eq(pier_select(cases, 0, pier_after(0)), -ETIMEDOUT);
    ck_assert_int_eq(pier_chan_try_send(&a, &elem), -EAGAIN);
    ck_assert_int_eq(pier_chan_try_recv(&a, &elem), -EAGAIN);
    pier_chan_fini(&a);
}

TEST(select_takes_16_cases_and_no_more)
{
    struct pier_chan chans[17];
    struct pier_select_case cases[17];
    int elem = 0;
    for (int i = 0; i < 17; i++) {
        chans[i] = make_chan(sizeof(int), 1, 0);
        cases[16 - i] = (struct pier_select_case){ &chans[i], PIER_SELECT_RECV, &elem, 0 };
    }
    ck_assert_int_eq(pier_select(cases, 17, 0), -EINVAL);
    ck_assert_int_eq(pier_error_code(), -EINVAL);
    ck_assert_int_eq(pier_select(cases, 16, 1), -ETIMEDOUT);
    pier_chan_send(cases[15].ch, &(int){ 8 });
    ck_assert_int_eq(pier_select(cases, 16, 0), 15);
    ck_assert_int_eq(elem, 8);
    for (int i = 0; i < 17; i++)
        pier_chan_fini(&chans[i]);
}

struct choice {
    struct pier_select_case cases[4];
    size_t count;
    int index;
    int elems[4];
};

static int choose(void *arg)
{
    struct choice *c = arg;
    c->index = pier_select(c->cases, c->count, 0);
    return 0;
}

static void spawn_choice(struct pier_scope *s, struct choice *c)
{
    for (size_t i = 0; i < c->count; i++)
        c->cases[i].elem = &c->elems[i];
    pier_spawn(s, choose, c);
}

TEST(a_waiting_select_is_completed_through_any_case_once)
{
    struct pier_chan a = make_chan(sizeof(int), 0, 0), b = make_chan(sizeof(int), 1, 0);
    for (int way = 0; way < 4; way++) {
        /* the same channel twice, in both directions */
        struct choice c = { .cases = { { &a, PIER_SELECT_RECV, NULL, 7 },
                                       { &b, PIER_SELECT_RECV, NULL, 7 },
                                       { &a, PIER_SELECT_SEND, NULL, 7 },
                                       { &a, PIER_SELECT_RECV, NULL, 7 } },
                            .count = 4,
                            .elems = { 0, 0, 33, 0 } };
        struct pier_scope s;
        int elem = 0;
        pier_scope_open(&s, 0);
        spawn_choice(&s, &c);
        settle();
        if (way == 0) {
            ck_assert_int_eq(pier_chan_try_send(&a, &(int){ 11 }), 0);
            ck_assert_int_eq(pier_chan_try_send(&a, &(int){ 12 }), -EAGAIN);
            ck_assert_int_eq(pier_chan_try_recv(&a, &elem), -EAGAIN);
        } else if (way == 1) {
            ck_assert_int_eq(pier_chan_try_send(&b, &(int){ 22 }), 0);
            ck_assert_int_eq(pier_chan_try_send(&a, &(int){ 11 }), -EAGAIN);
        } else if (way == 2) {
            ck_assert_int_eq(pier_chan_try_recv(&a, &elem), 1);
            ck_assert_int_eq(elem, 33);
            ck_assert_int_eq(pier_chan_try_recv(&a, &elem), -EAGAIN);
        } else {
            pier_chan_close(&b);
        }
        ck_assert_int_eq(pier_scope_join(&s), 0);
        static const int index[] = { 0, 1, 2, 1 }, rc[] = { 1, 1, 0, 0 };
        ck_assert_int_eq(c.index, index[way]);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(c.cases[i].rc, i == c.index ? rc[way] : 7);
        ck_assert_int_eq(c.elems[0], way == 0 ? 11 : 0);
        ck_assert_int_eq(c.elems[1], way == 1 ? 22 : 0);
        ck_assert_ptr_null(a.senders.first);
        ck_assert_ptr_null(a.receivers.first);
        ck_assert_ptr_null(b.receivers.first);
    }
    pier_chan_fini(&a);
    pier_chan_fini(&b);
}

TEST(two_selects_meet)
{
    struct pier_chan a = make_chan(sizeof(int), 0, 0), b = make_chan(sizeof(int), 0, 0);
    struct choice sends = { .cases = { { &a, PIER_SELECT_SEND, NULL, 7 },
                                       { &b, PIER_SELECT_SEND, NULL, 7 } },
                            .count = 2,
                            .elems = { 1, 2 } };
    struct choice receives = { .cases = { { &b, PIER_SELECT_RECV, NULL, 7 },
                                          { &a, PIER_SELECT_RECV, NULL, 7 } },
                               .count = 2 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    spawn_choice(&s, &sends);
    spawn_choice(&s, &receives);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(sends.index, 1);
    ck_assert_int_eq(receives.index, 0);
    ck_assert_int_eq(receives.elems[0], 2);
    pier_chan_fini(&a);
    pier_chan_fini(&b);
}

/* ---- a grant from another thread that is under way when the wait is cancelled ---- */

struct late {
    struct pier_chan *ch;
    enum pier_select_op op;
    int elem, rc;
};

static void *do_other_side(void *arg)
{
    struct late *l = arg;
    if (l->op == PIER_SELECT_SEND)
        l->rc = pier_chan_try_send(l->ch, &l->elem);
    else
        l->rc = pier_chan_try_recv(l->ch, &l->elem);
    return NULL;
}

/* While this thread joins the other, its loop stands still: the message is not delivered yet. The
 * waiter runs first, and by then the channel is gone. */
TEST(an_element_under_way_is_passed_though_the_wait_is_cancelled)
{
    for (int i = 0; i < 4; i++) {
        struct pier_chan *ch = malloc(sizeof *ch);
        *ch = make_chan(sizeof(int), 0, 0);
        struct one o = { .ch = ch,
                         .op = i & 1 ? PIER_SELECT_SEND : PIER_SELECT_RECV,
                         .by_select = i & 2,
                         .elem = i & 1 ? 5 : -1 };
        struct late l = { .ch = ch, .op = i & 1 ? PIER_SELECT_RECV : PIER_SELECT_SEND, .elem = 5 };
        struct pier_scope s;
        pier_scope_open(&s, 0);
        pier_spawn(&s, do_one, &o);
        ck_assert_int_eq(pier_sleep(1), 0);
        thread_end(thread_start(do_other_side, &l));
        pier_chan_fini(ch);
        memset(ch, 0xff, sizeof *ch);
        free(ch);
        pier_scope_cancel(&o.scope);
        ck_assert_int_eq(pier_scope_join(&s), 0);
        ck_assert_int_eq(l.rc, i & 1 ? 1 : 0);
        ck_assert_int_eq(o.rc, i & 1 ? 0 : 1);
        ck_assert_int_eq(o.elem, 5);
        ck_assert_int_eq(l.elem, 5);
    }
}

/* ---- across threads ---- */

enum { THREADS = 4, EACH = 100000 };

struct crowd {
    struct pier_chan chans[3];
    long sent, received; /* sums; atomic */
    int senders_left;    /* atomic */
    uint64_t seed;
};

static int send_numbers(void *arg)
{
    struct crowd *c = arg;
    long sum = 0;
    for (int i = 0; i < EACH; i++) {
        if (pier_chan_send(&c->chans[0], &i) < 0)
            return -EIO;
        sum += i;
    }
    __atomic_fetch_add(&c->sent, sum, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&c->senders_left, 1, __ATOMIC_ACQ_REL) == 0)
        pier_chan_close(&c->chans[0]);
    return 0;
}

static int receive_numbers(void *arg)
{
    struct crowd *c = arg;
    long sum = 0;
    int i, rc;
    while ((rc = pier_chan_recv(&c->chans[0], &i)) == 1)
        sum += i;
    __atomic_fetch_add(&c->received, sum, __ATOMIC_RELAXED);
    return rc;
}

struct job {
    pier_task_fn fn;
    struct crowd *crowd;
    bool in_loop;
};

static void *run_job(void *arg)
{
    struct job *j = arg;
    int rc = j->in_loop ? in_a_loop(j->fn, j->crowd) : j->fn(j->crowd);
    return rc == 0 ? NULL : arg;
}

static void run_crowd(struct crowd *c, const pier_task_fn *fns, unsigned loops)
{
    struct job jobs[THREADS];
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){ fns[i], c, loops >> i & 1 };
        ids[i] = thread_start(run_job, &jobs[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed = NULL;
        ck_assert_int_eq(pthread_join(ids[i], &failed), 0);
        ck_assert_msg(!failed, "thread %d", i);
    }
}

/* loops: a bit for each thread that is to have one. */
static void check_crowd(size_t cap, unsigned loops)
{
    const pier_task_fn fns[] = { send_numbers, receive_numbers, send_numbers, receive_numbers };
    struct crowd c = { .senders_left = 2 };
    c.chans[0] = make_chan(sizeof(int), cap, 0);
    run_crowd(&c, fns, loops);
    ck_assert_int_eq(c.sent, 2 * ((long)EACH * (EACH - 1) / 2));
    ck_assert_int_eq(c.sent, c.received);
    pier_chan_fini(&c.chans[0]);
}

TEST_WITHIN(60, four_threads_pass_every_number_through_a_buffer)
{
    check_crowd(64, 0);
}

TEST_WITHIN(60, four_threads_pass_every_number_hand_to_hand)
{
    check_crowd(0, 0);
}

TEST_WITHIN(60, loops_and_threads_pass_every_number)
{
    check_crowd(1, 0x3);
    check_crowd(16, 0xf);
}

/* Both directions on three channels, most waits cut short: what was sent is received, or is left.
 */
static int trade(void *arg)
{
    struct crowd *c = arg;
    uint64_t state = __atomic_add_fetch(&c->seed, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED) | 1;
    long sent = 0, received = 0;
    for (int i = 0; i < EACH / 5; i++) {
        struct pier_select_case cases[4];
        int elems[4];
        size_t count = 1 + next_random(&state) % 4;
        for (size_t k = 0; k < count; k++) {
            elems[k] = (int)(next_random(&state) % 1000);
            cases[k] = (struct pier_select_case){ &c->chans[next_random(&state) % 3],
                                                  next_random(&state) % 2, &elems[k], 0 };
        }
        int64_t wait_ns = (int64_t)(next_random(&state) % 20000);
        int index = pier_select(cases, count, pier_after(wait_ns));
        if (index < 0 && index != -ETIMEDOUT)
            return index;
        if (index >= 0 && cases[index].op == PIER_SELECT_SEND)
            sent += elems[index];
        else if (index >= 0)
            received += elems[index];
    }
    __atomic_fetch_add(&c->sent, sent, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->received, received, __ATOMIC_RELAXED);
    return 0;
}

static int trade_in_tasks(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 3; i++)
        pier_spawn(&s, trade, arg);
    return pier_scope_join(&s);
}

TEST_WITHIN(60, selects_of_loops_and_threads_lose_nothing)
{
    const pier_task_fn fns[] = { trade, trade_in_tasks, trade, trade_in_tasks };
    struct crowd c = { .seed = test_seed() };
    for (int i = 0; i < 3; i++)
        c.chans[i] = make_chan(sizeof(int), (size_t)i, 0);
    run_crowd(&c, fns, 0x2);
    int elem;
    for (int i = 0; i < 3; i++)
        while (pier_chan_try_recv(&c.chans[i], &elem) == 1)
            c.received += elem;
    ck_assert_int_gt(c.sent, 0);
    ck_assert_int_eq(c.sent, c.received);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(c.chans[i].guard, 0);
        pier_chan_fini(&c.chans[i]);
    }
}

/* The receiver frees the channel as soon as it has its answer. */
static void *answer_and_leave(void *arg)
{
    struct pier_chan *_Atomic *asked = arg;
    for (int i = 0; i < 10000; i++) {
        struct pier_chan *ch;
        while (!(ch = atomic_exchange(asked, NULL)))
            sched_yield();
        pier_chan_send(ch, &i);
    }
    return NULL;
}

TEST_WITHIN(60, a_channel_may_be_freed_by_the_one_who_got_its_last_element)
{
    struct pier_chan *_Atomic asked = NULL;
    pthread_t other = thread_start(answer_and_leave, (void *)&asked);
    for (int i = 0; i < 10000; i++) {
        struct pier_chan *ch = malloc(sizeof *ch);
        int elem = -1;
        *ch = make_chan(sizeof(int), (size_t)(i & 1), 0);
        atomic_store(&asked, ch);
        ck_assert_int_eq(pier_chan_recv(ch, &elem), 1);
        ck_assert_int_eq(elem, i);
        pier_chan_fini(ch);
        memset(ch, 0xff, sizeof *ch);
        free(ch);
    }
    thread_end(other);
}

HARNESS_MAIN("task_chan")
