/*
 * A scenario is a piece of a program that uses the library and looks at all that comes of it. It runs with a fault in one
 * call, and must end as the manual allows; and then without one, and must succeed. Here is what it says by that.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proc.h"
#include "shim.h"

typedef struct always {
    enum call call;
    int error;
} always;

typedef struct scenario {
    const char *name;
    /* True: all of it succeeded. False: something failed as the manual says, and the rest could not be done. */
    bool (*run)(void);
    const always *always;   /* the system cannot do these at all; up to an error of 0 */
    bool (*possible)(void); /* or NULL */
} scenario;

extern const scenario *const scenario_lists[]; /* each ended by a nameless one; NULL-ended */
extern const scenario spawn_scenarios[], exec_scenarios[], life_scenarios[], channel_scenarios[], worker_scenarios[],
    loop_scenarios[];

/* Whose errors are meant: those that its pages name. */
typedef enum call_domain { START, CHILD_CALL, CHANNEL_CALL, LOOP_CALL } call_domain;

/* Something is wrong: the case has failed. Always false. */
bool complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A result that is no success: it must be one of the domain's, and there must have been a fault. From here on there are no
 * more faults, so the same call may be made again and must succeed. */
bool failed(long result, call_domain domain, const char *what);
/* How a start went. False: it failed, cleanly. */
bool started(int err, const proc_child *child, const proc_error *error);
/* True, or complains. */
bool expect(bool as_expected, const char *what);
bool expect_result(long result, long expected, const char *what);
bool expect_text(const char *text, size_t size, const char *expected);
/* EXITED with that code, or LOST where the child was stolen. */
bool expect_exit(const proc_status *status, int code);
/* How long a call may take. What fails for ever need not be waited for as long. */
int patience_ms(void);
/* Has a fault been injected that may have cut what came over a pipe or a channel short? */
bool may_be_cut(void);

/* Reads a stream of a child to its end into text, and says how much. */
bool read_all(proc_child *child, int stream, char *text, size_t room, size_t *size);
/* The end of a handle that the scenario is done with: waits for a child that is about to end, and frees it. */
bool finish(proc_child *child, int code);

const char *child_path(void);
const char *own_path(void);
const char *work_dir(void);
bool make_work_dir(void);
void remove_work_dir(void);

int worker_main(void); /* this program, where it was started as a worker */

#ifdef PROC_POSIX_ONLY
enum { LAUNCHES_BY_FORK_ONLY = 1 };
#else
enum { LAUNCHES_BY_FORK_ONLY = 0 };
#endif

#define CHILD_ARGV(...) ((const char *const[]){child_path(), __VA_ARGS__, NULL})

#endif
