/*
 * Measures libproc against the bare system calls and against other libraries: bench [TOPIC...]. PROC_BENCH_SECONDS is about
 * how long all of it takes, 240 where it is not set; with less than a minute most figures are of one sample, and so are the
 * last ones on a machine that is too busy.
 */
#include "bench.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static char tiny[4096 + 16], idle[4096 + 16], self[4096], writer_size[24], writer_processor[16];

char *bench_tiny[] = {tiny, NULL}, *bench_idle[] = {idle, NULL};
char *bench_writer[] = {self, "--write", writer_size, writer_processor, NULL};
char bench_directory[4096];
int bench_first_processor, bench_second_processor;

static const struct {
    const char *name;
    void (*run)(void);
} topics[] = {{"spawn", topic_spawn}, {"capture", topic_capture}, {"messages", topic_messages}, {"loop", topic_loop}};

void bench_pin(int processor)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)processor, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

/* The last two that this process may use: the first ones often serve interrupts. */
static void choose_processors(void)
{
    cpu_set_t allowed;

    CPU_ZERO(&allowed);
    bench_must("sched_getaffinity", sched_getaffinity(0, sizeof allowed, &allowed));
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (CPU_ISSET((size_t)processor, &allowed)) {
            bench_second_processor = bench_first_processor;
            bench_first_processor = processor;
        }
    }
    if (CPU_COUNT(&allowed) == 1) {
        bench_second_processor = bench_first_processor;
        printf("There is one processor only: what says two has both ends on it.\n");
    }
}

static void find_programs(void)
{
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);

    if (size < 0) {
        bench_die("/proc/self/exe", errno);
    }
    snprintf(bench_directory, sizeof bench_directory, "%s", self);
    *strrchr(bench_directory, '/') = '\0';
    snprintf(tiny, sizeof tiny, "%s/tiny", bench_directory);
    snprintf(idle, sizeof idle, "%s/idle", bench_directory);
    if (access(tiny, X_OK) < 0 || access(idle, X_OK) < 0) {
        bench_die(tiny, errno);
    }
}

void bench_set_writer(size_t size)
{
    snprintf(writer_size, sizeof writer_size, "%zu", size);
}

static int write_bytes(size_t size, int processor)
{
    static char chunk[MIB];

    if (processor >= 0) {
        bench_pin(processor);
    }
    memset(chunk, 'x', sizeof chunk);
    while (size > 0) {
        size_t some = size < sizeof chunk ? size : sizeof chunk;
        bench_write_all(1, chunk, some);
        size -= some;
    }
    return 0;
}

static void print_machine(void)
{
    struct utsname system;
    char line[256], model[128] = "an unknown processor";
    FILE *file = fopen("/proc/cpuinfo", "r");

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "model name : %127[^\n]", model);
    }
    if (file != NULL) {
        fclose(file);
    }
    uname(&system);
    printf("%ld processors (%s), %.0f GiB of memory, %s %s\n", sysconf(_SC_NPROCESSORS_ONLN), model,
           (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1024.0 * MIB), system.sysname,
           system.release);
    printf(
        "Each figure is the median of samples that take turns in random order; p10 and p90 are the 10th and the 90th\n"
        "percentile. cpu is the processor time of all the processes together. ratio: to the first row of the group.\n");
}

static bool wanted(const char *topic, int argc, char *argv[])
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], topic) == 0) {
            return true;
        }
    }
    return argc < 2;
}

int main(int argc, char *argv[])
{
    if (argc == 4 && strcmp(argv[1], "--write") == 0) {
        return write_bytes(strtoull(argv[2], NULL, 10), atoi(argv[3]));
    }
    find_programs();
    choose_processors();
    snprintf(writer_processor, sizeof writer_processor, "%d", bench_second_processor);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    print_machine();
    bench_began = bench_now();
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        if (wanted(topics[i].name, argc, argv)) {
            topics[i].run();
        }
    }
    if (bench_failures > 0) {
        printf("\n%d rows could not be measured.\n", bench_failures);
    }
    return bench_failures > 0;
}
