/*
 * refuse ERRNO-NAME NAME... -- PROGRAM ARGUMENT...: runs the program where the kernel answers these system calls with
 * ENOSYS or EPERM. Status 125: no filter can be had here.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static const struct name {
    const char *name;
    unsigned number;
} names[] = {
    {"pidfd_send_signal", SYS_pidfd_send_signal},
    {"pidfd_open", SYS_pidfd_open},
    {"clone3", SYS_clone3},
    {"close_range", SYS_close_range},
};

enum { COUNT = sizeof names / sizeof names[0] };

static const struct name *find(const char *name)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(names[i].name, name) == 0) {
            return &names[i];
        }
    }
    return NULL;
}

/* Only who may not do so otherwise gives up set-user-ID programs for it. */
static int install(struct sock_filter *program, size_t count)
{
    struct sock_fprog all = {.filter = program, .len = (unsigned short)count};

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0) {
        return 0;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) : -1;
}

int main(int argc, char **argv)
{
    struct sock_filter program[2 * COUNT + 2] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    size_t count = 1;
    int at = 2;
    unsigned err = argc > 1 && strcmp(argv[1], "EPERM") == 0 ? EPERM : ENOSYS;

    for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
        const struct name *call = find(argv[at]);
        if (call == NULL || count + 3 > sizeof program / sizeof program[0]) {
            (void)fprintf(stderr, "refuse: %s?\n", argv[at]);
            return 125;
        }
        program[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0, 1);
        program[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err);
    }
    program[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (at + 1 >= argc || install(program, count) < 0) {
        perror("refuse");
        return 125;
    }
    (void)execv(argv[at + 1], argv + at + 1);
    perror(argv[at + 1]);
    return 125;
}
