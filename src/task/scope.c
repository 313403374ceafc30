/* SPDX-License-Identifier: MIT */
/*
 * task/scope.c - scopes: who owns which task, who is cancelled, and which failure counts.
 *
 * A task's open scopes form a chain from its innermost one up through its home scope to the root's.
 * Cancelling a scope marks every scope below it that no shield separates, so that a wait checks one
 * flag; opening a scope inherits the flag and the nearest deadline.
 */
#include "task/task.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

static void open_scope(struct pier_scope *s, int64_t deadline_ns, const char *file, int line,
                       bool shielded)
{
    struct pi_task *self = pi_task_self();
    struct pier_scope *parent = self->scope;
    *s = (struct pier_scope){
        .parent = parent,
        .owner = self,
        .file = file,
        .line = line,
        .deadline_ns = deadline_ns,
        .nearest_ns = deadline_ns,
        .is_open = true,
        .shielded = shielded,
    };
    if (parent && !shielded) {
        s->cancelled = parent->cancelled;
        s->nearest_ns = pi_deadline(self, deadline_ns);
    }
    self->scope = s;
}

void pier_scope_open_at(struct pier_scope *scope, int64_t deadline_ns, const char *file, int line)
{
    open_scope(scope, deadline_ns, file, line, false);
}

void pier_shield_at(struct pier_scope *scope, int64_t deadline_ns, const char *file, int line)
{
    PIER_ASSERT(deadline_ns != 0);
    open_scope(scope, deadline_ns, file, line, true);
}

/* The nearest scope that is cancelled itself, or whose own deadline has passed, decides. */
int pi_cancel_code(struct pi_task *self)
{
    struct pier_scope *s = self->scope;
    int64_t now = pi_coarse_now(self);
    if (!s->cancelled && s->nearest_ns > now)
        return 0;
    for (; s; s = s->parent) {
        if (s->deadline_ns && s->deadline_ns <= now)
            return -ETIMEDOUT;
        if (s->cancel_here)
            return -ECANCELED;
        if (s->shielded)
            break;
    }
    return -ECANCELED;
}

/* In a long computation the loop's clock stands still and messages wait: both are looked at here.
 */
int pier_cancelled(void)
{
    struct pi_task *self = pi_task_self();
    struct pi_loop *loop = self->thread->loop;
    if (loop && self->scope && self->scope->nearest_ns)
        loop->now_ns = pi_clock_ns();
    pi_thread_drain(self->thread);
    return pi_cancel_flag(self);
}

static bool reaches(const struct pier_scope *from, const struct pier_scope *to)
{
    for (; to != from; to = to->parent)
        if (to->shielded)
            return false;
    return true;
}

/* Marks what t opened inside outer, as far as no shield is between, puts it on the list, and wakes
 * t. */
static void cancel_task(struct pi_task *t, struct pier_scope *outer, struct pier_scope **list)
{
    for (struct pier_scope *s = t->scope; s != outer; s = s->parent) {
        if (s->cancelled || !reaches(outer, s))
            continue;
        s->cancelled = true;
        s->next_cancelled = *list;
        *list = s;
    }
    if (t->cancellable && reaches(outer, t->scope))
        pi_ready(t, -ECANCELED);
}

/* By a list, not by recursion: tasks may be nested as deep as memory allows. */
void pier_scope_cancel(struct pier_scope *scope)
{
    if (!scope || !scope->is_open)
        return;
    PIER_ASSERT(scope->owner->thread == pi_task_self()->thread);
    scope->cancel_here = true;
    if (scope->cancelled)
        return;
    scope->cancelled = true;
    scope->next_cancelled = NULL;
    struct pier_scope *list = scope;
    while (list) {
        struct pier_scope *s = list;
        list = s->next_cancelled;
        cancel_task(s->owner, s, &list);
        for (struct pi_task *child = s->first_child; child; child = child->next)
            cancel_task(child, s, &list);
    }
}

static void run_remote_cancel(struct pi_msg *msg)
{
    struct pier_scope *scope = PI_CONTAINER_OF(msg, struct pier_scope, msg);
    __atomic_store_n(&scope->posted, 0, __ATOMIC_RELEASE);
    pier_scope_cancel(scope);
}

void pier_scope_cancel_remote(struct pier_scope *scope)
{
    if (!scope || __atomic_exchange_n(&scope->posted, 1, __ATOMIC_ACQ_REL))
        return;
    scope->msg.run = run_remote_cancel;
    pi_thread_post(scope->owner->thread, &scope->msg);
}

/* A message that is on its way to this scope must arrive while it is there. */
static void await_remote_cancel(struct pier_scope *scope, struct pi_task *self)
{
    while (__atomic_load_n(&scope->posted, __ATOMIC_ACQUIRE))
        if (!pi_thread_drain(self->thread))
            pi_pass(self);
}

/* The first failure counts; its words go with it. */
static void record_failure(struct pier_scope *scope, int rc, struct pi_err *err)
{
    if (scope->rc < 0)
        return;
    scope->rc = rc;
    if (err->code == rc) {
        scope->error_text = err->text;
        scope->error_kind = err->kind;
        *err = (struct pi_err){ 0 };
    }
    pier_scope_cancel(scope);
}

static void remove_child(struct pier_scope *scope, struct pi_task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        scope->first_child = t->next;
    if (t->next)
        t->next->prev = t->prev;
    if (!scope->first_child && scope->joining)
        pi_ready(scope->owner, 0);
}

static void abort_open_scope(const struct pi_task *t, const struct pier_scope *s)
{
    fprintf(stderr, "pier: task \"%s\" ended with the scope of %s:%d open\n", t->name, s->file,
            s->line);
    abort();
}

static struct pi_context *task_main(void *arg)
{
    struct pi_task *self = arg;
    pi_switch_entered(&self->context);
    int rc = self->fn(self->arg);
    struct pier_scope *home = self->home;
    if (self->scope != home)
        abort_open_scope(self, self->scope);
    if (rc < 0)
        record_failure(home, rc, &self->err);
    remove_child(home, self);
    if (self->err.text)
        pi_err_fini(&self->err);
    return pi_loop_exit_task(self->thread->loop, self);
}

/* The words stay with the caller, too. */
static void record_spawn_failure(struct pier_scope *scope, int rc)
{
    const struct pi_err *err = &pi_task_self()->err;
    struct pi_err copy = { rc, err->kind, err->text ? pi_strdup(err->text) : NULL };
    record_failure(scope, rc, &copy);
    pi_err_fini(&copy);
}

/* The record at the top of its stack, below it the copied argument, below that the first frame. */
static struct pi_task *make_task(struct pi_loop *loop, const void *data, size_t len)
{
    if (pi_timer_reserve(&loop->timers) < 0) {
        pi_fail(-ENOMEM, "spawn: timers");
        return NULL;
    }
    char *top = pi_stack_get(&loop->stacks);
    if (!top) {
        pi_timer_unreserve(&loop->timers);
        return NULL;
    }
    struct pi_task *t = (struct pi_task *)(void *)top - 1;
    /* Not name_buf, which is written before it is read. */
    memset(t, 0, offsetof(struct pi_task, name_buf));
    char *frame = (char *)t;
    if (data) {
        frame = (char *)((uintptr_t)(frame - len) & ~(uintptr_t)15);
        memcpy(frame, data, len);
        t->arg = frame;
    }
    pi_context_init(&t->context, pi_stack_bottom(top), frame, task_main, t);
    return t;
}

static int spawn(struct pier_scope *scope, const char *name, pier_task_fn fn, void *arg,
                 const void *data, size_t len)
{
    struct pi_task *self = pi_task_self();
    PIER_ASSERT(scope->is_open && scope->owner->thread == self->thread);
    if (scope->cancelled || scope->nearest_ns) {
        struct pier_scope *inner = self->scope;
        self->scope = scope;
        int code = pi_cancel_code(self);
        self->scope = inner;
        if (code < 0)
            return pi_fail(code, "spawn");
    }
    struct pi_loop *loop = pi_loop_need(scope);
    struct pi_task *t = loop ? make_task(loop, data, len) : NULL;
    if (!t)
        return self->err.code;
    t->thread = self->thread;
    t->place = scope->owner->place;
    t->scope = t->home = scope;
    t->fn = fn;
    if (!data)
        t->arg = arg;
    t->name = name;
    t->born_ns = loop->now_ns;
    t->next = scope->first_child;
    if (t->next)
        t->next->prev = t;
    scope->first_child = t;
    loop->tasks++;
    pi_task_start(loop, t);
    return 0;
}

int pier_spawn_named(struct pier_scope *scope, const char *name, pier_task_fn fn, void *arg)
{
    int rc = spawn(scope, name, fn, arg, NULL, 0);
    if (rc < 0)
        record_spawn_failure(scope, rc);
    return rc;
}

int pi_spawn_copy(struct pier_scope *scope, const char *name, pier_task_fn fn, const void *data,
                  size_t len)
{
    PIER_ASSERT(len <= 256);
    return spawn(scope, name, fn, NULL, data, len);
}

int pier_scope_join(struct pier_scope *scope)
{
    struct pi_task *self = pi_task_self();
    if (!scope->is_open)
        return -EINVAL;
    PIER_ASSERT(scope->owner == self);
    if (self->scope != scope)
        abort_open_scope(self, self->scope);
    while (scope->first_child) {
        scope->joining = true;
        self->waits_for = "join";
        pi_park(self, 0, false);
        scope->joining = false;
    }
    await_remote_cancel(scope, self);
    self->scope = scope->parent;
    scope->is_open = false;
    if (scope->rc < 0 && scope->error_kind)
        pi_err_move(&self->err,
                    &(struct pi_err){ scope->rc, scope->error_kind, scope->error_text });
    else if (scope->rc < 0)
        pi_fail_text(scope->rc, "%s", pier_strerror(scope->rc));
    scope->error_text = NULL;
    pi_loop_scope_ended(scope);
    return scope->rc;
}

void pier_scope_cleanup(struct pier_scope *scope)
{
    if (!scope->is_open)
        return;
    /* The words of the failure that the block is left with stay its caller's to see. */
    struct pi_task *self = pi_task_self();
    struct pi_err kept = self->err;
    self->err = (struct pi_err){ 0 };
    pier_scope_cancel(scope);
    pier_scope_join(scope);
    pi_err_move(&self->err, &kept);
}
