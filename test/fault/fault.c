/*
 * Fails each call of each scenario in turn: number 1, 2, 3, ... until one is no longer reached, each alone and from there
 * on, with each error that it may give; then bends the calls in ways that must change nothing. Each case is a process of
 * its own: a crash or a hang is one failure.
 *
 *   fault [-s SEED] [-f FRACTION] [-x] [SCENARIO...]     a part of the cases, chosen by seed; -x stops at a failure
 *   fault -1 SCENARIO once|from SIDE:CALL NUMBER ERROR   one case again
 *   fault -1 SCENARIO random|KIND SEED
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "leftovers.h"
#include "scenario.h"

typedef struct fault_case {
    const scenario *scenario;
    fault_mode mode;
    int side, call, ordinal, error;
    unsigned seed;
} fault_case;

static const char *const mode_names[] = {"none",  "once",     "from",  "random", "eintr",
                                         "short", "spurious", "delay", "all"};
static const char *const side_names[] = {"parent", "child"};
enum { KIND_SEEDS = 8, RANDOM_SEEDS = 100 };
#define MODES ((int)(sizeof mode_names / sizeof mode_names[0]))

static struct {
    const char *program;
    unsigned seed;
    double fraction;
    bool stop_at_failure;
    int patience; /* seconds */
    int passed, failed;
    atomic_int ever[SIDES][CALL_COUNT];
} run = {.seed = 1, .fraction = 1, .patience = 30};

const scenario *const scenario_lists[] = {
    spawn_scenarios, exec_scenarios, life_scenarios, channel_scenarios, worker_scenarios, loop_scenarios, NULL};

/* ---- names of errors ---- */

#define NAMED(error)                                                                                                   \
    {                                                                                                                  \
        error, #error                                                                                                  \
    }
static const struct {
    int error;
    const char *name;
} error_names[] = {
    NAMED(E2BIG),  NAMED(EACCES),     NAMED(EAGAIN),       NAMED(EBADF),   NAMED(EBUSY),
    NAMED(ECHILD), NAMED(ECONNRESET), NAMED(EINTR),        NAMED(EINVAL),  NAMED(EIO),
    NAMED(EMFILE), NAMED(EMSGSIZE),   NAMED(ENFILE),       NAMED(ENOBUFS), NAMED(ENOENT),
    NAMED(ENOMEM), NAMED(ENOEXEC),    NAMED(ENOSPC),       NAMED(ENOSYS),  NAMED(ENOTTY),
    NAMED(EPERM),  NAMED(EPIPE),      NAMED(ETOOMANYREFS), NAMED(ETXTBSY), NAMED(ESRCH),
};

static const char *error_name(int error)
{
    for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++) {
        if (error_names[i].error == error) {
            return error_names[i].name;
        }
    }
    return "?";
}

static int error_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++) {
        if (strcmp(error_names[i].name, name) == 0) {
            return error_names[i].error;
        }
    }
    return 0;
}

/* ---- one case ---- */

static void set_fault(const fault_case *c)
{
    shim->mode = c->mode;
    shim->side = c->side;
    shim->call = c->call;
    shim->ordinal = c->mode == FAULT_RANDOM ? 8 << c->seed % 5 : c->ordinal;
    shim->error = c->error;
    atomic_store(&shim->random, c->seed);
    for (const always *one = c->scenario->always; one != NULL && one->error != 0; one++) {
        shim->always[one->call] = one->error;
    }
}

/* After the fault the same must succeed, in the same process. */
static _Noreturn void run_here(const fault_case *c)
{
    picture before;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    picture_take(&before);
    set_fault(c);
    shim_arm(true);
    bool complete = c->scenario->run();
    shim_arm(false);
    if (!complete && atomic_load(&shim->hits) == 0) {
        (void)complain("it did not succeed, though nothing went wrong");
    }
    picture_compare(&before);
    if (shim->complaint[0] == '\0' && c->mode != FAULT_NONE) {
        atomic_store(&shim->hits, 0);
        atomic_store(&shim->stolen, false);
        atomic_store(&shim->refused, false);
        if (!c->scenario->run()) {
            (void)complain("without a fault, after it, it did not succeed");
        }
        picture_compare(&before);
        shim->afterwards = shim->complaint[0] != '\0';
    }
    _exit(shim->complaint[0] != '\0');
}

static void await_case(pid_t pid)
{
    sigset_t ends;
    int status = 0;
    struct timespec patience = {.tv_sec = run.patience};
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGCHLD);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (sigtimedwait(&ends, NULL, &patience) < 0 && errno == EAGAIN) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            (void)snprintf(shim->complaint, sizeof shim->complaint, "it hangs (killed after %d s)", run.patience);
            kill_children(); /* its orphans */
            return;
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) { /* a sanitizer's last word */
        (void)complain("it ended with status %d", WEXITSTATUS(status));
    }
    if (!WIFEXITED(status)) {
        (void)snprintf(shim->complaint, sizeof shim->complaint, "it died of signal %d", WTERMSIG(status));
        kill_children(); /* its orphans */
    }
}

static void describe(const fault_case *c, char *text, size_t size)
{
    if (c->mode == FAULT_ONCE || c->mode == FAULT_FROM) {
        (void)snprintf(text, size, "%s %s %s:%s %d %s", c->scenario->name, mode_names[c->mode], side_names[c->side],
                       calls[c->call].name, c->ordinal, error_name(c->error));
    } else {
        (void)snprintf(text, size, "%s %s %u", c->scenario->name, mode_names[c->mode], c->seed);
    }
}

static bool run_case(const fault_case *c)
{
    char text[128];
    shim_reset();
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        shim->main_process = getpid();
        run_here(c);
    }
    if (pid < 0) {
        (void)complain("fork: %s", strerror(errno));
    } else {
        await_case(pid);
    }
    for (int i = 0; i < SIDES * CALL_COUNT; i++) {
        run.ever[i / CALL_COUNT][i % CALL_COUNT] += shim->counts[i / CALL_COUNT][i % CALL_COUNT];
    }
    bool passed = shim->complaint[0] == '\0';
    *(passed ? &run.passed : &run.failed) += 1;
    if (!passed) {
        describe(c, text, sizeof text);
        printf("FAILED %s: %s%s\n    again: %s -1 %s\n", text, shim->afterwards ? "afterwards: " : "", shim->complaint,
               run.program, text);
    }
    return passed;
}

/* ---- all cases of a scenario ---- */

static bool is_chosen(const fault_case *c)
{
    char text[160];
    unsigned hash = 2166136261u ^ run.seed * 2654435761u;
    if (run.fraction >= 1) {
        return true;
    }
    describe(c, text, sizeof text);
    for (const char *at = text; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    }
    hash ^= hash >> 15;
    return hash * 2246822519u < run.fraction * 4294967295.0;
}

static bool must_stop(void)
{
    return run.stop_at_failure && run.failed > 0;
}

static void fail_each(fault_case c, int count)
{
    for (c.ordinal = 1; c.ordinal <= count + 2 && !must_stop(); c.ordinal++) {
        if (is_chosen(&c)) {
            (void)run_case(&c);
            if (!atomic_load(&shim->reached)) {
                return;
            }
        }
    }
}

static void fail_call(const scenario *s, int side, int call, int count)
{
    for (const int *error = calls[call].errors; *error != 0; error++) {
        fault_case c = {.scenario = s, .mode = FAULT_ONCE, .side = side, .call = call, .error = *error & ~ERROR_ONCE};
        fail_each(c, count);
        if ((*error & ERROR_ONCE) == 0) {
            c.mode = FAULT_FROM;
            fail_each(c, count);
        }
    }
}

static void run_seeds(const scenario *s, fault_mode mode, int count)
{
    fault_case c = {.scenario = s, .mode = mode, .seed = run.seed};
    for (int i = 0; i < count && !must_stop(); i++, c.seed++) {
        (void)run_case(&c);
    }
}

static void run_scenario(const scenario *s)
{
    int counts[SIDES][CALL_COUNT], passed = run.passed, failed = run.failed;
    fault_case c = {.scenario = s, .seed = run.seed};
    if (run_case(&c)) {
        memcpy(counts, shim->counts, sizeof counts);
        for (int mode = KIND_EINTR; mode < MODES; mode++) {
            run_seeds(s, (fault_mode)mode, run.fraction >= 1 && mode >= KIND_DELAY ? KIND_SEEDS : 1);
        }
        run_seeds(s, FAULT_RANDOM, (int)(RANDOM_SEEDS * (run.fraction < 1 ? run.fraction : 1)));
        for (int i = 0; i < SIDES * CALL_COUNT; i++) {
            int side = i / CALL_COUNT, call = i % CALL_COUNT;
            unsigned needed = side == SIDE_CHILD ? CALL_IN_CHILD_TOO : 0;
            if (counts[side][call] > 0 && (calls[call].flags & needed) == needed &&
                (side == SIDE_CHILD || (calls[call].flags & CALL_CHILD_ONLY) == 0)) {
                fail_call(s, side, call, counts[side][call]);
            }
        }
    }
    printf("%-22s %d passed, %d failed\n", s->name, run.passed - passed, run.failed - failed);
    (void)fflush(stdout);
}

/* ---- main ---- */

static const scenario *find_scenario(const char *name)
{
    for (const scenario *const *list = scenario_lists; *list != NULL; list++) {
        for (const scenario *s = *list; s->name != NULL; s++) {
            if (strcmp(s->name, name) == 0) {
                return s;
            }
        }
    }
    return NULL;
}

static int find_name(const char *const names[], int count, const char *name)
{
    int at = 0;
    while (at < count && strcmp(names[at], name) != 0) {
        at++;
    }
    return at;
}

static bool read_case(fault_case *c, char **words)
{
    c->scenario = words[0] != NULL ? find_scenario(words[0]) : NULL;
    int mode = c->scenario != NULL && words[1] != NULL ? find_name(mode_names, MODES, words[1]) : MODES;
    if (mode == MODES || words[2] == NULL) {
        return false;
    }
    c->mode = (fault_mode)mode;
    if (c->mode != FAULT_ONCE && c->mode != FAULT_FROM) {
        c->seed = (unsigned)strtoul(words[2], NULL, 10);
        return true;
    }
    char *name = strchr(words[2], ':');
    if (name == NULL || words[3] == NULL || words[4] == NULL) {
        return false;
    }
    *name++ = '\0';
    c->side = find_name(side_names, SIDES, words[2]);
    while (c->call < CALL_COUNT && strcmp(calls[c->call].name, name) != 0) {
        c->call++;
    }
    c->ordinal = atoi(words[3]);
    c->error = error_by_name(words[4]);
    return c->side < SIDES && c->call < CALL_COUNT && c->error != 0;
}

static void run_all(void)
{
    for (const scenario *const *list = scenario_lists; *list != NULL; list++) {
        for (const scenario *s = *list; s->name != NULL && !must_stop(); s++) {
            if (s->possible == NULL || s->possible()) {
                run_scenario(s);
            } else {
                printf("%-22s not possible here\n", s->name);
            }
        }
    }
    printf("never called:");
    for (int call = 0; call < CALL_COUNT; call++) {
        if (run.ever[SIDE_PARENT][call] + run.ever[SIDE_CHILD][call] == 0) {
            printf(" %s", calls[call].name);
        }
    }
    printf("\n");
}

static void prepare(const char *program)
{
    const struct rlimit few = {.rlim_cur = PICTURE_FDS, .rlim_max = PICTURE_FDS};
    sigset_t ends;
    run.program = program;
    (void)setrlimit(RLIMIT_NOFILE, &few); /* where descriptors are closed one by one */
    (void)setpriority(PRIO_PROCESS, 0, 0);
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("PROC_TEST_PATIENCE") != NULL) {
        run.patience *= atoi(getenv("PROC_TEST_PATIENCE"));
    }
    shim_open();
}

int main(int argc, char **argv)
{
    fault_case one = {.seed = 1};
    bool again = false;
    if (getenv("PROC_CHANNEL") != NULL) {
        return worker_main();
    }
    for (int option; (option = getopt(argc, argv, "1s:f:xp:")) != -1;) {
        switch (option) {
        case '1':
            again = true;
            break;
        case 's':
            run.seed = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            run.fraction = strtod(optarg, NULL);
            break;
        case 'p':
            run.patience = atoi(optarg);
            break;
        case 'x':
            run.stop_at_failure = true;
            break;
        default:
            return 2;
        }
    }
    prepare(argv[0]);
    if (!make_work_dir()) {
        perror("a directory for the scenarios");
        return 2;
    }
    if (again) {
        if (!read_case(&one, argv + optind)) {
            fprintf(stderr, "%s: no such case\n", argv[0]);
            return 2;
        }
        (void)run_case(&one);
    } else if (optind < argc) {
        for (; optind < argc; optind++) {
            const scenario *s = find_scenario(argv[optind]);
            if (s == NULL) {
                fprintf(stderr, "%s: no scenario %s\n", argv[0], argv[optind]);
                return 2;
            }
            run_scenario(s);
        }
    } else {
        run_all();
    }
    remove_work_dir();
    printf("%d passed, %d failed\n", run.passed, run.failed);
    return run.failed > 0 || run.passed == 0;
}
