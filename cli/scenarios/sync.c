/* SPDX-License-Identifier: MIT */
/*
 * sync.c - random programs of tasks over one mutex, one event, one semaphore and a few channels,
 * with scopes that are cancelled or run out of time, beside a model that says what each call must
 * come to.
 *
 * Tasks take turns only where they wait, so the model is exact: a call is noted before it is made,
 * with its place in each queue; whoever gives something to a waiter notes that, too; and when the
 * wait has ended, its result must be the noted one. So a wake-up that is lost or doubled, an
 * element that is, or one that overtakes another, shows at once. A closer ends what would otherwise
 * wait for ever; what waits after it the simulation finds.
 */
#include "scenario.h"

#include <string.h>

enum {
    TASKS_MAX = 10,
    CHANS_MAX = 3,
    CASES_MAX = 4,
    LINE_MAX = TASKS_MAX * CASES_MAX,
    RING_MAX = 5,
    ELEM_MAX = 24,
    KINDS = 4,
    OPS_MAX = 80,
    CANCELS_MAX = 200,
    SECTION_MAX = 4, /* turns that the mutex or a unit is held */
};

/* ---- the model ---- */

struct place {
    int task, index; /* of the case, with several */
    bool sends;
    uint32_t value;
};

struct line {
    struct place all[LINE_MAX];
    int len;
};

struct model_chan {
    struct pier_chan chan;
    uint32_t ring[RING_MAX];
    int len;
    bool closed;
    struct line senders, receivers;
};

struct worker {
    struct world *world;
    int id, ops;
    bool granted; /* what it waits for, by another */
    int index, rc;
    uint32_t value; /* received */
    struct pier_scope *victim;
    int64_t cancelled_ns, deadline_ns; /* when its victim was, or will be; 0: not */
};

struct world {
    struct pier_mutex mutex;
    struct line mutex_line;
    int holder; /* -1: nobody */
    struct pier_event event;
    struct line event_line;
    bool is_set;
    struct pier_sem sem;
    struct line sem_line;
    int units, inside, most_inside;
    struct model_chan chans[CHANS_MAX];
    int chan_count;
    size_t elem_size;
    bool is_closing;
    int weights[KINDS];
    struct worker workers[TASKS_MAX];
    int task_count;
    uint32_t next_value;
};

static void join_line(struct line *line, struct place place)
{
    line->all[line->len++] = place;
}

static void leave_line(struct line *line, int task)
{
    int kept = 0;
    for (int i = 0; i < line->len; i++)
        if (line->all[i].task != task)
            line->all[kept++] = line->all[i];
    line->len = kept;
}

static void leave_chans(struct world *world, int task)
{
    for (int i = 0; i < world->chan_count; i++) {
        leave_line(&world->chans[i].senders, task);
        leave_line(&world->chans[i].receivers, task);
    }
}

/* ---- how a wait may end ---- */

static struct place own_place(const struct worker *w)
{
    return (struct place){ .task = w->id };
}

/* The earliest reason that it had to end: 0, none. */
static int64_t must_end_ns(const struct worker *w)
{
    if (!w->cancelled_ns || (w->deadline_ns && w->deadline_ns < w->cancelled_ns))
        return w->deadline_ns;
    return w->cancelled_ns;
}

/* code: the cancellation's before the call, which then is the call's. Whether the call did what it
 * was to do. */
static bool check_end(struct worker *w, int code, int rc)
{
    bool granted = w->granted;
    int64_t late_ns = PIER_MILLISECOND * (1 + w->world->task_count);
    int64_t end_ns = must_end_ns(w);
    w->granted = false;
    pier_sim_note("task %d: %d", w->id, rc);
    if (code < 0)
        PIER_SIM_CHECK(rc == code);
    else
        PIER_SIM_CHECK(!end_ns || pier_now() < end_ns + late_ns);
    if (rc >= 0 || rc == -EPIPE)
        return PIER_SIM_CHECK(granted);
    PIER_SIM_CHECK(!granted);
    PIER_SIM_CHECK(rc == -ECANCELED || rc == -ETIMEDOUT);
    PIER_SIM_CHECK(rc != -ECANCELED || w->cancelled_ns);
    PIER_SIM_CHECK(rc != -ETIMEDOUT || (w->deadline_ns && pier_now() >= w->deadline_ns));
    return false;
}

/* ---- a turn without much ---- */

static int64_t moment(void)
{
    return pier_sim_between(0, 3) ? 0 : pier_sim_between(1, 200) * PIER_MICROSECOND;
}

static void pass_time(void)
{
    int turns = (int)pier_sim_between(0, SECTION_MAX);
    for (int i = 0; i < turns; i++)
        pier_sleep(moment()); /* cancelled or not: the section is left in order */
}

/* ---- the mutex ---- */

static void unlock(struct worker *w)
{
    struct world *world = w->world;
    struct line *line = &world->mutex_line;
    PIER_SIM_CHECK(world->holder == w->id);
    world->holder = -1;
    if (line->len > 0) {
        world->holder = line->all[0].task;
        world->workers[world->holder].granted = true;
        leave_line(line, world->holder);
    }
    pier_mutex_unlock(&world->mutex);
}

static void lock_waiting(struct worker *w)
{
    struct world *world = w->world;
    int code = pier_cancelled();
    if (code == 0 && world->holder >= 0) {
        join_line(&world->mutex_line, own_place(w));
    } else if (code == 0) {
        world->holder = w->id;
        w->granted = true;
    }
    if (check_end(w, code, pier_mutex_lock(&world->mutex))) {
        PIER_SIM_CHECK(world->holder == w->id);
        pass_time();
        unlock(w);
        return;
    }
    leave_line(&world->mutex_line, w->id);
}

static void use_mutex(struct worker *w)
{
    struct world *world = w->world;
    if (pier_sim_between(0, 3) > 0) {
        lock_waiting(w);
        return;
    }
    bool is_free = world->holder < 0;
    int rc = pier_mutex_trylock(&world->mutex);
    PIER_SIM_CHECK(rc == (is_free ? 0 : -EBUSY));
    if (rc < 0)
        return;
    world->holder = w->id;
    pass_time();
    unlock(w);
}

/* ---- the event ---- */

static void set_event(struct world *world)
{
    struct line *line = &world->event_line;
    world->is_set = true;
    for (int i = 0; i < line->len; i++)
        world->workers[line->all[i].task].granted = true;
    line->len = 0;
    pier_event_set(&world->event);
}

static void wait_for_event(struct worker *w)
{
    struct world *world = w->world;
    int code = pier_cancelled();
    if (code == 0 && world->is_set)
        w->granted = true;
    else if (code == 0)
        join_line(&world->event_line, own_place(w));
    check_end(w, code, pier_event_wait(&world->event));
    leave_line(&world->event_line, w->id);
}

static void use_event(struct worker *w)
{
    struct world *world = w->world;
    int what = (int)pier_sim_between(0, 3);
    PIER_SIM_CHECK(pier_event_is_set(&world->event) == world->is_set);
    if (what == 0) {
        set_event(world);
    } else if (what == 1 && !world->is_closing) {
        world->is_set = false;
        pier_event_clear(&world->event);
    } else {
        wait_for_event(w);
    }
}

/* ---- the semaphore ---- */

static void post(struct world *world)
{
    struct line *line = &world->sem_line;
    if (line->len > 0) {
        int task = line->all[0].task;
        world->workers[task].granted = true;
        leave_line(line, task);
    } else {
        world->units++;
    }
    pier_sem_post(&world->sem);
}

static void hold_unit(struct worker *w)
{
    struct world *world = w->world;
    world->inside++;
    PIER_SIM_CHECK(world->inside <= world->most_inside);
    pass_time();
    world->inside--;
    post(world);
}

static void use_sem(struct worker *w)
{
    struct world *world = w->world;
    bool waits = pier_sim_between(0, 3) > 0;
    int code = waits ? pier_cancelled() : 0;
    if (code == 0 && world->units > 0) {
        world->units--;
        w->granted = true;
    } else if (code == 0 && waits) {
        join_line(&world->sem_line, own_place(w));
    }
    if (!waits) {
        int rc = pier_sem_trywait(&world->sem);
        PIER_SIM_CHECK(rc == (w->granted ? 0 : -EAGAIN));
        w->granted = false;
        if (rc == 0)
            hold_unit(w);
    } else if (check_end(w, code, pier_sem_wait(&world->sem))) {
        hold_unit(w);
    } else {
        leave_line(&world->sem_line, w->id);
    }
}

/* ---- channels: what the model does with one operation ---- */

/* The first of a line gets its result, and leaves every line that it is in. */
static struct place serve_first(struct world *world, struct line *line, int rc, uint32_t value)
{
    struct place first = line->all[0];
    struct worker *w = &world->workers[first.task];
    w->granted = true;
    w->index = first.index;
    w->rc = rc;
    w->value = value;
    leave_chans(world, first.task);
    return first;
}

static void grant(struct worker *w, int index, int rc, uint32_t value)
{
    w->granted = true;
    w->index = index;
    w->rc = rc;
    w->value = value;
}

static bool model_send(struct worker *w, struct model_chan *ch, int index, uint32_t value)
{
    if (ch->closed) {
        grant(w, index, -EPIPE, 0);
        return true;
    }
    if (ch->receivers.len > 0)
        serve_first(w->world, &ch->receivers, 1, value);
    else if (ch->len < (int)ch->chan.cap)
        ch->ring[ch->len++] = value;
    else
        return false;
    grant(w, index, 0, 0);
    return true;
}

static bool model_recv(struct worker *w, struct model_chan *ch, int index)
{
    bool has_sender = ch->senders.len > 0;
    if (ch->len == 0 && !has_sender) {
        if (ch->closed)
            grant(w, index, 0, 0);
        return ch->closed;
    }
    uint32_t sent = has_sender ? serve_first(w->world, &ch->senders, 0, 0).value : 0;
    if (ch->len == 0) {
        grant(w, index, 1, sent);
        return true;
    }
    grant(w, index, 1, ch->ring[0]);
    memmove(ch->ring, ch->ring + 1, (size_t)--ch->len * sizeof ch->ring[0]);
    if (has_sender)
        ch->ring[ch->len++] = sent;
    return true;
}

static void close_chan(struct world *world, struct model_chan *ch)
{
    ch->closed = true;
    while (ch->senders.len > 0)
        serve_first(world, &ch->senders, -EPIPE, 0);
    while (ch->receivers.len > 0)
        serve_first(world, &ch->receivers, 0, 0);
    pier_chan_close(&ch->chan);
}

/* ---- channels: the calls ---- */

struct call {
    struct model_chan *ch;
    struct place place;
    unsigned char elem[ELEM_MAX];
};

static void fill_elem(const struct world *world, unsigned char *elem, uint32_t value)
{
    for (size_t i = 0; i < world->elem_size; i++)
        elem[i] = (unsigned char)(value >> 8 * (i % 4));
}

static void check_elem(const struct worker *w, const unsigned char *elem)
{
    unsigned char expected[ELEM_MAX];
    fill_elem(w->world, expected, w->value);
    PIER_SIM_CHECK(memcmp(elem, expected, w->world->elem_size) == 0);
}

static void choose_call(struct worker *w, struct call *call, int index)
{
    struct world *world = w->world;
    call->ch = &world->chans[pier_sim_between(0, world->chan_count - 1)];
    call->place = (struct place){ .task = w->id,
                                  .index = index,
                                  .sends = pier_sim_between(0, 1) == 0,
                                  .value = ++world->next_value };
    memset(call->elem, 0xee, sizeof call->elem);
    if (call->place.sends)
        fill_elem(world, call->elem, call->place.value);
}

static bool model_now(struct worker *w, struct call *call)
{
    const struct place *place = &call->place;
    return place->sends ? model_send(w, call->ch, place->index, place->value)
                        : model_recv(w, call->ch, place->index);
}

static void model_wait(struct call *call)
{
    join_line(call->place.sends ? &call->ch->senders : &call->ch->receivers, call->place);
}

static void check_call(struct worker *w, const struct call *call, int code, int rc)
{
    bool done = check_end(w, code, rc);
    leave_chans(w->world, w->id);
    if (!done)
        return;
    PIER_SIM_CHECK(rc == w->rc);
    if (!call->place.sends && rc == 1)
        check_elem(w, call->elem);
}

static void use_chan(struct worker *w)
{
    struct call call;
    choose_call(w, &call, 0);
    int code = pier_cancelled();
    if (code == 0 && !model_now(w, &call))
        model_wait(&call);
    struct pier_chan *chan = &call.ch->chan;
    int rc = call.place.sends ? pier_chan_send(chan, call.elem) : pier_chan_recv(chan, call.elem);
    check_call(w, &call, code, rc);
}

static void try_chan(struct worker *w)
{
    struct call call;
    choose_call(w, &call, 0);
    bool can = model_now(w, &call);
    struct pier_chan *chan = &call.ch->chan;
    int rc = call.place.sends ? pier_chan_try_send(chan, call.elem)
                              : pier_chan_try_recv(chan, call.elem);
    if (can)
        check_call(w, &call, 0, rc);
    else
        PIER_SIM_CHECK(rc == -EAGAIN);
}

/* As check_call(), for a select, whose own deadline is a reason to end, too. */
static void check_select(struct worker *w, struct call *calls, const struct pier_select_case *cases,
                         int code, int index)
{
    if (index < 0) {
        check_end(w, code, index);
        leave_chans(w->world, w->id);
        return;
    }
    PIER_SIM_CHECK(w->granted && index == w->index);
    check_call(w, &calls[index], code, cases[index].rc);
}

static void use_select(struct worker *w)
{
    struct call calls[CASES_MAX];
    struct pier_select_case cases[CASES_MAX];
    int count = (int)pier_sim_between(1, CASES_MAX);
    int64_t before = w->deadline_ns;
    int64_t own = pier_sim_between(0, 2) ? 0 : pier_after(pier_sim_between(1, 500000));
    if (own && (!before || own < before))
        w->deadline_ns = own;
    for (int i = 0; i < count; i++) {
        choose_call(w, &calls[i], i);
        cases[i] = (struct pier_select_case){ &calls[i].ch->chan,
                                              calls[i].place.sends ? PIER_SELECT_SEND
                                                                   : PIER_SELECT_RECV,
                                              calls[i].elem, -1 };
    }
    int code = pier_cancelled();
    bool done = code < 0;
    for (int i = 0; i < count && !done; i++)
        done = model_now(w, &calls[i]);
    for (int i = 0; i < count && !done; i++)
        model_wait(&calls[i]);
    check_select(w, calls, cases, code, pier_select(cases, (size_t)count, own));
    w->deadline_ns = before;
}

static void use_chans(struct worker *w)
{
    int what = (int)pier_sim_between(0, 5);
    if (what == 0)
        try_chan(w);
    else if (what < 3)
        use_select(w);
    else
        use_chan(w);
}

/* ---- tasks ---- */

static int any_op(void *arg)
{
    static void (*const ops[])(struct worker *) = { use_mutex, use_event, use_sem, use_chans };
    struct worker *w = arg;
    int sum = 0, at = 0;
    for (int i = 0; i < KINDS; i++)
        sum += w->world->weights[i];
    int draw = (int)pier_sim_between(0, sum - 1);
    while (draw >= w->world->weights[at])
        draw -= w->world->weights[at++];
    ops[at](w);
    return 0;
}

/* Now and then inside one scope more, which is cancelled with the one around it, or before it is
 * opened. */
static int one_op(void *arg)
{
    struct worker *w = arg;
    if (pier_sim_between(0, 2))
        return any_op(w);
    struct pier_scope inner;
    pass_time();
    pier_scope_open(&inner, 0);
    if (pier_sim_between(0, 1))
        any_op(w);
    else
        pier_spawn(&inner, any_op, w);
    int rc = pier_scope_join(&inner);
    PIER_SIM_CHECK(rc == 0 || must_end_ns(w)); /* nothing is spawned in a cancelled scope */
    return 0;
}

/* In a scope that others may cancel, or that has a deadline; as a task of its own, or not. */
static void scoped_op(struct worker *w)
{
    struct pier_scope scope;
    bool has_deadline = pier_sim_between(0, 1) == 0;
    w->deadline_ns = has_deadline ? pier_after(pier_sim_between(0, 400) * 1000 + 1) : 0;
    pier_scope_open(&scope, w->deadline_ns);
    w->victim = &scope;
    int rc = pier_sim_between(0, 2) ? one_op(w) : pier_spawn(&scope, one_op, w);
    PIER_SIM_CHECK(rc == 0 || w->deadline_ns || rc == -ENOMEM);
    rc = pier_scope_join(&scope);
    PIER_SIM_CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -ENOMEM);
    w->victim = NULL;
    w->cancelled_ns = 0;
    w->deadline_ns = 0;
}

static int work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < w->ops; i++) {
        if (pier_sim_between(0, 1))
            one_op(w);
        else
            scoped_op(w);
        if (pier_sim_between(0, 2) == 0)
            pier_sleep(moment());
    }
    return 0;
}

/* Cancels now this one, now that one; not for ever, or nothing would ever look stuck. */
static int cancel_others(void *arg)
{
    struct world *world = arg;
    for (int i = 0; i < CANCELS_MAX; i++) {
        if (pier_sleep(pier_sim_between(1, 300) * PIER_MICROSECOND) < 0)
            break;
        struct worker *w = &world->workers[pier_sim_between(0, world->task_count - 1)];
        if (!w->victim)
            continue;
        if (!w->cancelled_ns)
            w->cancelled_ns = pier_now();
        pier_scope_cancel(w->victim);
    }
    return 0;
}

/* Ends what would wait for ever: units come back, the event stays set, the channels are closed. */
static int end_waits(void *arg)
{
    struct world *world = arg;
    pier_sleep(pier_sim_between(0, 20) * PIER_MILLISECOND);
    for (int i = 0; i < world->chan_count; i++) {
        close_chan(world, &world->chans[i]);
        pier_sleep(moment());
    }
    world->is_closing = true;
    set_event(world);
    world->most_inside++;
    post(world); /* there may have been none at all */
    return 0;
}

/* ---- the whole ---- */

static int init(struct world *world)
{
    static const size_t sizes[] = { 4, 8, 16, 24, 7 };
    int flags = pier_sim_between(0, 1) ? PIER_LOCAL : 0;
    int rc = 0;
    world->holder = -1;
    world->units = world->most_inside = (int)pier_sim_between(0, 3);
    world->elem_size = sizes[pier_sim_between(0, 4)];
    world->task_count = (int)pier_sim_amount(2, TASKS_MAX);
    world->chan_count = (int)pier_sim_between(1, CHANS_MAX);
    pier_mutex_init(&world->mutex, flags);
    pier_event_init(&world->event, flags);
    pier_sem_init(&world->sem, (uint32_t)world->units, flags);
    for (int i = 0; i < world->chan_count && rc == 0; i++) {
        size_t cap = pier_sim_between(0, 2) ? (size_t)pier_sim_between(0, RING_MAX) : 0;
        rc = pier_chan_init(&world->chans[i].chan, world->elem_size, cap, flags);
    }
    for (int i = 0; i < KINDS; i++)
        world->weights[i] = (int)pier_sim_between(1, 4);
    if (pier_sim_between(0, 1)) /* one of them above all */
        world->weights[pier_sim_between(0, KINDS - 1)] += 30;
    return rc;
}

static void check_and_free(struct world *world)
{
    PIER_SIM_CHECK(world->holder == -1 && pier_mutex_trylock(&world->mutex) == 0);
    PIER_SIM_CHECK(world->units == world->most_inside && world->inside == 0);
    for (int i = 0; i < world->units; i++)
        PIER_SIM_CHECK(pier_sem_trywait(&world->sem) == 0);
    PIER_SIM_CHECK(pier_sem_trywait(&world->sem) == -EAGAIN);
    for (int i = 0; i < world->chan_count; i++) {
        struct model_chan *ch = &world->chans[i];
        unsigned char elem[ELEM_MAX];
        while (ch->len > 0 && PIER_SIM_CHECK(pier_chan_try_recv(&ch->chan, elem) == 1)) {
            model_recv(&world->workers[0], ch, 0);
            check_elem(&world->workers[0], elem);
        }
        PIER_SIM_CHECK(pier_chan_try_recv(&ch->chan, elem) == 0);
        pier_chan_fini(&ch->chan);
    }
    pier_mutex_fini(&world->mutex);
    pier_event_fini(&world->event);
    pier_sem_fini(&world->sem);
}

static int run_tasks(struct world *world)
{
    struct pier_scope scope, others;
    pier_scope_open(&others, 0);
    pier_scope_open(&scope, 0);
    if (pier_sim_between(0, 2))
        pier_spawn(&others, cancel_others, world);
    pier_spawn(&scope, end_waits, world);
    for (int i = 0; i < world->task_count; i++) {
        struct worker *w = &world->workers[i];
        w->world = world;
        w->id = i;
        w->ops = (int)pier_sim_amount(1, OPS_MAX);
        pier_spawn(&scope, work, w);
    }
    int rc = pier_scope_join(&scope);
    pier_scope_cancel(&others);
    int rest = pier_scope_join(&others);
    return rc < 0 ? rc : rest;
}

static int run(void *arg)
{
    struct world world = { 0 };
    int rc = init(&world);
    if (rc < 0)
        return rc;
    rc = run_tasks(&world);
    check_and_free(&world);
    return rc;
}

const struct scenario sync_scenario = {
    .name = "sync",
    .summary = "mutex, event, semaphore, channels and select under cancellation",
    .run = run,
    .opts = { .time_limit_ns = PIER_MINUTE },
};
