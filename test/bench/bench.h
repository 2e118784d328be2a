/*
 * What the benchmarks are made of. A peer (peer_*.c: the bare system calls, libproc, another library) is an object of its
 * own that is loaded at run time, so that one that is not installed is merely missing; it has operations. A case is a row
 * of a table: an operation of a peer with its arguments, run in a process of its own, so that no library meets another's
 * signal handlers and threads. All cases of a table take turns, in random order, in one run: what disturbs the machine
 * disturbs all of them alike. Nothing here fails because a number is high: it says "over".
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * 1024, BENCH_AT_ONCE = 64, BENCH_SHORT = 1000 };

extern char **environ;

typedef struct bench_args {
    size_t size; /* bytes: of a message, of an output */
    int count;   /* children, at once or at all; timers */
    int threads; /* that run the operation at once; 0 is one, which stays on its processor */
    size_t held; /* bytes that the parent holds; here already, but in a program that a peer starts */
    bool two;    /* the other end is on another processor */
} bench_args;

/* ---- what a peer is */

typedef struct bench_op {
    const char *name;
    void (*begin)(void);    /* once, before all; may be NULL */
    void (*run)(int count); /* what is measured, so many times; with threads it runs in several at once */
    void (*end)(void);      /* may be NULL */
} bench_op;

/* What the object of a peer exports: ends with an operation without a name. */
extern const bench_op bench_ops[];

/* ---- what peers use, in the process of their case */

extern bench_args bench_args_now;
extern const char *bench_op_now;

int64_t bench_now(void); /* ns */
_Noreturn void bench_die(const char *what, int err);
/* Ends this case where err is an error, as errno or negative. */
void bench_check(const char *what, int err);
/* The same for what a system call returned. */
int bench_must(const char *what, int value);
/* What is printed below the table. */
void bench_remark(const char *text);
/* The case cannot be measured, for that reason. */
_Noreturn void bench_skip(const char *why);

/* Programs: one that ends at once, one that waits for the end of its stdin, one that writes args.size bytes. */
extern char *bench_tiny[], *bench_idle[], *bench_writer[];
/* The directory of the first two, and of what else was built. */
extern char bench_directory[];

/* Waits for a child, which must say 0. */
void bench_await(pid_t pid);
/* Its processor time counts, though it is not waited for. */
void bench_watch(pid_t pid);
/* Where nobody knows the processor time. */
void bench_no_processor_time(void);
/* A forked copy, on its processor, that serves and exits; it has closed the descriptor of the first end. */
pid_t bench_other_end(void (*serve)(int fd), int fd, int first);
/* In a copy that a peer has forked by itself. */
void bench_be_other_end(void);
/* Children that wait, each with its stdin at the end of a pipe: they end when it does, which is with this process. */
int bench_lifeline(void);
/* Some of the children of a case, evenly spread, say a byte in turn, as far as this end can tell: it writes it. */
void bench_talkers(const pid_t *pids, int count);
void bench_talk(void);
/* By posix_spawn, with pipes for its three streams: our ends of them. */
pid_t bench_spawn_piped(char *const argv[], int ends[3]);
/* As many descriptors as needed, where that is allowed: how many there may be. */
size_t bench_descriptors(size_t needed);

void bench_write_all(int fd, const void *data, size_t size);
/* false: the end. */
bool bench_read_all(int fd, void *data, size_t size);

/* A buffer that grows as those of programs do, by doubling. */
typedef struct bench_bytes {
    char *data;
    size_t size, room;
} bench_bytes;

/* Room for that many bytes more; where they go. */
char *bench_room(bench_bytes *bytes, size_t more);
/* That all of args.size came; and frees it. */
void bench_came(bench_bytes *bytes);

/* The first 4 bytes of each message tell what the other end does with it: how many messages are left, this one included.
 * So the last one is answered with a short message; and 0 is echoed. */
enum { BENCH_ECHO = 0, BENCH_LAST = 1 };

extern char *bench_payload; /* of args.size bytes */
void bench_mark(uint32_t left);
uint32_t bench_mark_of(const void *message);

/* ---- tables: what the topics use */

enum { BENCH_CASES = 64, BENCH_SAMPLES = 200 };

typedef struct bench_sample {
    double wall, cpu; /* ns for each; cpu < 0: not known */
} bench_sample;

typedef struct bench_case {
    const char *name; /* of the row */
    const char *peer; /* peer_NAME.c */
    const char *op;   /* of that peer */
    bench_args args;
    int floor;         /* the row that it is compared with: its place in the table; itself for none */
    double aim;        /* of that ratio; 0: none */
    bool by_cpu;       /* the aim is about the processor time */
    const char *group; /* a line above the row; NULL: as before */
    const char *line;  /* in the picture; NULL: not there */
    double x;          /* in the picture */
    int least;         /* times that the operation runs in a sample, at least */
    int units;         /* things that are done each time, 0 for one: the figures are of one */

    pid_t pid;
    int to, from, times;
    char skipped[160], remark[160];
    bench_sample samples[BENCH_SAMPLES], low, middle, high;
} bench_case;

typedef struct bench_table {
    const char *topic; /* a word, for the file of results */
    const char *title, *unit;
    double scale;   /* ns in the unit; of a rate: things a second in the unit */
    bool rate;      /* a second, and more is better: ratio and aim are those of rates */
    int sample_ms;  /* 0: 4 */
    double seconds; /* for all of it */
    int count, rounds;
    bench_case cases[BENCH_CASES];
} bench_table;

bench_table *bench_table_new(const char *topic, const char *title, const char *unit, double scale);
/* A row, compared with the row that was added as the last floor; peers without aim have 0. */
bench_case *bench_add(bench_table *table, const char *name, const char *peer, const char *op, double aim);
bench_case *bench_add_floor(bench_table *table, const char *name, const char *peer, const char *op);
/* Measures, prints, appends to the file of results, frees. */
void bench_table_run(bench_table *table);

/* How many rows could not be measured, but for a library that is missing. */
extern int bench_failures;

/* When the first table began: once the time for all of them is up, each row has one sample only. */
extern int64_t bench_began;

void bench_cases_run(bench_table *table);
void bench_set_writer(size_t size);

/* Processors: of the one that measures, and of the other end. */
extern int bench_first_processor, bench_second_processor;
void bench_pin(int processor);

void topic_spawn(void);
void topic_capture(void);
void topic_messages(void);
void topic_loop(void);

#endif
