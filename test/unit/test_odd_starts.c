/* wrap: clone mmap mmap64 mprotect */
/*
 * Starts where something is missing or in the way: memory for the child's stack, memory that is really shared, room for
 * arguments, pages for pipes, processes of a user; a program that comes and goes; a child that is stopped before it runs it.
 * All of them in copies of this process, which itself starts none: a first start is not like the next ones.
 */
#include "lifeline.h"

#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "filter.h"

enum { A_USER = 54321 }; /* whom no other program here is */

/* ---- what the library asks of the system ---- */

static int failing_mmap, failing_mprotect, stacks;
static bool memory_is_copied;

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_mprotect(void *at, size_t size, int protection);
int __wrap_mprotect(void *at, size_t size, int protection);
int __real_clone(int (*function)(void *), void *stack, int flags, void *arg, ...);
int __wrap_clone(int (*function)(void *), void *stack, int flags, void *arg, pid_t *parent_tid, void *tls, pid_t *tid);

static bool may_map(int flags)
{
    bool fails = failing_mmap != 0 && (flags & MAP_STACK) != 0;

    stacks += (flags & MAP_STACK) != 0;
    errno = fails ? failing_mmap : errno;
    return !fails;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return may_map(flags) ? __real_mmap(at, size, protection, flags, fd, offset) : MAP_FAILED;
}

/* What the other one is called where files may be large. */
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return may_map(flags) ? __real_mmap(at, size, protection, flags, fd, offset) : MAP_FAILED;
}

int __wrap_mprotect(void *at, size_t size, int protection)
{
    if (failing_mprotect != 0) {
        errno = failing_mprotect;
        return -1;
    }
    return __real_mprotect(at, size, protection);
}

/* As emulators and checkers do: the child gets a copy. */
int __wrap_clone(int (*function)(void *), void *stack, int flags, void *arg, pid_t *parent_tid, void *tls, pid_t *tid)
{
    flags = memory_is_copied ? flags & ~CLONE_VM : flags;
    return __real_clone(function, stack, flags, arg, parent_tid, tls, tid);
}

/* ---- memory ---- */

static void start_without_memory_for_a_stack(void *arg)
{
    int *failing = arg;
    picture *before = picture_take();

    *failing = ENOMEM;
    outcome refused = run_child(KID("out", "ran"), OPTIONS(.in.kind = PROC_PIPE));
    *failing = 0;
    outcome later = run_child(KID("out", "ran"), OPTIONS(.in.kind = PROC_NULL));

    assert_ended(later, 0);
    if (stacks > 0) {
        assert_refused(refused, -ENOMEM, PROC_STEP_LAUNCH, kid_path());
    } else {
        assert_ended(refused, 0); /* a launcher that needs none */
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(picture_compare(before), 0);
}

static void without_memory_for_a_stack_nothing_starts(void **state)
{
    (void)state;

    in_copy(start_without_memory_for_a_stack, &failing_mmap);
    in_copy(start_without_memory_for_a_stack, &failing_mprotect);
}

static void start_with_a_copy_of_the_memory(void *arg)
{
    picture *before = picture_take();

    (void)arg;
    memory_is_copied = true;
    for (int round = 0; round < 3; round++) {
        outcome ran = run_child(KID("out", "ran", "exit", "3"), NULL);
        outcome missing = run_child(ARGV("/nonexistent/program"), OPTIONS(.in.kind = PROC_PIPE));
        outcome nowhere = run_child(KID("out", "ran"), OPTIONS(.cwd = "/nonexistent"));

        assert_ended(ran, 3);
        assert_string_equal(ran.out, "ran");
        assert_refused(missing, -ENOENT, PROC_STEP_EXEC, "/nonexistent/program");
        assert_refused(nowhere, -ENOENT, PROC_STEP_CHDIR, "/nonexistent");
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(picture_compare(before), 0);
}

static void a_child_that_does_not_share_memory_is_told_of_all_the_same(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND(); /* it does that by itself: every other test shows this there */

    in_copy(start_with_a_copy_of_the_memory, NULL);
}

/* ---- arguments ---- */

static void arguments_or_environment_too_long_in_all_are_refused(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    enum { MANY = 100 };
    const char *long_one = text("A=%0100000d", 0); /* each of them may be */
    const char *argv[MANY + 2] = {kid_path()}, *env[MANY + 1];

    for (int i = 0; i < MANY; i++) {
        argv[i + 1] = long_one;
        env[i] = text("N%d%s", i, long_one);
    }
    argv[MANY + 1] = env[MANY] = NULL;
    outcome arguments = run_child(argv, OPTIONS(.in.kind = PROC_PIPE));
    outcome environment = run_child(KID("out", "ran"), OPTIONS(.env = env));

    assert_refused(arguments, -E2BIG, PROC_STEP_EXEC, kid_path());
    assert_refused(environment, -E2BIG, PROC_STEP_EXEC, kid_path());
}

/* ---- pipes of a page or two ---- */

static void become_a_user(void)
{
    (void)setgroups(0, NULL);
    assert_int_equal(setgid(A_USER), 0);
    assert_int_equal(setuid(A_USER), 0);
}

/* Linux gives a user so many pages; then pipes are as small as can be. */
static void run_with_small_pipes(void *arg)
{
    enum { SIZE = 300000, MOST = 400 };
    int ends[2];
    proc_result result;
    char *data = pattern_text(0, SIZE);

    (void)arg;
    become_a_user();
    for (int i = 0;; i++) {
        make_pipe(ends);
        if (fcntl(ends[1], F_GETPIPE_SZ) <= 8192) {
            break;
        }
        if (i == MOST) {
            print_message("no limit of pages was met\n");
            return;
        }
        (void)fcntl(ends[1], F_SETPIPE_SZ, 1024 * 1024);
    }

    assert_int_equal(
        proc_execfile(&result, ARGV("cat"), OPTIONS(.input = data, .input_size = SIZE, .timeout_ms = LATEST_MS)), 0);
    assert_int_equal(result.out_size, SIZE);
    assert_memory_equal(result.out, data, SIZE);
    proc_result_clear(&result);
}

static void pipes_of_a_page_carry_as_much_as_others(void **state)
{
    (void)state;

    if (!is_root()) {
        SKIP("only root can become a user whose pipes nobody else counts for");
    }
    in_copy(run_with_small_pipes, NULL);
}

/* ---- processes of a user ---- */

/* It is counted when the program is run: Linux lets a change of user succeed. */
static void start_as_a_user_with_too_many(void *arg)
{
    const proc_user user = {.uid = A_USER, .gid = A_USER};
    const proc_limit none = {.resource = RLIMIT_NPROC, .soft = 0, .hard = 0};
    proc_child *first = start_child(ARGV(arg, "hang"), OPTIONS(.user = &user));

    outcome second = run_child(ARGV(arg, "out", "ran"), OPTIONS(.user = &user, .limits = &none, .limit_count = 1));

    assert_refused(second, -EAGAIN, PROC_STEP_EXEC, arg);
    proc_child_free(first);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_user_who_may_have_no_more_processes_gets_none(void **state)
{
    (void)state;
    const char *kid = test_path("kid");

    if (!is_root()) {
        SKIP("only root may change its user");
    }
    if (THREAD_SANITIZER) {
        SKIP("the thread sanitizer has a thread in every child, and a change of ids signals it");
    }
    copy_file(kid_path(), kid, 0755);
    in_copy(start_as_a_user_with_too_many, (void *)kid);
}

/* ---- no room in the table of files ---- */

static void start_with_a_full_table(void *arg)
{
    const refusal refusals[] = {
        {.call = SYS_pipe2, .err = ENFILE},
#ifdef SYS_pipe
        {.call = SYS_pipe, .err = ENFILE},
#endif
        {.call = SYS_socketpair, .err = ENFILE},
#ifdef SYS_socketcall
        {.call = SYS_socketcall, .err = ENFILE}, /* 32 bits of old */
#endif
    };
    proc_child *child = (proc_child *)&child;
    proc_channel *ends[2];
    proc_error error;
    size_t before = count_open();

    (void)arg;
    filter_install(refusals, COUNT(refusals));
    outcome piped = {.err = proc_spawn(&child, KID("out", "ran"), OPTIONS(.out.kind = PROC_PIPE, .error = &error))};
    piped.error = error;
    assert_refused(piped, -ENFILE, PROC_STEP_PIPE, "out");
    assert_null(child);
    outcome forked = {.err = proc_fork(&child, KID("out", "ran"), OPTIONS(.error = &error))};
    forked.error = error;
    assert_refused(forked, -ENFILE, PROC_STEP_PIPE, "channel");
    assert_null(child);
    assert_int_equal(proc_channel_pair(ends, NULL), -ENFILE);
    assert_null(ends[0]);
    assert_int_equal(count_open(), before);
}

static void a_full_table_of_files_is_told_as_it_is(void **state)
{
    (void)state;

    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    in_copy(start_with_a_full_table, NULL);
}

static int open_below(int limit)
{
    int count = 0;

    for (int fd = 0; fd < limit; fd++) {
        count += is_open(fd);
    }
    return count;
}

/* With each number of descriptors to spare, from none to more than enough. */
static void fork_with_few_descriptors(void *arg)
{
    enum { LIMIT = 64 };
    int filler[LIMIT], started = 0;

    (void)arg;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = LIMIT, .rlim_max = LIMIT}), 0);
    for (int spare = 0; spare < 16; spare++) {
        proc_child *child = (proc_child *)&child;
        proc_loop *loop = NULL;
        int count = 0;

        while ((filler[count] = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0) {
            count++;
        }
        for (int i = 0; i < spare; i++) {
            close(filler[--count]);
        }
        int before = open_below(LIMIT);
        int err = proc_fork(&child, ARGV("/bin/sh", "-c", "exit 0"),
                            OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_NULL));
        if (err == 0) {
            assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
            proc_child_free(child);
            started++;
        } else {
            assert_int_equal(err, -EMFILE);
            assert_null(child);
            assert_int_equal(started, 0); /* with more descriptors it does not get worse */
        }
        assert_int_equal(open_below(LIMIT), before);
        err = proc_loop_new(&loop);
        assert_true(err == 0 || (err == -EMFILE && loop == NULL));
        proc_loop_free(loop);
        assert_int_equal(open_below(LIMIT), before);
        while (count > 0) {
            close(filler[--count]);
        }
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    assert_true(started > 0);
}

static void a_fork_or_a_loop_that_runs_out_of_descriptors_gives_all_back(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(fork_with_few_descriptors, NULL);
}

/* ---- a program that comes and goes ---- */

typedef struct mover {
    const char *here, *away;
    atomic_bool stop;
} mover;

static void *move_to_and_fro(void *arg)
{
    mover *m = arg;

    while (!atomic_load(&m->stop)) {
        (void)rename(m->here, m->away);
        sched_yield();
        (void)rename(m->away, m->here);
        sched_yield();
    }
    return NULL;
}

static void start_what_comes_and_goes(void *arg)
{
    const char *path = text("PATH=%s/first:%s/second", test_dir(), test_dir());
    mover m = {.here = test_path("first/tool"), .away = test_path("first/away")};
    pthread_t thread;

    (void)arg;
    assert_int_equal(pthread_create(&thread, NULL, move_to_and_fro, &m), 0);
    for (int i = 0; i < 200; i++) { /* a look before the exec would find what is gone by then */
        outcome result = run_child(ARGV("tool"), OPTIONS(.env = ARGV(path)));
        assert_ended(result, 0);
    }
    atomic_store(&m.stop, true);
    pthread_join(thread, NULL);
}

static void a_program_that_comes_and_goes_is_found_in_the_next_place(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    assert_int_equal(mkdir(test_path("first"), 0755), 0);
    assert_int_equal(mkdir(test_path("second"), 0755), 0);
    copy_file("/bin/true", test_path("first/tool"), 0755);
    copy_file("/bin/true", test_path("second/tool"), 0755);
    in_copy(start_what_comes_and_goes, NULL);
}

/* ---- stopped before it runs the program ---- */

typedef struct starter {
    const char *program;
    pthread_t thread;
    atomic_int tid;
    atomic_bool done;
    int err;
} starter;

static void *start_the_program(void *arg)
{
    starter *s = arg;
    proc_child *child;

    atomic_store(&s->tid, (int)syscall(SYS_gettid));
    s->err = proc_spawn(&child, ARGV(s->program), NULL);
    atomic_store(&s->done, true);
    if (s->err == 0) {
        (void)proc_child_wait(child, LATEST_MS, NULL);
        proc_child_free(child);
    }
    return NULL;
}

/* 0: it came and went. */
static pid_t child_of_starter(const starter *s)
{
    while (!atomic_load(&s->done)) {
        char path[64], line[64] = "";
        snprintf(path, sizeof path, "/proc/self/task/%d/children", atomic_load(&s->tid));
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
        if (fd >= 0) {
            close(fd);
        }
        if (size > 0) {
            return (pid_t)strtol(line, NULL, 10);
        }
        sched_yield();
    }
    return 0;
}

/* While its file is open for writing the program is tried again for some 60 ms: time to stop the child that tries. */
static void stop_a_child_that_is_starting(void *arg)
{
    const char *program = arg;
    bool stopped = false;

    for (int attempt = 0; attempt < 50 && !stopped; attempt++) {
        int busy = open(program, O_WRONLY | O_CLOEXEC);
        starter s = {.program = program};

        assert_int_equal(pthread_create(&s.thread, NULL, start_the_program, &s), 0);
        pid_t pid = child_of_starter(&s);
        if (pid > 0 && kill(pid, SIGSTOP) == 0) {
            await_state(pid, "TZX-");
            stopped = process_state(pid) == 'T';
        }
        if (stopped) {
            assert_false(atomic_load(&s.done)); /* the start waits, and will not call this a success */
            close(busy);
            assert_int_equal(kill(pid, SIGCONT), 0);
        }
        pthread_join(s.thread, NULL);
        assert_true(s.err == 0 || s.err == -ETXTBSY);
        if (!stopped) {
            close(busy);
        }
    }
    assert_true(stopped);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_start_waits_for_a_child_that_was_stopped_and_goes_on_with_it(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const char *program = test_path("busy");

    if (access(text("/proc/self/task/%ld/children", (long)getpid()), R_OK) != 0) {
        SKIP("the kernel does not list children");
    }
    copy_file("/bin/true", program, 0755);
    in_copy(stop_a_child_that_is_starting, (void *)program);
}

static const struct CMUnitTest tests[] = {
    TEST(without_memory_for_a_stack_nothing_starts),
    TEST(a_child_that_does_not_share_memory_is_told_of_all_the_same),
    TEST(arguments_or_environment_too_long_in_all_are_refused),
    TEST(pipes_of_a_page_carry_as_much_as_others),
    TEST(a_user_who_may_have_no_more_processes_gets_none),
    TEST(a_full_table_of_files_is_told_as_it_is),
    TEST(a_fork_or_a_loop_that_runs_out_of_descriptors_gives_all_back),
    TEST(a_program_that_comes_and_goes_is_found_in_the_next_place),
    TEST(a_start_waits_for_a_child_that_was_stopped_and_goes_on_with_it),
};

HARNESS_MAIN(tests)
