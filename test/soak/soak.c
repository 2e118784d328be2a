/*
 * soak CHILDREN MESSAGES [SEED]: runs the roles, each in a process of its own, tells how far they are, and at the end in one
 * line what came of it. Not 0 when anything was lost, wrong, left behind, or has grown.
 */
#include "soak.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { WARM_LOOKS = 4, MOST_GROWTH_KIB = 8 * 1024, TELL_EVERY_S = 10, STUCK_AFTER_S = 180, MOST_TOLD = 50 };

tally *sum;
uint64_t soak_seed;

/* ---- chance ---- */

static uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

chance chance_of(unsigned number, unsigned part, uint64_t round)
{
    return (chance){scramble(soak_seed + scramble(round * 1024 + number * 64 + part + 1))};
}

uint32_t chance_below(chance *c, uint32_t end)
{
    c->state += 0x9e3779b97f4a7c15u;
    return (uint32_t)((scramble(c->state) >> 32) * end >> 32);
}

unsigned char pattern_at(uint64_t seed, size_t offset)
{
    return (unsigned char)(seed * 31 + offset * 7 + offset / 256);
}

/* ---- what is wrong ---- */

static void tell(const char *format, va_list args)
{
    char line[512];

    (void)vsnprintf(line, sizeof line, format, args);
    if (atomic_fetch_add(&sum->faults, 1) < MOST_TOLD) {
        fprintf(stderr, "soak: %s\n", line);
    }
}

void complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(format, args);
    va_end(args);
}

void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(format, args);
    va_end(args);
    _exit(1);
}

static atomic_ullong own;

void count_messages(unsigned long long count)
{
    enum { BUNDLE = 1024 };
    unsigned long long before = atomic_fetch_add(&own, count);

    ADD(messages, ((before + count) / BUNDLE - before / BUNDLE) * BUNDLE);
}

unsigned long long own_messages(void)
{
    return atomic_load(&own);
}

/* ---- pictures ---- */

usage usage_now(void)
{
    usage now = {.rss_kib = 0};
    FILE *statm = fopen("/proc/self/statm", "re");
    DIR *fds = opendir("/proc/self/fd");
    long size, resident;

    if (statm == NULL || fds == NULL || fscanf(statm, "%ld %ld", &size, &resident) != 2) {
        give_up("/proc cannot be read");
    }
    now.rss_kib = resident * (sysconf(_SC_PAGESIZE) / 1024);
    while (readdir(fds) != NULL) {
        now.fds++;
    }
    now.fds -= 4; /* ".", "..", and the two that are open for this */
    (void)closedir(fds);
    (void)fclose(statm);
    return now;
}

void picture_compare(picture *p, usage now, const char *who)
{
    if (++p->looks <= WARM_LOOKS) {
        p->first.rss_kib = now.rss_kib > p->first.rss_kib ? now.rss_kib : p->first.rss_kib;
        p->first.fds = now.fds > p->first.fds ? now.fds : p->first.fds;
        return;
    }
    long growth = now.rss_kib - p->first.rss_kib;
    long long most = atomic_load(&sum->rss_growth);
    while (growth > most && !atomic_compare_exchange_weak(&sum->rss_growth, &most, growth)) {
    }
    EXPECT(growth <= MOST_GROWTH_KIB, "%s has grown from %ld to %ld KiB", who, p->first.rss_kib, now.rss_kib);
    EXPECT(now.fds <= p->first.fds, "%s has %ld descriptors open instead of %ld", who, now.fds, p->first.fds);
}

void picture_look(picture *p, const char *who, bool kept)
{
    siginfo_t info = {.si_pid = 0};
    int err = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);

    if (err == 0 && info.si_pid != 0) {
        ADD(zombies, 1);
        complain("%s has the zombie %ld", who, (long)info.si_pid);
    } else if (err == 0 && !kept) {
        complain("%s has a child that was not ended", who);
    }
    picture_compare(p, usage_now(), who);
}

/* ---- the run ---- */

typedef struct worker_process {
    role *run;
    const char *name;
    unsigned percent; /* of the children, or of the messages */
    bool of_messages;
    pid_t pid;
} worker_process;

static worker_process roles[] = {
    {.run = children_by_calls, .name = "children by calls", .percent = 50},
    {.run = children_in_loop, .name = "children in a loop", .percent = 50},
    {.run = messages_by_calls, .name = "messages by calls", .percent = 50, .of_messages = true},
    {.run = messages_in_loop, .name = "messages in a loop", .percent = 50, .of_messages = true},
};
enum { ROLES = sizeof roles / sizeof roles[0] };

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell_line(const char *word, double seconds)
{
    printf("%s: %llu children (%llu killed, %llu stopped, %llu timed out), %llu messages, %llu lost, %llu wrong, "
           "%llu zombies, %llu faults, memory +%lld KiB, %.0f s, seed %llu\n",
           word, atomic_load(&sum->children), atomic_load(&sum->killed), atomic_load(&sum->stopped),
           atomic_load(&sum->timed_out), atomic_load(&sum->messages), atomic_load(&sum->lost), atomic_load(&sum->wrong),
           atomic_load(&sum->zombies), atomic_load(&sum->faults), atomic_load(&sum->rss_growth), seconds,
           (unsigned long long)soak_seed);
    (void)fflush(stdout);
}

static void start_roles(uint64_t children, uint64_t messages)
{
    for (unsigned i = 0; i < ROLES; i++) {
        worker_process *r = &roles[i];

        r->pid = fork();
        if (r->pid == 0) {
            (void)setpgid(0, 0);
            _exit(r->run(i, (r->of_messages ? messages : children) * r->percent / 100));
        }
        if (r->pid < 0) {
            perror("fork");
            exit(1);
        }
    }
}

/* How many still run. */
static int reap_roles(void)
{
    int running = 0;

    for (unsigned i = 0; i < ROLES; i++) {
        int status;

        if (roles[i].pid > 0 && waitpid(roles[i].pid, &status, WNOHANG) == roles[i].pid) {
            roles[i].pid = 0;
            EXPECT(status == 0, "%s: ended with status %x", roles[i].name, (unsigned)status);
        }
        running += roles[i].pid > 0;
    }
    return running;
}

static bool watch_roles(double began)
{
    unsigned long long before = 0;
    double moved = began, told = began;

    while (reap_roles() > 0) {
        double now = now_s();
        unsigned long long done = atomic_load(&sum->children) + atomic_load(&sum->messages);

        if (done != before) {
            before = done;
            moved = now;
        } else if (now - moved > STUCK_AFTER_S) {
            complain("nothing has moved for %d s", STUCK_AFTER_S);
            return false;
        }
        if (now - told >= TELL_EVERY_S) {
            told = now;
            tell_line("so far", now - began);
        }
        (void)poll(NULL, 0, 200);
    }
    return true;
}

static void kill_roles(void)
{
    for (unsigned i = 0; i < ROLES; i++) {
        if (roles[i].pid > 0) {
            (void)kill(-roles[i].pid, SIGKILL);
            (void)waitpid(roles[i].pid, NULL, 0);
        }
    }
}

const char *const *soak_argv(const char *verb, const char *argument)
{
    static _Thread_local const char *argv[5];

    argv[0] = "/proc/self/exe";
    argv[1] = "child";
    argv[2] = verb;
    argv[3] = argument;
    argv[4] = NULL;
    return argv;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "child") == 0) {
        return child_main(argv[2], argc > 3 ? argv[3] : "0");
    }
    if (argc < 3) {
        fprintf(stderr, "usage: soak CHILDREN MESSAGES [SEED]\n");
        return 2;
    }
    sum = mmap(NULL, sizeof *sum, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sum == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    double began = now_s();
    soak_seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    printf("soak: seed %llu\n", (unsigned long long)soak_seed);
    (void)fflush(stdout);
    start_roles(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
    if (!watch_roles(began)) {
        kill_roles();
    }
    bool good = atomic_load(&sum->faults) + atomic_load(&sum->lost) + atomic_load(&sum->wrong) == 0;
    tell_line(good ? "soak passed" : "soak FAILED", now_s() - began);
    return good ? 0 : 1;
}
