/*
 * What the benchmarks share: cases that are measured in one run, by turns and in random order, so that what disturbs the
 * machine disturbs all of them alike; then a table of medians, and of ratios to the floor, which is what the bare system
 * calls take. Nothing here fails because a number is high: it says "over".
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_CASES = 8, BENCH_FLOOR = 0 };

typedef struct bench_case {
    const char *name;
    void (*run)(void); /* what is measured */
    double limit;      /* of the ratio to the floor; 0: none */
    int floor;         /* the case that it is compared with */
    int64_t *times;    /* bench_run's */
} bench_case;

static inline int64_t bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void bench_die(const char *what, int err)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(err));
    exit(1);
}

static inline void bench_check(const char *what, int err)
{
    if (err != 0) {
        bench_die(what, err < 0 ? -err : err);
    }
}

/* Stay on one processor, which is told; -1 for failure. */
static inline int bench_pin(int processor)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)processor, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0 ? processor : -1;
}

/* The last of the processors that this process may use, or the one before it, if there is one. */
static inline int bench_processor(bool last)
{
    cpu_set_t allowed;
    int found = 0;

    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        bench_die("sched_getaffinity", errno);
    }
    for (int processor = 0, left = CPU_COUNT(&allowed); left > (last ? 0 : 1); processor++) {
        if (CPU_ISSET((size_t)processor, &allowed)) {
            found = processor;
            left--;
        }
    }
    return found;
}

/* Where the tiny program is: PROC_BENCH_TINY, else beside this one. */
static inline char *bench_tiny(void)
{
    static char path[4096];
    const char *given = getenv("PROC_BENCH_TINY");
    ssize_t size;

    if (given != NULL) {
        snprintf(path, sizeof path, "%s", given);
    } else {
        size = readlink("/proc/self/exe", path, sizeof path - 8);
        path[size < 0 ? 0 : size] = '\0';
        strcpy(strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1, "tiny");
    }
    if (access(path, X_OK) != 0) {
        bench_die(path, errno);
    }
    return path;
}

static inline int bench_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* One round of all cases, each at a random place in it. */
static inline void bench_round(bench_case *cases, int count, int round)
{
    int order[BENCH_CASES];

    for (int i = 0; i < count; i++) {
        int j = rand() % (i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < count; i++) {
        bench_case *one = &cases[order[i]];
        int64_t begin = bench_now();

        one->run();
        if (round >= 0) {
            one->times[round] = bench_now() - begin;
        }
    }
}

static inline double bench_quantile(const bench_case *one, int rounds, int percent)
{
    return (double)one->times[rounds * percent / 100];
}

static inline void bench_head(const char *title, const char *unit)
{
    printf("\n%-52s %9s %9s %9s  %6s %6s\n", title, unit, "p10", "p90", "ratio", "limit");
}

static inline const char *bench_verdict(double value, double limit)
{
    return limit == 0 ? "" : value <= limit ? "ok" : "over";
}

static inline void bench_row(const bench_case *cases, int index, int rounds, double unit_ns)
{
    const bench_case *one = &cases[index];
    double ratio = bench_quantile(one, rounds, 50) / bench_quantile(&cases[one->floor], rounds, 50);

    printf("  %-50s %9.1f %9.1f %9.1f", one->name, bench_quantile(one, rounds, 50) / unit_ns,
           bench_quantile(one, rounds, 10) / unit_ns, bench_quantile(one, rounds, 90) / unit_ns);
    if (one->floor != index) {
        printf("  %6.2f", ratio);
    }
    if (one->limit > 0) {
        printf(" %6.2f %s", one->limit, bench_verdict(ratio, one->limit));
    }
    printf("\n");
}

/* Measures and prints. unit_ns: what a time is divided by, 1e3 for microseconds. */
static inline void bench_run(const char *title, const char *unit, double unit_ns, bench_case *cases, int count,
                             int rounds)
{
    int warm_up = rounds / 20 + 1;

    for (int i = 0; i < count; i++) {
        cases[i].times = calloc((size_t)rounds, sizeof *cases[i].times);
        if (cases[i].times == NULL) {
            bench_die("calloc", ENOMEM);
        }
    }
    for (int round = -warm_up; round < rounds; round++) {
        bench_round(cases, count, round);
    }
    bench_head(title, unit);
    for (int i = 0; i < count; i++) {
        qsort(cases[i].times, (size_t)rounds, sizeof *cases[i].times, bench_compare);
    }
    for (int i = 0; i < count; i++) {
        bench_row(cases, i, rounds, unit_ns);
    }
    for (int i = 0; i < count; i++) {
        free(cases[i].times);
    }
    fflush(stdout);
}

#endif
