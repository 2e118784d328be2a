/* wrap: getppid */
/*
 * A parent that dies between the start of its child and the moment when that asks to die with it, or that its child cannot
 * see.
 */
#include "harness.h"

static pid_t new_parent = -1; /* -1: the real one */

pid_t __real_getppid(void);
pid_t __wrap_getppid(void);

pid_t __wrap_getppid(void)
{
    return new_parent >= 0 ? new_parent : __real_getppid();
}

static void a_child_whose_parent_is_gone_already_runs_no_program(void **state)
{
    (void)state;
    proc_child *child;
    proc_error error;
    proc_status status;

    if (POSIX_BUILD) {
        SKIP("plain POSIX cannot tie a child to its parent");
    }
    new_parent = 1;
    int err = proc_spawn(&child, KID("exit", "3"), OPTIONS(.die_with_parent = true, .error = &error));
    new_parent = -1;
    assert_int_equal(err, -ECHILD);
    assert_null(child);
    assert_int_equal(error.step, PROC_STEP_LAUNCH);

    child = start_child(KID("exit", "3"), OPTIONS(.die_with_parent = true));
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.code, 3);
    proc_child_free(child);
}

/* One that has unshared its process namespace: 0 is all that its children are told of it. */
static void a_parent_in_another_namespace_is_not_taken_for_dead(void **state)
{
    (void)state;
    proc_result result;

    new_parent = 0;
    int err = proc_execfile(&result, KID("exit", "3"), NULL);
    new_parent = -1;

    assert_int_equal(err, 0);
    assert_int_equal(result.status.code, 3);
    proc_result_clear(&result);
}

static const struct CMUnitTest tests[] = {
    TEST(a_child_whose_parent_is_gone_already_runs_no_program),
    TEST(a_parent_in_another_namespace_is_not_taken_for_dead),
};

HARNESS_MAIN(tests)
