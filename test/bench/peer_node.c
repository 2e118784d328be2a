/* Node does it by itself, in node.js: it is told how often, and answers when it is done. */
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

static int to, from;

static void set_up(void)
{
    char script[8192], held[24], size[24], count[16], second[16];
    char *argv[] = {"node",        script,          (char *)bench_op_now, held, size, count, second,
                    bench_tiny[0], bench_writer[0], bench_writer[3],      NULL};
    int ends[2][2];

    snprintf(script, sizeof script, "%s/node.js", bench_directory);
    snprintf(held, sizeof held, "%zu", bench_args_now.held);
    snprintf(size, sizeof size, "%zu", bench_args_now.size);
    snprintf(count, sizeof count, "%d", bench_args_now.count);
    snprintf(second, sizeof second, "%d", bench_args_now.two ? bench_second_processor : bench_first_processor);
    bench_must("pipe2", pipe2(ends[0], O_CLOEXEC));
    bench_must("pipe2", pipe2(ends[1], O_CLOEXEC));
    if (bench_must("fork", fork()) == 0) {
        dup2(ends[0][0], 0);
        dup2(ends[1][1], 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(ends[0][0]);
    close(ends[1][1]);
    to = ends[0][1];
    from = ends[1][0];
    bench_no_processor_time();
    char byte;
    if (!bench_read_all(from, &byte, 1)) {
        bench_skip("skipped: install nodejs");
    }
}

/* The two pipes between take little of a sample. */
static void run(int count)
{
    char text[16];

    bench_write_all(to, text, (size_t)snprintf(text, sizeof text, "%d\n", count));
    if (!bench_read_all(from, text, 1)) {
        bench_die("node", EPIPE);
    }
}

#define NODE_OP(what)                                                                                                  \
    {                                                                                                                  \
        .name = what, .begin = set_up, .run = run                                                                      \
    }

const bench_op bench_ops[] = {
    NODE_OP("spawn"), NODE_OP("captured"), NODE_OP("shell"),      NODE_OP("capture"), NODE_OP("feed"),
    NODE_OP("trip"),  NODE_OP("send"),     NODE_OP("descriptor"), NODE_OP("short"),   {0}};
