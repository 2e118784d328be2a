/* wrap: syscall */
/*
 * A child whose status somebody else took, on kernels that remember how it ended and on those that do not.
 */
#include "harness.h"

#include <sys/syscall.h>

/* What stands for PIDFD_GET_INFO, the one request that the library makes of a descriptor of a process. */
enum { UNKNOWN_CALL, KNOWN_AT_ONCE, KNOWN_LATER, NEVER_KNOWN };
static int world = -1; /* the real one */
static int asked;

typedef struct exit_info { /* the kernel's */
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t status;
} exit_info;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static long tell(exit_info *info)
{
    asked++;
    if (world == UNKNOWN_CALL) {
        errno = ENOTTY;
        return -1;
    }
    info->mask = world == KNOWN_AT_ONCE || (world == KNOWN_LATER && asked == 2) ? 1 << 3 : 0;
    info->status = 7 << 8;
    return 0;
}

/* As libc itself does, it takes six arguments whether they were given or not. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
    va_list args;
    long a[6];

    va_start(args, number);
    for (size_t i = 0; i < COUNT(a); i++) {
        a[i] = va_arg(args, long);
    }
    va_end(args);
    if (number == SYS_ioctl && world >= 0) {
        return tell((exit_info *)a[2]);
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static proc_status wait_for_stolen_child(int of_world)
{
    proc_status status;
    proc_child *child = start_child(KID("exit", "7"), NULL);

    assert_int_equal(waitpid(proc_child_pid(child), NULL, 0), proc_child_pid(child));
    world = of_world;
    asked = 0;
    int err = proc_child_wait(child, PROC_FOREVER, &status);
    world = -1;
    assert_int_equal(err, 0);
    proc_child_free(child);
    return status;
}

#define NEEDS_DESCRIPTOR()                                                                                             \
    if (POSIX_BUILD || getenv("PROC_TEST_EXITWATCH") != NULL) {                                                        \
        SKIP("there is no descriptor for a process");                                                                  \
    }

static void a_kernel_that_remembers_tells_how_a_stolen_child_ended(void **state)
{
    (void)state;
    NEEDS_DESCRIPTOR();

    for (int of_world = KNOWN_AT_ONCE; of_world <= KNOWN_LATER; of_world++) {
        proc_status status = wait_for_stolen_child(of_world);

        assert_int_equal(status.state, PROC_EXITED);
        assert_int_equal(status.code, 7);
        assert_int_equal(asked, of_world == KNOWN_AT_ONCE ? 1 : 2);
    }
}

static void a_kernel_that_forgets_makes_a_stolen_child_lost(void **state)
{
    (void)state;
    NEEDS_DESCRIPTOR();
    proc_status old = wait_for_stolen_child(UNKNOWN_CALL);

    assert_int_equal(old.state, PROC_LOST);
    assert_int_equal(old.code, -1);
    assert_int_equal(asked, 1);
    proc_status silent = wait_for_stolen_child(NEVER_KNOWN);

    assert_int_equal(silent.state, PROC_LOST);
    assert_int_equal(silent.code, -1);
}

static const struct CMUnitTest tests[] = {
    TEST(a_kernel_that_remembers_tells_how_a_stolen_child_ended),
    TEST(a_kernel_that_forgets_makes_a_stolen_child_lost),
};

HARNESS_MAIN(tests)
