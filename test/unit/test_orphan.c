/* wrap: getppid */
/*
 * A parent that dies between the start of its child and the moment when that asks to die with it.
 */
#include "harness.h"

static bool orphaned;

pid_t __real_getppid(void);
pid_t __wrap_getppid(void);

pid_t __wrap_getppid(void)
{
    return orphaned ? 1 : __real_getppid();
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
    orphaned = true;
    int err = proc_spawn(&child, KID("exit", "3"), OPTIONS(.die_with_parent = true, .error = &error));
    orphaned = false;
    assert_int_equal(err, -ECHILD);
    assert_null(child);
    assert_int_equal(error.step, PROC_STEP_LAUNCH);

    child = start_child(KID("exit", "3"), OPTIONS(.die_with_parent = true));
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.code, 3);
    proc_child_free(child);
}

static const struct CMUnitTest tests[] = {
    TEST(a_child_whose_parent_is_gone_already_runs_no_program),
};

HARNESS_MAIN(tests)
