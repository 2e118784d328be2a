/* Runs the cases of a table: each in a process of its own, by turns, in random order. */
#include "bench.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "process.h"

enum { ANSWER_MS = 60000, LEAST_ROUNDS = 5, ALL_SECONDS = 240 };

/* ---- in the process of a case */

static bench_hello hello;
static bool greeted;

static void greet(bool ready)
{
    if (!greeted) {
        greeted = true;
        hello.ready = ready;
        (void)!write(BENCH_TO_HARNESS, &hello, sizeof hello);
    }
}

void bench_remark(const char *text)
{
    snprintf(hello.text, sizeof hello.text, "%s", text);
}

void bench_skip(const char *why)
{
    bench_remark(why);
    greet(false);
    _exit(0);
}

void bench_die(const char *what, int err)
{
    char text[128];

    snprintf(text, sizeof text, "%s: %s", what, strerror(err));
    if (greeted) {
        fprintf(stderr, "bench: %s\n", text);
    }
    bench_skip(text);
}

static struct {
    const bench_op *op;
    pthread_barrier_t begin;
    int each;
} crew;

static void *run_in_thread(void *arg)
{
    pthread_barrier_wait(&crew.begin);
    crew.op->run(crew.each);
    return arg;
}

/* The clock runs from when all threads are there until the last has done its share. */
static int64_t run_in_threads(const bench_op *op, int times)
{
    int count = bench_args_now.threads;
    pthread_t threads[64];

    crew.op = op;
    crew.each = times / count;
    pthread_barrier_init(&crew.begin, NULL, (unsigned)count + 1);
    for (int i = 0; i < count; i++) {
        bench_check("pthread_create", pthread_create(&threads[i], NULL, run_in_thread, NULL));
    }
    pthread_barrier_wait(&crew.begin);
    int64_t begin = bench_now();
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    int64_t end = bench_now();
    pthread_barrier_destroy(&crew.begin);
    return end - begin;
}

static void serve(const bench_op *op)
{
    bench_answer answer;
    int times;

    while (bench_read_all(BENCH_FROM_HARNESS, &times, sizeof times)) {
        int64_t cpu = bench_processor_time(), begin = bench_now();
        if (bench_args_now.threads > 1) {
            answer.wall = run_in_threads(op, times);
        } else {
            op->run(times);
            answer.wall = bench_now() - begin;
        }
        answer.cpu = cpu < 0 ? -1 : bench_processor_time() - cpu;
        bench_write_all(BENCH_TO_HARNESS, &answer, sizeof answer);
    }
}

static const struct {
    const char *peer, *package;
} packages[] = {{"uv_start", "libuv1-dev"}, {"uv_messages", "libuv1-dev"},
                {"uv_loop", "libuv1-dev"},  {"glib", "libglib2.0-dev"},
                {"apr", "libapr1-dev"},     {"nng", "libnng-dev"},
                {"zmq", "libzmq3-dev"},     {"imsg", "a libbsd that has imsg (Debian's has not)"},
                {"node", "nodejs"}};

static const bench_op *load(const bench_case *one)
{
    char path[8192];
    const bench_op *op;
    void *object;

    snprintf(path, sizeof path, "%s/peer_%s.so", bench_directory, one->peer);
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; object == NULL && i < sizeof packages / sizeof packages[0]; i++) {
        if (strcmp(packages[i].peer, one->peer) == 0 && access(path, F_OK) != 0) {
            snprintf(path, sizeof path, "skipped: install %s", packages[i].package);
            bench_skip(path);
        }
    }
    op = object == NULL ? NULL : dlsym(object, "bench_ops");
    if (op == NULL) {
        bench_skip(dlerror());
    }
    while (op->name != NULL && strcmp(op->name, one->op) != 0) {
        op++;
    }
    if (op->name == NULL) {
        bench_skip("it has no such operation");
    }
    return op;
}

static _Noreturn void be_case(const bench_case *one, int to_harness, int from_harness)
{
    const int null = open("/dev/null", O_RDWR);
    const int ends[2] = {fcntl(to_harness, F_DUPFD, 10), fcntl(from_harness, F_DUPFD, 10)};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(null, 1);
    dup3(ends[0], BENCH_TO_HARNESS, O_CLOEXEC);
    dup3(ends[1], BENCH_FROM_HARNESS, O_CLOEXEC);
    for (int fd = BENCH_FROM_HARNESS + 1; fd < 4 * BENCH_CASES; fd++) {
        close(fd);
    }
    bench_args_now = one->args;
    bench_op_now = one->op;
    bench_set_writer(one->args.size);
    if (one->args.threads <= 1) {
        bench_pin(bench_first_processor);
    }
    bench_payload = calloc(1, one->args.size < 8 ? 8 : one->args.size);
    if (bench_payload == NULL) {
        bench_skip("no memory");
    }
    const bench_op *op = load(one);
    if (op->begin != NULL) {
        op->begin();
    }
    greet(true);
    serve(op);
    if (op->end != NULL) {
        op->end();
    }
    _exit(0);
}

/* ---- in the harness */

int bench_failures;
int64_t bench_began;

/* Whole, within a time that no peer needs. */
static bool hear(const bench_case *one, void *data, size_t size)
{
    struct pollfd polled = {.fd = one->from, .events = POLLIN};

    return poll(&polled, 1, ANSWER_MS) == 1 && bench_read_all(one->from, data, size);
}

static void drop(bench_case *one, const char *why)
{
    if (strncmp(why, "skipped: ", 9) != 0) {
        bench_failures++;
    }
    snprintf(one->skipped, sizeof one->skipped, "%s", why);
    if (one->pid > 0) {
        close(one->to);
        kill(one->pid, SIGKILL);
        waitpid(one->pid, NULL, 0);
        close(one->from);
        one->pid = -1;
    }
}

static bool sample(bench_case *one, bench_sample *into)
{
    bench_answer answer;

    if (one->pid < 0) {
        return false;
    }
    if (write(one->to, &one->times, sizeof one->times) < 0 || !hear(one, &answer, sizeof answer)) {
        drop(one, "it died, or gave no answer in a minute");
        return false;
    }
    double things = (double)one->times * (one->units > 0 ? one->units : 1);
    into->wall = (double)answer.wall / things;
    into->cpu = answer.cpu < 0 ? -1 : (double)answer.cpu / things;
    return true;
}

static void start(bench_case *one)
{
    int to[2], from[2];
    bench_hello first;

    bench_must("pipe2", pipe2(to, O_CLOEXEC));
    bench_must("pipe2", pipe2(from, O_CLOEXEC));
    fflush(NULL);
    one->pid = bench_must("fork", fork());
    if (one->pid == 0) {
        be_case(one, from[1], to[0]);
    }
    close(to[0]);
    close(from[1]);
    one->to = to[1];
    one->from = from[0];
    if (!hear(one, &first, sizeof first)) {
        drop(one, "it died as it began");
    } else if (!first.ready) {
        drop(one, first.text);
    } else {
        snprintf(one->remark, sizeof one->remark, "%s", first.text);
    }
}

/* ns that so many times take: the least of a few, as an accident must not set the size of all samples; 0: it is gone. */
static double least_time(bench_case *one, double enough)
{
    double least = 0;

    for (int i = 0; i < 4; i++) {
        bench_sample trial;
        if (!sample(one, &trial)) {
            return 0;
        }
        double each = trial.cpu > 0 && trial.cpu < trial.wall ? trial.cpu : trial.wall;
        double took = each * one->times * (one->units > 0 ? one->units : 1);
        if (i == 0 || took < least) {
            least = took;
        }
        if (took < enough || took > 20 * enough) {
            break;
        }
    }
    return least;
}

/* How often the operation fits the time of a sample; this warms it up as well. */
static void calibrate(bench_case *one, double wanted)
{
    int step = one->args.threads > 1 ? one->args.threads : 1;

    one->times = one->least > step ? one->least : step;
    for (double took; (took = least_time(one, wanted / 1.5)) > 0 && took < wanted / 1.5;) {
        double factor = wanted / took < 4 ? wanted / took : 4;
        one->times = (int)(one->times * factor) / step * step;
    }
}

static void shuffle(int *order, int count)
{
    for (int i = 0; i < count; i++) {
        int j = rand() % (i + 1);

        order[i] = order[j];
        order[j] = i;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void summarize(bench_case *one, int rounds)
{
    double wall[BENCH_SAMPLES], cpu[BENCH_SAMPLES];

    for (int i = 0; i < rounds; i++) {
        wall[i] = one->samples[i].wall;
        cpu[i] = one->samples[i].cpu;
    }
    qsort(wall, (size_t)rounds, sizeof wall[0], compare);
    qsort(cpu, (size_t)rounds, sizeof cpu[0], compare);
    one->low = (bench_sample){wall[rounds / 10], cpu[rounds / 10]};
    one->middle = (bench_sample){wall[rounds / 2], cpu[rounds / 2]};
    one->high = (bench_sample){wall[rounds * 9 / 10], cpu[rounds * 9 / 10]};
}

/* A process that was left behind, by a peer that died perhaps, ends with the last descriptor to it. */
static void stop_all(bench_table *table)
{
    for (int i = 0; i < table->count; i++) {
        bench_case *one = &table->cases[i];
        if (one->pid > 0) {
            close(one->to);
            close(one->from);
            waitpid(one->pid, NULL, 0);
        }
    }
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

static bool any_left(const bench_table *table)
{
    for (int i = 0; i < table->count; i++) {
        if (table->cases[i].pid > 0) {
            return true;
        }
    }
    return false;
}

void bench_cases_run(bench_table *table)
{
    const char *given = getenv("PROC_BENCH_SECONDS");
    double seconds = given == NULL ? ALL_SECONDS : atof(given), share = seconds / ALL_SECONDS;
    bool late = (double)(bench_now() - bench_began) > seconds * 1e9;
    int order[BENCH_CASES], least = share < 0.25 || late ? 1 : LEAST_ROUNDS;
    double wanted = 1e6 * (table->sample_ms > 0 ? table->sample_ms : 4);

    for (int i = 0; i < table->count; i++) {
        start(&table->cases[i]);
    }
    for (int i = 0; i < table->count; i++) {
        if (table->cases[i].pid > 0) {
            calibrate(&table->cases[i], wanted);
        }
    }
    if (!any_left(table)) {
        return;
    }
    int64_t over = bench_now() + (int64_t)(late ? 0 : table->seconds * share * 1e9);
    for (table->rounds = 0; table->rounds < BENCH_SAMPLES; table->rounds++) {
        if (table->rounds >= least && bench_now() > over) {
            break;
        }
        shuffle(order, table->count);
        for (int i = 0; i < table->count; i++) {
            bench_case *one = &table->cases[order[i]];
            (void)sample(one, &one->samples[table->rounds]);
        }
    }
    stop_all(table);
    for (int i = 0; i < table->count; i++) {
        if (table->cases[i].pid > 0) {
            summarize(&table->cases[i], table->rounds);
        }
    }
}
