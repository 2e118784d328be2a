/*
 * The launcher of Linux: a child that borrows the parent's memory until it runs the program, so that the cost of a start
 * does not grow with the parent, on a stack of its own, while the calling thread stands still. Children that change ids
 * are forked: in shared memory that would take the parent's right to dump core (setresuid clears mm's dumpable flag).
 */
#include "os/launch.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000 /* Linux 5.2; before, the flag is ignored */
#endif

/* ThreadSanitizer's runtime replaces clone, whoever calls it, by what it takes for a fork; and then it dies. */
extern void __tsan_init(void) __attribute__((weak));

int launch_force = LAUNCH_ANY;

/* ---- the child's stack: kept for the next, as many as that many threads take who start children at once ---- */

enum { STACK_SIZE = 64 * 1024, GUARD_SIZE = 64 * 1024 }; /* a guard of any page size there is */
enum { MOST_SPARE = 8 };

static _Atomic(void *) spare_stacks[MOST_SPARE];

static int take_stack(void **stack)
{
    for (int i = 0; i < MOST_SPARE; i++) {
        if (atomic_load_explicit(&spare_stacks[i], memory_order_relaxed) != NULL) {
            *stack = atomic_exchange_explicit(&spare_stacks[i], NULL, memory_order_acquire);
            if (*stack != NULL) {
                return 0;
            }
        }
    }
    void *memory = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    if (mprotect((char *)memory + GUARD_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE) < 0) {
        int err = -errno;
        (void)munmap(memory, GUARD_SIZE + STACK_SIZE);
        return err;
    }
    *stack = memory;
    return 0;
}

static void put_stack(void *stack)
{
    for (int i = 0; i < MOST_SPARE; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&spare_stacks[i], &none, stack, memory_order_release,
                                                    memory_order_relaxed)) {
            return;
        }
    }
    (void)munmap(stack, GUARD_SIZE + STACK_SIZE);
}

/* ---- what this system turned out to do ---- */

/*
 * Emulators and checkers run the clone as a plain fork: the child's words in our memory are then lost, and a failed exec
 * would look like a good start. Until one child has shown that memory is shared, there is an error pipe as well.
 */
static atomic_bool memory_is_shared;
static atomic_bool clone_is_refused; /* by a filter */

typedef struct vfork_child {
    launch_plan *plan;
    sigset_t mask;
    int report_fd;
    volatile launch_report report;
} vfork_child;

__attribute__((no_sanitize("address", "thread", "undefined"))) static int run_child(void *arg)
{
    vfork_child *child = arg;
    launch_child_side(child->plan, &child->mask, &child->report, child->report_fd);
}

static int clone_child(vfork_child *child, void *stack, pid_t *pid, int *pidfd)
{
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    *pidfd = -1;
    sys_block_signals(&child->mask);
    *pid = clone(run_child, (char *)stack + GUARD_SIZE + STACK_SIZE, flags, child, pidfd, NULL, NULL);
    int err = *pid < 0 ? -errno : 0;
    sys_set_signal_mask(&child->mask);
    return err;
}

static int launch_by_vfork(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure)
{
    vfork_child child = {.plan = plan, .report_fd = -1};
    int ends[2] = {-1, -1};
    void *stack = NULL;

    int err = take_stack(&stack);
    if (err == 0 && !atomic_load_explicit(&memory_is_shared, memory_order_relaxed)) {
        err = sys_pipe(ends);
        child.report_fd = ends[1];
    }
    if (err == 0) {
        err = clone_child(&child, stack, pid, pidfd);
    }
    sys_close(&ends[1]);
    if (err < 0) {
        *failure = (launch_failure){.step = PROC_STEP_LAUNCH, .err = err};
    } else {
        if (child.report.progress != LAUNCH_NOT_RUN) {
            atomic_store_explicit(&memory_is_shared, true, memory_order_relaxed);
        } else if (ends[0] >= 0) {
            launch_report record = {.progress = LAUNCH_NOT_RUN};
            launch_read_report(ends[0], *pid, *pidfd, &record);
            child.report = record;
        }
        launch_report report = child.report;
        err = launch_conclude(&report, *pid, pidfd, failure);
    }
    sys_close(&ends[0]);
    if (stack != NULL) {
        put_stack(stack);
    }
    return err;
}

/* Not a word about the child itself: the kernel, or a filter in front of it, does not know the call. */
static bool is_refusal(const launch_failure *failure)
{
    return failure->step == PROC_STEP_LAUNCH &&
           (failure->err == -ENOSYS || failure->err == -EPERM || failure->err == -EINVAL);
}

int launch(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure)
{
    bool fork_only = &__tsan_init != NULL || launch_force == LAUNCH_FORK || plan->ids != NULL || plan->entry != NULL ||
                     atomic_load_explicit(&clone_is_refused, memory_order_relaxed);
    if (!fork_only) {
        int err = launch_by_vfork(plan, pid, pidfd, failure);
        if (err == 0) {
            /* The kernel takes the lowest number, which may be a closed 0, 1 or 2. Where no other is left it is -1. */
            (void)sys_raise_fd(pidfd);
            return 0;
        }
        if (!is_refusal(failure)) {
            return err;
        }
        atomic_store_explicit(&clone_is_refused, true, memory_order_relaxed);
    }
    return launch_by_fork(plan, pid, pidfd, failure);
}
