/*
 * The filter's program: for each refusal a few instructions that look at the number of the call, perhaps at the low half of
 * its first argument, and answer with the error; what no refusal names is allowed.
 */
#include "filter.h"

#include "harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { LOW_HALF = 0 };
#else
enum { LOW_HALF = 4 };
#endif

enum { MOST = 32, EACH = 6 };

static int install(const refusal *refusals, size_t count)
{
    struct sock_filter program[MOST * EACH + 1];
    struct sock_fprog all = {.filter = program};

    assert_true(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        const refusal *one = &refusals[i];
        const struct sock_filter part[EACH] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)one->call, 0, 4),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + LOW_HALF),
            BPF_STMT(BPF_ALU | BPF_AND | BPF_K, one->mask),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, one->bits, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)one->err),
        };

        memcpy(program + all.len, part, sizeof part);
        all.len += EACH;
    }
    program[all.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -errno;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0 ? 0 : -errno;
}

void filter_install(const refusal *refusals, size_t count)
{
    assert_int_equal(install(refusals, count), 0);
}

bool filter_works(void)
{
    static const refusal trial = {.call = SYS_getppid, .err = ENOTTY};
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(install(&trial, 1) == 0 && syscall(SYS_getppid) == -1 && errno == ENOTTY ? 0 : 1);
    }
    if (pid > 0) {
        waitpid(pid, &status, 0);
    }
    return status == 0;
}
