/*
 * pmap [-j N] [-t SECONDS] [-k] COMMAND [ARGUMENT...] < LINES
 *
 * Runs the command once for each line of its input, with the line as its last argument, or in place of every argument
 * that is {}; N at a time (-j, as many as there are cores), each for SECONDS at the most (-t). What each writes is kept
 * whole and shown in the order of the lines. After a failure no more are started, unless -k says so. On a terminal a line
 * tells how far it is. The exit code is that of xargs: 123 if any failed or what it wrote could not be shown, 124 if one
 * exited with 255, 125 if one was killed by a signal, 126 if the command cannot be run, 127 if it is not found.
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <proc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FAILED = 123,
       EXITED_255,
       KILLED,
       CANNOT_RUN,
       NOT_FOUND };

typedef struct job {
    char *line;
    bool done;
    int err;
    proc_status status;
    char *out, *complaint;
    size_t out_size, complaint_size;
} job;

static struct {
    char **command;
    size_t words, most, running, next, shown, finished, count;
    job *jobs;
    proc_options options;
    proc_loop *loop;
    bool keep_going, failed, terminal, interrupted;
    int code, start_err;
    double began;
} run;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- what is shown */

static void clear_progress(void)
{
    if (run.terminal)
        fputs("\r\033[K", stderr);
}

static void show_progress(void *ctx)
{
    double seconds = now() - run.began, rate = (double)run.finished / seconds;

    (void)ctx;
    clear_progress();
    fprintf(stderr, "%zu of %zu, %.1f a second", run.finished, run.count, rate);
    if (run.finished > 0)
        fprintf(stderr, ", %.0f s left", (double)(run.count - run.finished) / rate);
    fflush(stderr);
}

/* As far as they are done in the order of the lines. */
static void show_done(void)
{
    for (; run.shown < run.count && run.jobs[run.shown].done; run.shown++) {
        job *j = &run.jobs[run.shown];
        if (j->out_size + j->complaint_size > 0)
            clear_progress();
        fwrite(j->out, 1, j->out_size, stdout);
        if (fflush(stdout) != 0) { /* nobody gets to see the rest */
            run.failed = true;
            run.keep_going = false;
        }
        fwrite(j->complaint, 1, j->complaint_size, stderr);
        free(j->out);
        free(j->complaint);
        j->out = j->complaint = NULL;
    }
}

static void list_failures(void)
{
    char end[64];

    for (size_t i = 0; i < run.count; i++) {
        const job *j = &run.jobs[i];
        if (!j->done || (j->err == 0 && proc_status_ok(&j->status)))
            continue;
        proc_status_format(&j->status, end, sizeof end);
        fprintf(stderr, "pmap: %s: %s\n", j->line, j->err < 0 ? proc_strerror(j->err) : end);
    }
}

/* ---- running */

static int code_of(const job *j)
{
    if (j->status.state == PROC_SIGNALED && j->err == 0)
        return KILLED;
    return j->status.code == 255 ? EXITED_255 : FAILED;
}

static void start_more(void);

static void end_job(int err, proc_result *result, void *ctx)
{
    job *j = ctx;

    j->done = true;
    j->err = err;
    j->status = result->status;
    j->out = result->out; /* ours from here on */
    j->complaint = result->err;
    j->out_size = result->out_size;
    j->complaint_size = result->err_size;
    result->out = result->err = NULL;
    run.running--;
    run.finished++;
    if (err < 0 || !proc_status_ok(&j->status)) {
        run.failed = true;
        run.code = run.code > code_of(j) ? run.code : code_of(j);
    }
    if (!run.interrupted) {
        show_done();
        start_more();
    }
}

static int start_job(job *j)
{
    const char *argv[run.words + 2];
    bool placed = false;

    for (size_t i = 0; i < run.words; i++) {
        bool here = strcmp(run.command[i], "{}") == 0;
        argv[i] = here ? j->line : run.command[i];
        placed = placed || here;
    }
    argv[run.words] = placed ? NULL : j->line;
    argv[run.words + 1] = NULL;
    return proc_loop_execfile(run.loop, argv, &run.options, end_job, j);
}

/* Out of processes or descriptors is no failure while others still run: they will give some back. */
static void start_more(void)
{
    while (run.next < run.count && run.running < run.most && (!run.failed || run.keep_going)) {
        int err = start_job(&run.jobs[run.next]);
        if ((err == -EAGAIN || err == -EMFILE || err == -ENFILE || err == -ENOMEM) && run.running > 0)
            return;
        if (err < 0) {
            run.start_err = err;
            run.failed = true;
            run.keep_going = false;
            return;
        }
        run.running++;
        run.next++;
    }
    if (run.running == 0)
        proc_loop_stop(run.loop); /* the progress would go on */
}

static void interrupt(int signal, void *ctx)
{
    (void)signal;
    (void)ctx;
    run.interrupted = true;
    proc_loop_stop(run.loop);
}

static int run_all(void)
{
    int err = proc_loop_new(&run.loop);

    run.began = now();
    if (err == 0)
        err = proc_loop_add_signal(run.loop, SIGINT, interrupt, NULL);
    if (err == 0)
        err = proc_loop_add_signal(run.loop, SIGTERM, interrupt, NULL);
    if (err == 0)
        err = proc_loop_add_signal(run.loop, SIGHUP, interrupt, NULL);
    if (err == 0 && run.terminal && proc_loop_add_timer(run.loop, 200, 200, show_progress, NULL) < 0)
        run.terminal = false;
    if (err == 0)
        start_more();
    if (err == 0)
        err = proc_loop_run(run.loop, PROC_FOREVER);
    run.interrupted = run.interrupted || err < 0;
    clear_progress();
    proc_loop_free(run.loop); /* stops what still runs */
    return err;
}

/* ---- the command line, the lines */

static int read_lines(void)
{
    char *line = NULL;
    size_t capacity = 0, room = 0;
    ssize_t length;

    while ((length = getline(&line, &room, stdin)) >= 0) {
        if (length > 0 && line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (run.count == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            job *jobs = realloc(run.jobs, capacity * sizeof *jobs);
            if (jobs == NULL)
                break;
            run.jobs = jobs;
        }
        char *copy = strdup(line);
        if (copy == NULL)
            break;
        run.jobs[run.count++] = (job){.line = copy};
    }
    free(line);
    return length >= 0 ? -ENOMEM : ferror(stdin) ? -EIO
                                                 : 0;
}

static int parse(int argc, char *argv[])
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int option;

    run.most = cores < 1 ? 1 : (size_t)cores;
    run.options = (proc_options){.max_buffer = PROC_UNLIMITED};
    while ((option = getopt(argc, argv, "+j:t:k")) != -1) {
        char *end = NULL;
        double number = option == 'k' ? 0 : strtod(optarg, &end);
        if (option == '?' || (option != 'k' && (*end != '\0' || !(number > 0 && number < 2e6))))
            return -1;
        if (option == 'j')
            run.most = number < 1 ? 1 : (size_t)number;
        else if (option == 't')
            run.options.timeout_ms = number * 1000 < 1 ? 1 : (int)(number * 1000);
        else
            run.keep_going = true;
    }
    run.command = argv + optind;
    run.words = (size_t)(argc - optind);
    return run.words > 0 ? 0 : -1;
}

int main(int argc, char *argv[])
{
    if (parse(argc, argv) < 0) {
        fprintf(stderr, "usage: pmap [-j N] [-t SECONDS] [-k] COMMAND [ARGUMENT...] < LINES\n");
        return 1;
    }
    run.terminal = isatty(STDERR_FILENO);
    int err = read_lines();
    if (err == 0 && run.count > 0)
        err = run_all();
    show_done();
    list_failures();
    if (err < 0)
        fprintf(stderr, "pmap: %s\n", proc_strerror(err));
    if (run.start_err < 0)
        fprintf(stderr, "pmap: %s: %s\n", run.command[0], proc_strerror(run.start_err));
    if (ferror(stdout)) {
        fprintf(stderr, "pmap: standard output cannot be written\n");
        run.code = run.code > FAILED ? run.code : FAILED;
    }
    for (size_t i = 0; i < run.count; i++) {
        free(run.jobs[i].line);
        free(run.jobs[i].out);
        free(run.jobs[i].complaint);
    }
    free(run.jobs);
    if (run.start_err < 0)
        return run.start_err == -ENOENT ? NOT_FOUND : CANNOT_RUN;
    return run.interrupted ? 130 : err < 0 ? 1
                                           : run.code;
}
