/*
 * proc_options.user and the rights that go with it: what the child becomes, that there is no way back, and what a program
 * without rights may ask for. Most of it needs root; the rest runs in a copy of this process that gave its rights up.
 */
#include "harness.h"

#include <grp.h>
#include <sys/resource.h>

enum { NOBODY = 65534 };

static int give_up_rights(const gid_t *groups, size_t count)
{
    return setgroups(count, groups) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0 ? 0 : -1;
}

/* Root in a container may lack the right to become somebody else. */
static bool can_change_user(void)
{
    int status = -1;
    pid_t pid = is_root() ? fork() : -1;

    if (pid == 0) {
        _exit(give_up_rights(NULL, 0) == 0 ? 0 : 1);
    }
    if (pid > 0) {
        waitpid(pid, &status, 0);
    }
    return status == 0;
}

#define NEEDS_RIGHTS()                                                                                                 \
    if (!can_change_user()) {                                                                                          \
        SKIP("needs root with the right to change ids");                                                               \
    }

/* The kid where every user can reach it. */
static const char *public_kid(void)
{
    const char *path = test_path("kid");

    copy_file(kid_path(), path, 0755);
    return path;
}

#define PUBLIC_KID(...) ARGV(public_kid(), __VA_ARGS__)

/* ---- with rights ---- */

static void the_child_is_the_user_that_was_asked_for(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const gid_t groups[] = {12345, 23456};
    const proc_user user = {.uid = NOBODY, .gid = 4321, .groups = groups, .group_count = 2};
    outcome result = run_child(PUBLIC_KID("ids"), OPTIONS(.user = &user));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "uid"), NOBODY);
    assert_int_equal(number_field(result.out, "euid"), NOBODY);
    assert_int_equal(number_field(result.out, "gid"), 4321);
    assert_int_equal(number_field(result.out, "egid"), 4321);
    assert_string_equal(field(result.out, "groups"), "12345 23456");
    assert_int_equal(getuid(), 0);
    assert_int_equal(geteuid(), 0);
    assert_int_equal(getegid(), 0);
}

static void start_with_groups_of_its_own(void *arg)
{
    const gid_t groups[] = {0, 77, 88};
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};

    assert_int_equal(setgroups(3, groups), 0);
    outcome result = run_child(arg, OPTIONS(.user = &user));

    assert_ended(result, 0);
    assert_string_equal(field(result.out, "groups"), "");
    assert_int_equal(getgroups(0, NULL), 3);
}

static void no_group_of_the_parent_is_left_to_it(void **state)
{
    (void)state;
    NEEDS_RIGHTS();

    in_copy(start_with_groups_of_its_own, (void *)PUBLIC_KID("ids"));
}

static void there_is_no_way_back(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    outcome result = run_child(PUBLIC_KID("regain"), OPTIONS(.user = &user));

    assert_ended(result, 0);
    assert_string_equal(field(result.out, "regain user"), "no");
    assert_string_equal(field(result.out, "regain group"), "no");
}

static void the_host_can_still_be_looked_into(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    struct stat before, after;

    assert_int_equal(stat("/proc/self/fd", &before), 0);
    outcome result = run_child(PUBLIC_KID("ids"), OPTIONS(.user = &user));
    assert_int_equal(stat("/proc/self/fd", &after), 0);

    assert_ended(result, 0);
    assert_int_equal(before.st_uid, after.st_uid);
    assert_int_equal(before.st_mode, after.st_mode);
}

static void the_directory_is_entered_with_the_childs_rights(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    const char *closed = test_path("closed");

    assert_int_equal(mkdir(closed, 0700), 0);
    outcome result = run_child(PUBLIC_KID("out", "ran"), OPTIONS(.user = &user, .cwd = closed));

    assert_refused(result, -EACCES, PROC_STEP_CHDIR, closed);
}

static void files_are_opened_with_the_parents_rights(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    const char *closed = test_path("closed"), *inside = test_path("closed/output");

    assert_int_equal(mkdir(closed, 0700), 0);
    outcome result =
        run_child(PUBLIC_KID("out", "ran"), OPTIONS(.user = &user, .out = {.kind = PROC_FILE, .path = inside}));

    assert_ended(result, 0);
    assert_string_equal(read_file(inside), "ran");
}

static void the_program_is_run_with_the_childs_rights(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    const char *private = test_path("private");

    copy_file(kid_path(), private, 0700);
    outcome result = run_child(ARGV(private, "out", "ran"), OPTIONS(.user = &user));

    assert_refused(result, -EACCES, PROC_STEP_EXEC, private);
}

static void limits_and_priority_are_set_while_there_are_rights(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    const proc_limit limit = {.resource = RLIMIT_CPU, .soft = 100, .hard = PROC_NO_LIMIT};
    outcome result = run_child(PUBLIC_KID("limit", text("%d", RLIMIT_CPU), "nice"),
                               OPTIONS(.user = &user, .limits = &limit, .limit_count = 1, .nice = -2));

    if (result.err == -EPERM || result.err == -EACCES) {
        SKIP("root has no right to raise a priority here");
    }
    assert_ended(result, 0);
    assert_true(has_line(result.out, text("limit %d 100 -1", RLIMIT_CPU)));
    assert_int_equal(number_field(result.out, "nice"), getpriority(PRIO_PROCESS, 0) - 2);
}

static void more_groups_than_the_system_takes_are_refused(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    static gid_t many[70000];
    const proc_user user = {.uid = NOBODY, .gid = NOBODY, .groups = many, .group_count = COUNT(many)};
    outcome result = run_child(PUBLIC_KID("out", "ran"), OPTIONS(.user = &user));

    assert_refused(result, -EINVAL, PROC_STEP_GROUPS, "user");
}

static void ask_for_the_rights_that_were_lent_out(void *arg)
{
    gid_t groups[64];
    int count = getgroups(COUNT(groups), groups);
    const proc_user root = {.uid = 0, .gid = getgid(), .groups = groups, .group_count = (size_t)count};

    assert_true(count >= 0);
    assert_int_equal(seteuid(NOBODY), 0);
    outcome result = run_child(arg, OPTIONS(.user = &root));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "uid"), 0);
    assert_int_equal(number_field(result.out, "euid"), 0);
}

static void a_program_that_keeps_its_rights_in_reserve_may_give_them_to_a_child(void **state)
{
    (void)state;
    NEEDS_RIGHTS();

    in_copy(ask_for_the_rights_that_were_lent_out, (void *)PUBLIC_KID("ids"));
}

static proc_child *volatile left_behind; /* never freed: the end of this process is to end it */

static void start_and_end_as_another_user(void *arg)
{
    int *life = arg;
    const proc_user user = {.uid = NOBODY, .gid = NOBODY};
    const proc_fd_map maps[] = {{.child = 5, .parent = life[1]}};

    left_behind =
        start_child(PUBLIC_KID("out", "r", "hang"),
                    OPTIONS(.user = &user, .die_with_parent = true, .out.kind = PROC_PIPE, .fds = maps, .fd_count = 1));
    await_byte(proc_child_fd(left_behind, 1));
}

static void die_with_parent_holds_for_another_user_too(void **state)
{
    (void)state;
    NEEDS_RIGHTS();
    int life[2];

    if (POSIX_BUILD) {
        SKIP("plain POSIX cannot tie a child to its parent");
    }
    make_pipe(life);
    in_copy(start_and_end_as_another_user, life);
    close(life[1]);

    await_end(life[0]);
    close(life[0]);
}

/* ---- without rights ---- */

static void ask_for_others(void *arg)
{
    static const gid_t some_group = 77;
    const struct {
        proc_user user;
        proc_step step;
    } cases[] = {
        {{.uid = 0, .gid = NOBODY}, PROC_STEP_UID},
        {{.uid = NOBODY, .gid = 0}, PROC_STEP_GID},
        {{.uid = NOBODY, .gid = NOBODY, .groups = &some_group, .group_count = 1}, PROC_STEP_GROUPS},
        {{.uid = 0, .gid = 0, .groups = &some_group, .group_count = 1}, PROC_STEP_GROUPS},
    };

    assert_int_equal(give_up_rights(NULL, 0), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        outcome result = run_child(arg, OPTIONS(.user = &cases[i].user));

        assert_refused(result, -EPERM, cases[i].step, "user");
    }
}

static void without_rights_nobody_else_can_be_had(void **state)
{
    (void)state;
    NEEDS_RIGHTS();

    in_copy(ask_for_others, (void *)PUBLIC_KID("out", "ran"));
}

static void ask_for_oneself(void *arg)
{
    static const gid_t groups[] = {77, 88}, reversed[] = {88, 77};
    const proc_user user = {.uid = NOBODY, .gid = NOBODY, .groups = reversed, .group_count = 2};

    assert_int_equal(give_up_rights(groups, 2), 0);
    outcome result = run_child(arg, OPTIONS(.user = &user));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "uid"), NOBODY);
    assert_string_equal(field(result.out, "groups"), "77 88");
}

static void without_rights_one_may_still_name_oneself(void **state)
{
    (void)state;
    NEEDS_RIGHTS();

    in_copy(ask_for_oneself, (void *)PUBLIC_KID("ids"));
}

static void ask_for_more(void *arg)
{
    struct rlimit low = {.rlim_cur = 50, .rlim_max = 50};
    const proc_limit more = {.resource = RLIMIT_CPU, .soft = 50, .hard = 100};

    setrlimit(RLIMIT_CPU, &low);
    setrlimit(RLIMIT_NICE, &(struct rlimit){0});
    assert_int_equal(give_up_rights(NULL, 0), 0);
    outcome limit = run_child(arg, OPTIONS(.limits = &more, .limit_count = 1));
    outcome priority = run_child(arg, OPTIONS(.nice = -3));

    assert_refused(limit, -EPERM, PROC_STEP_LIMIT, "limits[0]");
    assert_true(priority.err == -EPERM || priority.err == -EACCES);
    assert_refused(priority, priority.err, PROC_STEP_NICE, "nice");
}

static void without_rights_limits_and_priority_cannot_be_raised(void **state)
{
    (void)state;
    NEEDS_RIGHTS();

    in_copy(ask_for_more, (void *)PUBLIC_KID("out", "ran"));
}

static void a_program_without_rights_may_name_itself_or_nobody(void **state)
{
    (void)state;
    const proc_user root = {.uid = 0, .gid = 0};

    if (is_root()) {
        SKIP("this is root: the same is tried in a copy without rights");
    }
    outcome result = run_child(KID("out", "ran"), OPTIONS(.user = &root));

    assert_int_equal(result.err, -EPERM);
    assert_string_equal(result.error.subject, "user");
}

/* ---- more than one process that a user may have ---- */

static void start_beyond_the_limit(void *arg)
{
    assert_int_equal(setrlimit(RLIMIT_NPROC, &(struct rlimit){.rlim_cur = 0, .rlim_max = 0}), 0);
    assert_int_equal(give_up_rights(NULL, 0), 0);
    outcome result = run_child(arg, OPTIONS(.in.kind = PROC_PIPE));

    assert_refused(result, -EAGAIN, PROC_STEP_LAUNCH, NULL);
}

static void a_system_that_has_no_room_for_a_process_says_so(void **state)
{
    (void)state;
    NEEDS_RIGHTS();

    in_copy(start_beyond_the_limit, (void *)PUBLIC_KID("out", "ran"));
}

static const struct CMUnitTest tests[] = {
    TEST(the_child_is_the_user_that_was_asked_for),
    TEST(no_group_of_the_parent_is_left_to_it),
    TEST(there_is_no_way_back),
    TEST(the_host_can_still_be_looked_into),
    TEST(the_directory_is_entered_with_the_childs_rights),
    TEST(files_are_opened_with_the_parents_rights),
    TEST(the_program_is_run_with_the_childs_rights),
    TEST(limits_and_priority_are_set_while_there_are_rights),
    TEST(more_groups_than_the_system_takes_are_refused),
    TEST(a_program_that_keeps_its_rights_in_reserve_may_give_them_to_a_child),
    TEST(die_with_parent_holds_for_another_user_too),
    TEST(without_rights_nobody_else_can_be_had),
    TEST(without_rights_one_may_still_name_oneself),
    TEST(without_rights_limits_and_priority_cannot_be_raised),
    TEST(a_program_without_rights_may_name_itself_or_nobody),
    TEST(a_system_that_has_no_room_for_a_process_says_so),
};

HARNESS_MAIN(tests)
