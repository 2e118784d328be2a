/*
 * Children: by blocking calls in several threads, and many at once in a loop. What each did is known beforehand, so every
 * status and every byte is checked.
 */
#include "soak.h"

#include <fcntl.h>

enum { THREADS = 3, CALLS_A_ROUND = 60, LOOP_A_ROUND = 300, AT_ONCE = 40, FLOOD = 300000, MOST_ECHO = 100000 };

/* ---- what the children do ---- */

static int echo(void)
{
    static char buffer[65536];
    ssize_t got;

    while ((got = read(0, buffer, sizeof buffer)) > 0) {
        for (ssize_t put = 0, at = 0; at < got; at += put) {
            put = write(1, buffer + at, (size_t)(got - at));
            if (put < 0) {
                return 1;
            }
        }
    }
    return got < 0;
}

static int flood(size_t size)
{
    static unsigned char buffer[FLOOD];

    for (size_t i = 0; i < size && i < FLOOD; i++) {
        buffer[i] = pattern_at(0, i);
    }
    for (size_t at = 0; at < size;) {
        ssize_t put = write(1, buffer + at, size - at);

        if (put <= 0) {
            return 1;
        }
        at += (size_t)put;
    }
    return 0;
}

int child_main(const char *verb, const char *argument)
{
    if (strcmp(verb, "exit") == 0) {
        return atoi(argument);
    }
    if (strcmp(verb, "echo") == 0) {
        return echo();
    }
    if (strcmp(verb, "flood") == 0) {
        return flood((size_t)atol(argument));
    }
    if (strcmp(verb, "stubborn") == 0) {
        (void)signal(SIGTERM, SIG_IGN);
    }
    if (strcmp(verb, "stubborn") == 0 || strcmp(verb, "hang") == 0) {
        for (;;) {
            (void)pause();
        }
    }
    if (strcmp(verb, "worker") == 0) {
        proc_channel *parent;
        int err = proc_channel_parent(&parent, &(const proc_channel_options){.max_fds = 4});
        int code = err < 0 ? 99 : worker(parent, NULL);

        if (err == 0) {
            proc_channel_free(parent);
        }
        return code;
    }
    return 98;
}

/* ---- by calls ---- */

static bool is_pattern(uint64_t seed, const char *data, size_t offset, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)data[i] != pattern_at(seed, offset + i)) {
            return false;
        }
    }
    return true;
}

static void check_exit(const char *what, int err, const proc_status *status, int code)
{
    EXPECT(err == 0 && status->state == PROC_EXITED && status->code == code,
           "%s: error %d, state %d, code %d, signal %d instead of exit %d", what, err, (int)status->state, status->code,
           status->signal, code);
}

static void run_short(chance *c)
{
    proc_result result;
    char code[8];
    int wanted = (int)chance_below(c, 64);

    (void)snprintf(code, sizeof code, "%d", wanted);
    int err = proc_execfile(&result, soak_argv("exit", code), NULL);
    check_exit("short", err, &result.status, wanted);
    proc_result_clear(&result);
    ADD(children, 1);
}

static void run_shell(chance *c)
{
    proc_result result;
    char command[32];
    int wanted = (int)chance_below(c, 64);

    (void)snprintf(command, sizeof command, "echo x; exit %d", wanted);
    int err = proc_exec(&result, command, NULL);
    check_exit("shell", err, &result.status, wanted);
    EXPECT(err < 0 || (result.out_size == 2 && result.out[0] == 'x'), "shell: said something else");
    proc_result_clear(&result);
    ADD(children, 1);
}

static void run_echo(chance *c)
{
    static _Thread_local unsigned char input[MOST_ECHO];
    size_t size = chance_below(c, chance_below(c, 4) == 0 ? MOST_ECHO : 500);
    uint64_t seed = chance_below(c, 1000);
    proc_result result;

    for (size_t i = 0; i < size; i++) {
        input[i] = pattern_at(seed, i);
    }
    int err =
        proc_execfile(&result, soak_argv("echo", NULL), &(const proc_options){.input = input, .input_size = size});
    check_exit("echo", err, &result.status, 0);
    EXPECT(err < 0 || (result.out_size == size && is_pattern(seed, result.out, 0, size)), "echo: other bytes");
    proc_result_clear(&result);
    ADD(children, 1);
}

static proc_child *start(const char *verb, const proc_options *options)
{
    proc_child *child;
    int err = proc_spawn(&child, soak_argv(verb, NULL), options);

    if (err < 0) {
        give_up("spawn %s: %s", verb, proc_strerror(err));
    }
    ADD(children, 1);
    return child;
}

static void run_steps(chance *c)
{
    proc_child *child = start("echo", &(const proc_options){.in.kind = PROC_PIPE, .out.kind = PROC_PIPE});
    proc_status status;
    size_t sent = 0, got = 0;
    char buffer[1000];

    for (unsigned steps = 1 + chance_below(c, 5); steps > 0; steps--) {
        size_t size = 1 + chance_below(c, sizeof buffer);

        for (size_t i = 0; i < size; i++) {
            buffer[i] = (char)pattern_at(7, sent + i);
        }
        EXPECT(proc_child_write(child, buffer, size, IN_TIME) == (ssize_t)size, "steps: not all was written");
        sent += size;
        while (got < sent) {
            ssize_t more = proc_child_read(child, 1, buffer, sizeof buffer, IN_TIME);

            if (more <= 0) {
                give_up("steps: read says %zd", more);
            }
            EXPECT(is_pattern(7, buffer, got, (size_t)more), "steps: other bytes");
            got += (size_t)more;
        }
    }
    EXPECT(proc_child_close(child, 0) == 0, "steps: close");
    EXPECT(proc_child_read(child, 1, buffer, sizeof buffer, IN_TIME) == 0, "steps: no end");
    check_exit("steps", proc_child_wait(child, IN_TIME, &status), &status, 0);
    proc_child_free(child);
}

static void run_too_long(chance *c)
{
    const proc_options options = {.timeout_ms = 1 + (int)chance_below(c, 20), .grace_ms = 1 + (int)chance_below(c, 50)};
    proc_result result;
    int err = proc_execfile(&result, soak_argv(chance_below(c, 2) == 0 ? "hang" : "stubborn", NULL), &options);

    EXPECT(err == -ETIMEDOUT && result.status.timed_out && result.status.state == PROC_SIGNALED,
           "too long: error %d, state %d", err, (int)result.status.state);
    proc_result_clear(&result);
    ADD(children, 1);
    ADD(timed_out, 1);
}

static void run_killed(chance *c)
{
    static const int signals[] = {SIGKILL, SIGTERM, SIGUSR1, SIGHUP};
    int wanted = signals[chance_below(c, 4)];
    bool halted = chance_below(c, 4) == 0;
    proc_group group = chance_below(c, 2) == 0 ? PROC_GROUP_OWN : PROC_GROUP_SHARED;
    proc_child *child = start("hang", &(const proc_options){.group = group});
    proc_status status;

    if (halted) {
        EXPECT(proc_child_kill(child, SIGSTOP) == 0, "killed: SIGSTOP");
    }
    EXPECT(proc_child_kill(child, wanted) == 0, "killed: signal %d", wanted);
    if (halted) {
        (void)proc_child_kill(child, SIGCONT); /* -ESRCH or 0: it may be gone */
    }
    int err = proc_child_wait(child, IN_TIME, &status);
    EXPECT(err == 0 && status.state == PROC_SIGNALED && status.signal == wanted, "killed: error %d, signal %d, not %d",
           err, status.signal, wanted);
    EXPECT(proc_child_kill(child, 0) == -ESRCH, "killed: still there");
    proc_child_free(child);
    ADD(killed, 1);
}

static void run_stopped(chance *c)
{
    proc_child *child =
        start(chance_below(c, 2) == 0 ? "stubborn" : "hang", &(const proc_options){.group = PROC_GROUP_OWN});
    proc_status status;

    if (chance_below(c, 3) == 0) {
        EXPECT(proc_child_kill(child, SIGSTOP) == 0, "stopped: SIGSTOP");
    }
    int err = proc_child_stop(child, (int)chance_below(c, 30), &status);
    EXPECT(err == 0 && status.state == PROC_SIGNALED && (status.signal == SIGTERM || status.signal == SIGKILL),
           "stopped: error %d, signal %d", err, status.signal);
    proc_child_free(child);
    ADD(stopped, 1);
}

static void run_dropped(chance *c)
{
    const proc_options options = {
        .in.kind = PROC_PIPE, .out.kind = chance_below(c, 2) == 0 ? PROC_PIPE : PROC_NULL, .group = PROC_GROUP_OWN};

    proc_child_free(start(chance_below(c, 2) == 0 ? "hang" : "echo", &options));
    ADD(killed, 1);
}

static void run_flood(chance *c)
{
    proc_options options = {.max_buffer = 10000, .overflow = (proc_overflow)chance_below(c, 3), .grace_ms = 100};
    char size[16];
    proc_result result;

    (void)snprintf(size, sizeof size, "%d", FLOOD);
    int err = proc_execfile(&result, soak_argv("flood", size), &options);
    size_t offset = options.overflow == PROC_OVERFLOW_TAIL ? FLOOD - 10000 : 0;
    EXPECT(err == (options.overflow == PROC_OVERFLOW_KILL ? -ENOBUFS : 0), "flood: error %d", err);
    EXPECT(result.out != NULL && result.out_size == 10000 && is_pattern(0, result.out, offset, 10000),
           "flood: other bytes");
    proc_result_clear(&result);
    ADD(children, 1);
}

static void run_missing(chance *c)
{
    proc_child *child;

    (void)c;
    EXPECT(proc_spawn(&child, (const char *const[]){"/no/such/program", NULL}, NULL) == -ENOENT, "missing: it started");
}

static void run_cancelled(chance *c)
{
    int ends[2];
    proc_result result;

    if (pipe2(ends, O_CLOEXEC) < 0 || write(ends[1], "", 1) != 1) {
        give_up("pipe: %s", strerror(errno));
    }
    const proc_options options = {.cancel_fd = ends[0], .grace_ms = 1 + (int)chance_below(c, 20)};
    EXPECT(proc_execfile(&result, soak_argv("hang", NULL), &options) == -ECANCELED, "cancelled: it was not");
    proc_result_clear(&result);
    close(ends[0]);
    close(ends[1]);
    ADD(children, 1);
}

typedef struct scenario {
    unsigned weight;
    void (*run)(chance *c);
} scenario;

static const scenario scenarios[] = {
    {40, run_short},  {3, run_shell},   {14, run_echo}, {8, run_steps},   {4, run_too_long},  {10, run_killed},
    {5, run_stopped}, {7, run_dropped}, {4, run_flood}, {2, run_missing}, {3, run_cancelled},
};

typedef struct caller {
    pthread_t thread;
    chance c;
} caller;

static void *call_many(void *arg)
{
    caller *k = arg;

    for (int i = 0; i < CALLS_A_ROUND; i++) {
        unsigned at = chance_below(&k->c, 100);
        const scenario *s = scenarios;

        while (at >= s->weight) {
            at -= s->weight;
            s++;
        }
        s->run(&k->c);
    }
    return NULL;
}

int children_by_calls(unsigned number, uint64_t share)
{
    picture p = {.looks = 0};

    for (uint64_t done = 0, round = 0; done < share; done += THREADS * CALLS_A_ROUND, round++) {
        caller callers[THREADS];

        for (unsigned i = 0; i < THREADS; i++) {
            callers[i].c = chance_of(number, i, round);
            if (pthread_create(&callers[i].thread, NULL, call_many, &callers[i]) != 0) {
                give_up("no thread");
            }
        }
        for (unsigned i = 0; i < THREADS; i++) {
            (void)pthread_join(callers[i].thread, NULL);
        }
        picture_look(&p, "children by calls", false);
    }
    return 0;
}

/* ---- in a loop ---- */

typedef struct crowd {
    proc_loop *loop;
    chance c;
    unsigned started, running;
} crowd;

typedef struct one { /* a child of the crowd */
    crowd *all;
    proc_child *child;
    int code, signal; /* what its end will be; signal: perhaps */
    size_t sent, got;
    int timer;
    bool exited;
} one;

static void start_more(crowd *all);

static void end_one(one *k)
{
    crowd *all = k->all;

    proc_child_free(k->child);
    free(k);
    all->running--;
    start_more(all);
}

static void on_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    one *k = ctx;

    (void)child;
    EXPECT(!k->exited || size == 0, "in a loop: output of stream %d after the end", stream);
    EXPECT(is_pattern(3, data, k->got, size), "in a loop: other bytes");
    k->got += size;
}

static void on_exit_of(proc_child *child, const proc_status *status, void *ctx)
{
    one *k = ctx;

    (void)child;
    EXPECT(!k->exited, "in a loop: a second end");
    k->exited = true;
    if (status->state == PROC_SIGNALED) {
        EXPECT(status->signal == k->signal || status->signal == SIGKILL, "in a loop: killed by %d", status->signal);
        EXPECT(k->signal != 0, "in a loop: nobody has killed it");
    } else {
        EXPECT(status->state == PROC_EXITED && status->code == k->code, "in a loop: code %d, not %d", status->code,
               k->code);
        EXPECT(k->got == k->sent || k->signal != 0, "in a loop: %zu bytes, not %zu", k->got, k->sent);
    }
}

static void on_close(proc_child *child, const proc_status *status, void *ctx)
{
    one *k = ctx;

    (void)child;
    (void)status;
    EXPECT(k->exited, "in a loop: closed before its end");
    if (k->timer > 0) {
        (void)proc_loop_remove_timer(k->all->loop, k->timer);
    }
    end_one(k);
}

static void on_kill(void *ctx)
{
    one *k = ctx;

    k->timer = 0;
    if (!k->exited) {
        int err = proc_child_kill(k->child, k->signal);

        EXPECT(err == 0 || err == -ESRCH, "in a loop: kill says %d", err);
        ADD(killed, 1);
    }
}

static void start_piped(crowd *all)
{
    static const proc_handlers handlers = {.on_output = on_output, .on_exit = on_exit_of, .on_close = on_close};
    static char data[20000];
    bool killed = chance_below(&all->c, 3) == 0;
    one *k = calloc(1, sizeof *k);

    if (k == NULL) {
        give_up("out of memory");
    }
    k->all = all;
    k->child = start(killed && chance_below(&all->c, 2) == 0 ? "hang" : "echo",
                     &(const proc_options){.in.kind = PROC_PIPE, .out.kind = PROC_PIPE});
    k->sent = chance_below(&all->c, sizeof data);
    for (size_t i = 0; i < k->sent; i++) {
        data[i] = (char)pattern_at(3, i);
    }
    if (proc_loop_add_child(all->loop, k->child, &handlers, k) < 0 ||
        proc_loop_write(all->loop, k->child, data, k->sent, true) < 0) {
        give_up("in a loop: cannot add or write");
    }
    if (killed) {
        k->signal = chance_below(&all->c, 2) == 0 ? SIGKILL : SIGTERM;
        k->timer = proc_loop_add_timer(all->loop, (int)chance_below(&all->c, 30), 0, on_kill, k);
    }
    all->running++;
}

static void on_result(int err, proc_result *result, void *ctx)
{
    one *k = ctx;

    if (k->signal != 0) {
        EXPECT(err == -ETIMEDOUT && result->status.timed_out, "in a loop: error %d, not timed out", err);
        ADD(timed_out, 1);
    } else {
        check_exit("in a loop", err, &result->status, k->code);
    }
    end_one(k);
}

static void start_exec(crowd *all)
{
    bool hangs = chance_below(&all->c, 8) == 0;
    proc_options options = {.timeout_ms = hangs ? 1 + (int)chance_below(&all->c, 30) : 0, .grace_ms = 20};
    one *k = calloc(1, sizeof *k);
    char code[8];

    if (k == NULL) {
        give_up("out of memory");
    }
    k->all = all;
    k->code = (int)chance_below(&all->c, 64);
    k->signal = hangs ? SIGTERM : 0;
    (void)snprintf(code, sizeof code, "%d", k->code);
    int err = proc_loop_execfile(all->loop, soak_argv(hangs ? "stubborn" : "exit", code), &options, on_result, k);
    if (err < 0) {
        give_up("in a loop: exec says %s", proc_strerror(err));
    }
    ADD(children, 1);
    all->running++;
}

static void start_more(crowd *all)
{
    while (all->running < AT_ONCE && all->started < LOOP_A_ROUND) {
        all->started++;
        if (chance_below(&all->c, 3) == 0) {
            start_piped(all);
        } else {
            start_exec(all);
        }
    }
}

int children_in_loop(unsigned number, uint64_t share)
{
    picture p = {.looks = 0};

    for (uint64_t done = 0, round = 0; done < share; done += LOOP_A_ROUND, round++) {
        crowd all = {.c = chance_of(number, 0, round)};

        if (proc_loop_new(&all.loop) < 0) {
            give_up("no loop");
        }
        start_more(&all);
        int err = proc_loop_run(all.loop, IN_TIME);
        EXPECT(err == 0 && all.running == 0, "in a loop: run says %d, %u are left", err, all.running);
        proc_loop_free(all.loop);
        picture_look(&p, "children in a loop", false);
    }
    return 0;
}
