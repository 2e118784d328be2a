/*
 * What a child is given besides its program: directory, mask, priority, limits, signals, group, and how its life is tied
 * to the parent's. The child's own view is asserted; the parent's own stays as it was (the harness sees to that).
 */
#include "harness.h"

#include <sys/resource.h>

/* ---- directory ---- */

static void the_child_starts_in_the_directory_that_was_asked_for(void **state)
{
    (void)state;
    outcome root = run_child(KID("cwd"), OPTIONS(.cwd = "/"));
    outcome temporary = run_child(KID("cwd"), OPTIONS(.cwd = test_dir()));

    assert_ended(root, 0);
    assert_string_equal(field(root.out, "cwd"), "/");
    assert_string_equal(field(temporary.out, "cwd"), realpath(test_dir(), (char[4096]){0}));
}

static void without_cwd_it_starts_where_the_parent_is(void **state)
{
    (void)state;
    char here[4096];
    outcome result = run_child(KID("cwd"), NULL);

    assert_non_null(getcwd(here, sizeof here));
    assert_string_equal(field(result.out, "cwd"), here);
}

static void a_directory_that_cannot_be_entered_is_named(void **state)
{
    (void)state;
    char endless[5000];
    const char *removed = test_path("removed/below");
    const struct {
        const char *cwd;
        int code;
    } cases[] = {
        {"/nonexistent", -ENOENT},   {"", -ENOENT},      {test_path("file"), -ENOTDIR},
        {test_path("loop"), -ELOOP}, {removed, -ENOENT}, {endless, -ENAMETOOLONG},
    };

    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    write_file(test_path("file"), "", 0644);
    assert_int_equal(symlink(test_path("loop"), test_path("loop")), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        outcome result = run_child(KID("out", "ran"), OPTIONS(.cwd = cases[i].cwd));

        assert_refused(result, cases[i].code, PROC_STEP_CHDIR, cases[i].cwd);
    }
}

static void start_in_a_removed_directory(void *arg)
{
    const char *const *argv = arg;
    char gone[] = "/tmp/libproc.gone.XXXXXX";

    assert_non_null(mkdtemp(gone));
    assert_int_equal(chdir(gone), 0);
    assert_int_equal(rmdir(gone), 0);
    outcome result = run_child(argv, NULL);
    outcome moved = run_child(argv, OPTIONS(.cwd = "/"));

    assert_ended(result, 0);
    assert_ended(moved, 0);
}

static void a_parent_whose_directory_is_gone_starts_children_all_the_same(void **state)
{
    (void)state;

    in_copy(start_in_a_removed_directory, (void *)KID("out", "x"));
}

/* ---- umask, priority, limits ---- */

static void the_umask_is_the_childs_alone(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 0077, 0777};

    for (size_t i = 0; i < COUNT(masks); i++) {
        outcome result = run_child(KID("umask"), OPTIONS(.umask = &masks[i]));

        assert_ended(result, 0);
        assert_string_equal(result.out, text("umask %03o\n", (unsigned)masks[i]));
    }
}

static void nice_is_added_to_the_parents(void **state)
{
    (void)state;
    int before = getpriority(PRIO_PROCESS, 0);
    outcome nicer = run_child(KID("nice"), OPTIONS(.nice = 3));
    outcome same = run_child(KID("nice"), NULL);

    assert_ended(nicer, 0);
    assert_int_equal(number_field(nicer.out, "nice"), before + 3 > 19 ? 19 : before + 3);
    assert_int_equal(number_field(same.out, "nice"), before);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
}

static void limits_hold_for_the_child(void **state)
{
    (void)state;
    struct rlimit parents;
    getrlimit(RLIMIT_FSIZE, &parents);
    const proc_limit limits[] = {
        {.resource = RLIMIT_CORE, .soft = 0, .hard = 0},
        {.resource = RLIMIT_CPU, .soft = 100, .hard = 200},
        {.resource = RLIMIT_FSIZE,
         .soft = 4096,
         .hard = parents.rlim_max == RLIM_INFINITY ? PROC_NO_LIMIT : parents.rlim_max},
    };
    const char *fsize = text("%d", RLIMIT_FSIZE);
    long long most = parents.rlim_max == RLIM_INFINITY ? -1 : (long long)parents.rlim_max;
    outcome result = run_child(KID("limit", text("%d", RLIMIT_CORE), "limit", text("%d", RLIMIT_CPU), "limit", fsize),
                               OPTIONS(.limits = limits, .limit_count = COUNT(limits)));
    struct rlimit after;

    getrlimit(RLIMIT_FSIZE, &after);
    assert_ended(result, 0);
    assert_true(has_line(result.out, text("limit %d 0 0", RLIMIT_CORE)));
    assert_true(has_line(result.out, text("limit %d 100 200", RLIMIT_CPU)));
    assert_true(has_line(result.out, text("limit %s 4096 %lld", fsize, most)));
    assert_int_equal(after.rlim_cur, parents.rlim_cur);
}

static void a_limit_on_descriptors_is_set_after_they_are_placed(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const char *number = text("%d", RLIMIT_NOFILE);
    const proc_limit limit = {.resource = RLIMIT_NOFILE, .soft = 4, .hard = 4};
    const proc_fd_map map = {.child = 30, .parent = 1};
    outcome result =
        run_child(KID("limit", number, "fds"), OPTIONS(.limits = &limit, .limit_count = 1, .fds = &map, .fd_count = 1));
    fd_view view;

    assert_ended(result, 0);
    assert_true(has_line(result.out, text("limit %s 4 4", number)));
    assert_true(find_fd(result.out, 30, &view));
    assert_int_equal(count_fds(result.out), 4);
}

static void a_limit_that_the_system_refuses_is_named_by_its_place(void **state)
{
    (void)state;
    const proc_limit twisted[] = {{.resource = RLIMIT_CORE}, {.resource = RLIMIT_CPU, .soft = 200, .hard = 100}};
    const proc_limit unknown = {.resource = 9999, .soft = 1, .hard = 1};
    outcome second = run_child(KID("out", "ran"), OPTIONS(.limits = twisted, .limit_count = 2));
    outcome first = run_child(KID("out", "ran"), OPTIONS(.limits = &unknown, .limit_count = 1));

    assert_refused(second, -EINVAL, PROC_STEP_LIMIT, "limits[1]");
    assert_refused(first, -EINVAL, PROC_STEP_LIMIT, "limits[0]");
}

/* ---- signals ---- */

static void assert_fresh_signals(const outcome *result)
{
    assert_ended(*result, 0);
    assert_string_equal(field(result->out, "blocked"), "");
    assert_string_equal(field(result->out, "ignored"), "");
    assert_string_equal(field(result->out, "caught"), "");
    assert_string_equal(field(result->out, "kernel SigBlk"), "0000000000000000");
    assert_string_equal(field(result->out, "kernel SigIgn"), "0000000000000000");
    assert_string_equal(field(result->out, "kernel SigCgt"), "0000000000000000");
}

static void handle(int signo)
{
    (void)signo;
}

static void start_with_everything_blocked(void *arg)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    outcome result = run_child(arg, NULL);

    assert_fresh_signals(&result);
}

static void start_with_everything_ignored(void *arg)
{
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        if (signo != SIGCHLD && signo != SIGABRT) {
            (void)signal(signo, SIG_IGN);
        }
    }
    outcome result = run_child(arg, NULL);

    assert_fresh_signals(&result);
}

static void start_with_everything_handled(void *arg)
{
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        if (signo != SIGABRT) {
            (void)signal(signo, handle);
        }
    }
    outcome result = run_child(arg, NULL);

    assert_fresh_signals(&result);
}

static void a_child_starts_with_no_signal_blocked_ignored_or_handled(void **state)
{
    (void)state;

    in_copy(start_with_everything_blocked, (void *)KID("signals"));
    in_copy(start_with_everything_ignored, (void *)KID("signals"));
    in_copy(start_with_everything_handled, (void *)KID("signals"));
}

static void keep_them(void *arg)
{
    sigset_t some;

    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigaddset(&some, SIGRTMAX);
    sigprocmask(SIG_SETMASK, &some, NULL);
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        (void)signal(signo, SIG_DFL);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, handle);
    outcome result = run_child(arg, OPTIONS(.keep_signals = true));

    assert_ended(result, 0);
    assert_string_equal(field(result.out, "blocked"), text("%d %d", SIGUSR1, SIGRTMAX));
    assert_string_equal(field(result.out, "ignored"), text("%d %d", SIGHUP, SIGPIPE));
    assert_string_equal(field(result.out, "caught"), "");
    assert_string_equal(field(result.out, "kernel SigCgt"), "0000000000000000");
    assert_string_equal(field(result.out, "kernel SigIgn"),
                        text("%016llx", 1ULL << (SIGHUP - 1) | 1ULL << (SIGPIPE - 1)));
    assert_string_equal(field(result.out, "kernel SigBlk"),
                        text("%016llx", 1ULL << (SIGUSR1 - 1) | 1ULL << (SIGRTMAX - 1)));
}

static void keep_signals_passes_on_what_is_blocked_and_ignored(void **state)
{
    (void)state;

    in_copy(keep_them, (void *)KID("signals"));
}

/* ---- process group and session ---- */

static void shared_is_the_parents_group_and_the_default(void **state)
{
    (void)state;
    static const proc_group groups[] = {PROC_GROUP_DEFAULT, PROC_GROUP_SHARED};

    for (size_t i = 0; i < COUNT(groups); i++) {
        outcome result = run_child(KID("job"), OPTIONS(.group = groups[i]));

        assert_ended(result, 0);
        assert_int_equal(number_field(result.out, "pgid"), getpgrp());
        assert_int_equal(number_field(result.out, "sid"), getsid(0));
        assert_int_equal(number_field(result.out, "ppid"), getpid());
    }
}

static void own_is_a_new_group_in_the_same_session(void **state)
{
    (void)state;
    outcome result = run_child(KID("job"), OPTIONS(.group = PROC_GROUP_OWN));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "pgid"), number_field(result.out, "pid"));
    assert_int_equal(number_field(result.out, "sid"), getsid(0));
}

static void session_is_a_new_session_without_a_terminal(void **state)
{
    (void)state;
    outcome result = run_child(KID("job"), OPTIONS(.group = PROC_GROUP_SESSION));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "pgid"), number_field(result.out, "pid"));
    assert_int_equal(number_field(result.out, "sid"), number_field(result.out, "pid"));
    assert_string_equal(field(result.out, "tty"), "no");
}

static void start_as_a_session_leader(void *arg)
{
    assert_true(setsid() >= 0);
    outcome own = run_child(arg, OPTIONS(.group = PROC_GROUP_OWN));
    outcome session = run_child(arg, OPTIONS(.group = PROC_GROUP_SESSION));

    assert_ended(own, 0);
    assert_ended(session, 0);
}

static void a_session_leader_may_start_groups_and_sessions(void **state)
{
    (void)state;

    in_copy(start_as_a_session_leader, (void *)KID("job"));
}

/* ---- tied to the parent, and not ---- */

typedef struct three_pipes {
    int ready[2], life[2], order[2];
} three_pipes;

static void make_pipes(three_pipes *pipes)
{
    make_pipe(pipes->ready);
    make_pipe(pipes->life);
    make_pipe(pipes->order);
}

static void close_pipes(three_pipes *pipes)
{
    int *all[] = {pipes->ready, pipes->life, pipes->order};

    for (size_t i = 0; i < COUNT(all); i++) {
        close(all[i][0]);
        close(all[i][1]);
    }
}

static proc_child *volatile left_behind; /* never freed: the end of this process is to end it */

static void start_one_that_dies_with_us(void *arg)
{
    three_pipes *pipes = arg;
    const proc_fd_map maps[] = {{.child = 5, .parent = pipes->ready[1]}, {.child = 6, .parent = pipes->life[1]}};

    left_behind = start_child(KID("ready", "5", "hang"), OPTIONS(.fds = maps, .fd_count = 2, .die_with_parent = true));
    await_byte(pipes->ready[0]);
}

static void die_with_parent_kills_the_child_when_the_parent_ends(void **state)
{
    (void)state;
    three_pipes pipes;

    if (POSIX_BUILD) {
        SKIP("plain POSIX cannot tie a child to its parent");
    }
    make_pipes(&pipes);
    in_copy(start_one_that_dies_with_us, &pipes);

    close(pipes.life[1]);
    pipes.life[1] = -1;
    await_end(pipes.life[0]); /* nobody holds the other end any more */
    close_pipes(&pipes);
}

static void die_with_parent_is_refused_where_the_system_cannot(void **state)
{
    (void)state;

    if (!POSIX_BUILD) {
        SKIP("this system can");
    }
    outcome result = run_child(KID("out", "ran"), OPTIONS(.die_with_parent = true));

    assert_refused(result, -ENOTSUP, PROC_STEP_PARENT, "die_with_parent");
}

static void die_with_parent_and_detached_contradict_each_other(void **state)
{
    (void)state;
    outcome result = run_child(KID("out", "ran"), OPTIONS(.die_with_parent = true, .detached = true));

    assert_refused(result, -EINVAL, PROC_STEP_OPTIONS, NULL);
}

static void a_detached_child_outlives_its_handle_and_is_the_programs_to_reap(void **state)
{
    (void)state;
    three_pipes pipes;
    int status;

    make_pipes(&pipes);
    const proc_fd_map maps[] = {{.child = 5, .parent = pipes.order[0]}};
    proc_child *child =
        start_child(KID("readbyte", "5", "exit", "9"), OPTIONS(.fds = maps, .fd_count = 1, .detached = true));
    pid_t pid = proc_child_pid(child);

    proc_child_free(child);

    assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it runs, and it is ours still */
    assert_int_equal(write(pipes.order[1], "g", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    close_pipes(&pipes);
}

static void a_child_that_is_not_detached_ends_with_its_handle(void **state)
{
    (void)state;
    three_pipes pipes;

    make_pipes(&pipes);
    const proc_fd_map maps[] = {{.child = 5, .parent = pipes.life[1]}};
    proc_child *child = start_child(KID("ignore", "TERM", "hang"), OPTIONS(.fds = maps, .fd_count = 1));
    pid_t pid = proc_child_pid(child);

    proc_child_free(child);

    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    close(pipes.life[1]);
    pipes.life[1] = -1;
    await_end(pipes.life[0]);
    close_pipes(&pipes);
}

static void start_a_detached_one(void *arg)
{
    three_pipes *pipes = arg;
    const proc_fd_map maps[] = {{.child = 5, .parent = pipes->order[0]}, {.child = 6, .parent = pipes->ready[1]}};

    proc_child *child = start_child(KID("readbyte", "5", "ready", "6"),
                                    OPTIONS(.fds = maps, .fd_count = 2, .detached = true, .group = PROC_GROUP_SESSION,
                                            .in.kind = PROC_NULL, .out.kind = PROC_NULL, .err.kind = PROC_NULL));
    proc_child_free(child);
}

static void a_detached_child_outlives_the_program_that_started_it(void **state)
{
    (void)state;
    three_pipes pipes;

    make_pipes(&pipes);
    in_copy(start_a_detached_one, &pipes);
    close(pipes.ready[1]);
    pipes.ready[1] = -1;
    assert_int_equal(write(pipes.order[1], "g", 1), 1);

    await_byte(pipes.ready[0]);
    await_end(pipes.ready[0]);
    close_pipes(&pipes);
}

static const struct CMUnitTest tests[] = {
    TEST(the_child_starts_in_the_directory_that_was_asked_for),
    TEST(without_cwd_it_starts_where_the_parent_is),
    TEST(a_directory_that_cannot_be_entered_is_named),
    TEST(a_parent_whose_directory_is_gone_starts_children_all_the_same),
    TEST(the_umask_is_the_childs_alone),
    TEST(nice_is_added_to_the_parents),
    TEST(limits_hold_for_the_child),
    TEST(a_limit_on_descriptors_is_set_after_they_are_placed),
    TEST(a_limit_that_the_system_refuses_is_named_by_its_place),
    TEST(a_child_starts_with_no_signal_blocked_ignored_or_handled),
    TEST(keep_signals_passes_on_what_is_blocked_and_ignored),
    TEST(shared_is_the_parents_group_and_the_default),
    TEST(own_is_a_new_group_in_the_same_session),
    TEST(session_is_a_new_session_without_a_terminal),
    TEST(a_session_leader_may_start_groups_and_sessions),
    TEST(die_with_parent_kills_the_child_when_the_parent_ends),
    TEST(die_with_parent_is_refused_where_the_system_cannot),
    TEST(die_with_parent_and_detached_contradict_each_other),
    TEST(a_detached_child_outlives_its_handle_and_is_the_programs_to_reap),
    TEST(a_child_that_is_not_detached_ends_with_its_handle),
    TEST(a_detached_child_outlives_the_program_that_started_it),
};

HARNESS_MAIN(tests)
