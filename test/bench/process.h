/* Between the harness and the process of a case. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include "bench.h"

enum { BENCH_TO_HARNESS = 3, BENCH_FROM_HARNESS = 4 };

/* What comes first from a process: it is ready, or says why not. */
typedef struct bench_hello {
    bool ready;
    char text[160];
} bench_hello;

typedef struct bench_answer {
    int64_t wall, cpu; /* ns, of all the times together */
} bench_answer;

int64_t bench_processor_time(void);

#endif
