/*
 * proc.h - child processes and messages between them, for C programs on POSIX systems.
 *
 * The manual says more: libproc(7) for the whole, proc_options(3) for every option, a page for each function.
 *
 * Conventions, everywhere:
 *   - a function that can fail returns int (or ssize_t): 0 or more is success, a negative value is -errno.
 *     -ETIMEDOUT time ran out; -EPIPE the other end is gone; -ENOBUFS an output limit was hit; -EMSGSIZE a message
 *     is too large; -EPROTO the other end broke the protocol; -ECANCELED cancelled; -EINVAL a bad argument.
 *   - nothing calls abort(), exit() or assert() on what a system call or a peer does; nothing writes to stderr;
 *     nothing installs a signal handler, changes the signal mask of the caller for good, or calls waitpid(-1).
 *   - EINTR never reaches the caller. Writing to a dead peer never raises SIGPIPE. No function is a thread cancellation
 *     point: cancellation is held off inside each.
 *   - a timeout argument is in milliseconds on the monotonic clock: 0 does not wait, PROC_FOREVER waits for ever, any
 *     other negative value is -EINVAL; when time runs out, also at once, the answer is -ETIMEDOUT: "try again".
 *     In an options struct 0 is the default that is named there, and PROC_FOREVER is never.
 *   - an all-zero options struct is a sane default; NULL stands for it. Strings and arrays in options are only
 *     read during the call. A reserved word that is not zero is -EINVAL.
 *   - a function that makes an object sets it to NULL when it fails. A free function takes NULL.
 *   - a NULL pointer where an object, a buffer or a string is needed is -EINVAL.
 *   - different objects may be used from different threads at once. One object: from one thread at a time, but for
 *     what is marked "any thread"; the three streams of a child count as objects of their own. A free is the last
 *     call: no other thread may still be inside one.
 *   - after the host itself forks, the copies of these objects in the new process are dead: every call on one is
 *     -EINVAL, but for free, which touches nobody else's child: it gives back memory and the copies of descriptors.
 */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PROC_VERSION "0.1.0"
#define PROC_VERSION_NUMBER 100  /* 10000 * major + 100 * minor + patch */
#define PROC_FOREVER (-1)        /* for timeouts */
#define PROC_UNLIMITED SIZE_MAX  /* for sizes */
#define PROC_NO_LIMIT UINT64_MAX /* for proc_limit */

typedef struct proc_child proc_child;     /* a child process */
typedef struct proc_channel proc_channel; /* one end of a message channel */
typedef struct proc_loop proc_loop;       /* waits for many of them at once */

/* PROC_VERSION of the library that is linked. Any thread; static storage. */
const char *proc_version(void);

/* The text for a negative return of this library; a positive errno value does as well. Any thread: unlike strerror()
 * it uses no buffer that the next call overwrites. Never NULL. */
const char *proc_strerror(int err);

/* ---- how a start failed ------------------------------------------------------------------------------------- */

/* In brackets: the word of proc_error_format, and what the subject is. */
typedef enum proc_step {
    PROC_STEP_NONE,    /* nothing failed */
    PROC_STEP_OPTIONS, /* the arguments make no sense together [options: the option, "fds[1]"] */
    PROC_STEP_PIPE,    /* making a pipe, a socket pair or a terminal [pipe: "in", "out", "err", "channel"] */
    PROC_STEP_OPEN,    /* opening a PROC_FILE [open: its path] */
    PROC_STEP_LAUNCH,  /* fork itself; -ECHILD: killed before it ran the program [launch: the program] */
    PROC_STEP_PARENT,  /* asking to die with the parent [parent: "die_with_parent"] */
    PROC_STEP_GROUP,   /* new session or process group [group: "group"] */
    PROC_STEP_FDS,     /* placing the descriptors [fds: "in", "out", "err", "fds[i]", "channel"] */
    PROC_STEP_CHDIR,   /* [chdir: the directory] */
    PROC_STEP_UMASK,   /* [umask: "umask"] */
    PROC_STEP_LIMIT,   /* [limit: "limits[i]"] */
    PROC_STEP_NICE,    /* [nice: "nice"] */
    PROC_STEP_GROUPS,  /* the supplementary groups [groups: "user"] */
    PROC_STEP_GID,     /* [gid: "user"] */
    PROC_STEP_UID,     /* [uid: "user"] */
    PROC_STEP_SIGNALS, /* [signals: "keep_signals"] */
    PROC_STEP_EXEC     /* running the program [exec: the program as it was named; proc_exec: the shell] */
} proc_step;

typedef struct proc_error {
    int code;          /* -errno, what the call returned; 0 after a start that succeeded */
    proc_step step;    /* where */
    char subject[256]; /* the path, the program as it was named, or the option it was about; cut if longer */
} proc_error;

/* "chdir '/nowhere': No such file or directory". Writes at most size bytes, the NUL included; size 0 writes nothing,
 * and buffer may be NULL then. Returns the length of the whole text without the NUL, as snprintf does. Any thread. */
int proc_error_format(const proc_error *error, char *buffer, size_t size);

/* ---- how a child ended -------------------------------------------------------------------------------------- */

typedef enum proc_state {
    PROC_RUNNING,
    PROC_EXITED,   /* returned or called exit: code */
    PROC_SIGNALED, /* killed: signal */
    PROC_LOST      /* gone, but somebody else in this process reaped it, or SIGCHLD is ignored: nothing more is known */
} proc_state;

typedef struct proc_usage { /* what it and the children that it waited for used; all 0 where nobody can tell */
    int64_t user_ns, system_ns;
    int64_t max_rss; /* bytes */
    int64_t minor_faults, major_faults;
    int64_t voluntary_switches, involuntary_switches;
} proc_usage;

typedef struct proc_status {
    proc_state state;
    int code;   /* -1 unless PROC_EXITED */
    int signal; /* 0 unless PROC_SIGNALED */
    bool core_dumped;
    bool timed_out;  /* its timeout_ms ran out and it was stopped for that */
    bool forced;     /* it outlived grace_ms and got SIGKILL */
    int64_t wall_ns; /* start to end, as seen by the call that noticed the end first */
    proc_usage usage;
    uint64_t reserved[4];
} proc_status;

/* Exited, with code 0. NULL is false. Any thread. */
bool proc_status_ok(const proc_status *status);

/* "exit 3", "SIGSEGV (core dumped)", "SIGKILL (timed out, forced)", "running", "lost". Buffer, size and return as in
 * proc_error_format. Any thread. */
int proc_status_format(const proc_status *status, char *buffer, size_t size);

/* ---- how to start one --------------------------------------------------------------------------------------- */

typedef enum proc_stdio_kind {
    PROC_DEFAULT, /* spawn: as PROC_INHERIT. exec, execfile: out and err are captured, in is the input or PROC_NULL */
    PROC_INHERIT, /* the parent's stream; /dev/null if it is closed there: no child starts with one of 0 to 2 closed */
    PROC_NULL,    /* /dev/null */
    PROC_PIPE,    /* a real pipe; the parent's end is proc_child_fd() */
    PROC_FD,      /* .fd of the parent, which stays open there; -EBADF if it is not open */
    PROC_FILE,    /* .path, opened by the parent, from its own directory and with its own rights and umask; read for in;
                     written, created and truncated for out and err unless .flags says otherwise */
    PROC_MERGE,   /* err only: wherever out goes, in order */
    PROC_PTY      /* those streams that say so share one new terminal, which controls the child (group DEFAULT means
                     SESSION then; OWN and SHARED are -EINVAL). The parent's end is proc_child_fd of any of them; its
                     read says 0 when the terminal hangs up. Closing stream 0 ends nothing there: write "\4" */
} proc_stdio_kind;

typedef struct proc_stdio {
    proc_stdio_kind kind;
    int fd;           /* PROC_FD */
    const char *path; /* PROC_FILE */
    int flags;        /* PROC_FILE: open(2) flags, 0 for the default */
    mode_t mode;      /* PROC_FILE: 0 for 0666; the parent's umask applies */
} proc_stdio;

typedef struct proc_fd_map {
    int child;  /* this number in the child: 0 or more, named once; 0 to 2 only where that stream is PROC_DEFAULT */
    int parent; /* is this descriptor of the parent; maps may cross one another */
} proc_fd_map;

typedef enum proc_group {
    PROC_GROUP_DEFAULT, /* spawn, fork: as PROC_GROUP_SHARED. exec, execfile: as PROC_GROUP_OWN, but SHARED where in is
                           PROC_INHERIT: a background group that reads the terminal would be stopped */
    PROC_GROUP_SHARED,  /* the parent's process group */
    PROC_GROUP_OWN,     /* its own: signals for the child go to all of it */
    PROC_GROUP_SESSION  /* its own session and group, no controlling terminal but a PROC_PTY */
} proc_group;

typedef enum proc_overflow {
    PROC_OVERFLOW_KILL, /* stop the child and return -ENOBUFS, with the first max_buffer bytes kept */
    PROC_OVERFLOW_HEAD, /* keep the first max_buffer bytes, drop the rest, let it run */
    PROC_OVERFLOW_TAIL  /* keep the last max_buffer bytes */
} proc_overflow;

typedef struct proc_user { /* set all of it: a gid of 0 is root's group */
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* supplementary groups; none when group_count is 0 */
    size_t group_count;
} proc_user;

typedef struct proc_limit {
    int resource;        /* RLIMIT_* */
    uint64_t soft, hard; /* PROC_NO_LIMIT for none */
} proc_limit;

typedef struct proc_channel_options proc_channel_options;

/* proc_options(3) has each of these at length. */
typedef struct proc_options {
    /* ---- what the child sees */

    /* The program, where it is not argv[0]. exec: -EINVAL. */
    const char *file;
    /* Its directory; NULL: the parent's. */
    const char *cwd;
    /* The whole environment, "NAME=value", NULL-ended, the last of a name wins; NULL: the parent's. */
    const char *const *env;
    /* On top of that: "NAME=value" sets, "NAME" removes; NULL-ended. */
    const char *const *env_changes;
    proc_stdio in, out, err;
    /* Further descriptors. Every one that is not named here is closed in the child ... */
    const proc_fd_map *fds;
    size_t fd_count;
    /* ... unless this is set: then what is not close-on-exec passes through. */
    bool inherit_fds;
    /* exec: instead of /bin/sh; run as SHELL -c COMMAND. Elsewhere -EINVAL. */
    const char *shell;

    /* ---- what it is allowed */

    const proc_user *user; /* NULL: the parent's */
    const proc_limit *limits;
    size_t limit_count;
    const mode_t *umask; /* NULL: the parent's */
    int nice;            /* added to the parent's */
    /* Default: an empty signal mask and every disposition SIG_DFL. Set: the mask of the calling thread, and what the
     * parent ignores stays ignored. */
    bool keep_signals;

    /* ---- how long it lives */

    proc_group group;
    /* SIGKILL when the parent dies, where the system can: else -ENOTSUP. On Linux: when the thread that started it
     * ends. The child alone, not what it starts; lost if it runs a set-user-ID program. With detached: -EINVAL. */
    bool die_with_parent;
    /* proc_child_free() leaves it running. */
    bool detached;
    /* 0: none. From the start; then it is stopped. This, grace_ms and cancel_fd act inside every waiting call on the
     * child (read, write, wait, communicate) and in its loop, nowhere else: read and write go on to the stream's end,
     * wait says timed_out. They end a drain too (status stays PROC_EXITED). A start that blocks before the program runs
     * (a dead network disk) cannot be bounded. */
    int timeout_ms;
    /* 0: SIGTERM. */
    int stop_signal;
    /* From stop_signal to SIGKILL. 0: 5000. PROC_FOREVER: no SIGKILL. */
    int grace_ms;
    /* 0 or -1: none. Once readable or hung up, the child is stopped; exec, execfile and communicate then return
     * -ECANCELED. The caller's: never read, never closed. */
    int cancel_fd;

    /* ---- exec, execfile and proc_child_communicate; spawn ignores these five, so that one struct may serve both */

    /* Fed to stdin, which is closed then; with in other than DEFAULT or PIPE: -EINVAL. NULL with a size: -EINVAL. */
    const void *input;
    size_t input_size;
    /* Bytes, for each of out and err. 0: 1 MiB. PROC_UNLIMITED. */
    size_t max_buffer;
    proc_overflow overflow;
    /* How long a pipe may stay open after the child's end. 0: until all is read, as a shell's $(...) does, even if a
     * background grandchild holds it for hours. */
    int drain_ms;

    /* ---- a message channel to the child */

    /* Of a forked child's channel; proc_spawn with it is proc_fork. exec, execfile: -EINVAL. */
    const proc_channel_options *channel;

    /* ---- */

    /* Filled when the start fails, zeroed when it succeeds. */
    proc_error *error;
    uint64_t reserved[8]; /* zero */
} proc_options;

/* ---- spawn: start a program, keep a handle ------------------------------------------------------------------ */

/* Starts argv[0], or options->file, with the arguments argv, NULL-ended; never through a shell. Returns once the
 * program runs: a missing program, directory or right is reported here, never as an exit code. A name without a slash is
 * looked up in the PATH that the child will have; of that only absolute entries count.
 * 0: *child is the caller's, ended by proc_child_free. Else *child is NULL, nothing runs, *options->error has the step:
 *   -EINVAL, -ENOTSUP                   an option makes no sense, or this system cannot do it
 *   -ENOENT, -EACCES, -ENOTDIR, -ELOOP  a program, directory or PROC_FILE is missing or forbidden
 *   -ENOEXEC, -ETXTBSY, -E2BIG          no program or script; it is being written; arguments or environment too long
 *   -EBADF                              a descriptor that is not open
 *   -EPERM                              not allowed: user, nice, limits
 *   -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  out of descriptors, memory or processes: try again later
 *   -ECHILD                             killed before it could run the program
 * Any thread. */
int proc_spawn(proc_child **child, const char *const argv[], const proc_options *options);

/* main's argv, or what execv takes, as an argument of these functions: C converts it only by a cast. */
static inline const char *const *proc_argv(char *const argv[])
{
    return (const char *const *)argv;
}

/* The process ID: the child's until it was reaped, later perhaps a stranger's, so for showing rather than for kill(2).
 * -EINVAL for NULL. Any thread. */
pid_t proc_child_pid(const proc_child *child);

/* The parent's end of stream 0, 1 or 2, or -EBADF; it stays the child's. Those of 1 and 2 are blocking: give one to
 * another child as PROC_FD, then proc_child_close it here. That of 0 is O_NONBLOCK, and writing to it raises SIGPIPE. A
 * terminal's is one O_NONBLOCK descriptor for all its streams. */
int proc_child_fd(const proc_child *child, int stream);

/* A descriptor for poll(2): readable once the child has ended; it stays the child's, so do not read or close it. It
 * does not know of timeout_ms and cancel_fd. Or an error: -EMFILE, -ENFILE, -ENOMEM, -EAGAIN. */
int proc_child_exit_fd(proc_child *child);

/* NULL: it has none. proc_child_free frees it, you do not. */
proc_channel *proc_child_channel(const proc_child *child);

/* From stream 1 or 2, or 0 of a terminal: waits for the first byte, not for size of them. 1 or more: that many bytes;
 * 0: the end of the stream; -ETIMEDOUT: nothing came in timeout_ms; -EBADF: that stream has no pipe, or it was closed
 * here; -EINVAL: size 0. Each stream: one thread at a time. */
ssize_t proc_child_read(proc_child *child, int stream, void *buffer, size_t size, int timeout_ms);

/* To stdin. All of it unless the time runs out: then what was written, or -ETIMEDOUT if nothing was. -EPIPE: nobody
 * reads it any more; -EBADF: it has no pipe, or it was closed here. Size 0: 0. One thread at a time. */
ssize_t proc_child_write(proc_child *child, const void *data, size_t size, int timeout_ms);

/* Closes the parent's end of a stream; for 0 that is the child's end of file. -EBADF: no such end, or closed before. */
int proc_child_close(proc_child *child, int stream);

/* 0 and *status (or NULL) once it has ended, again and again; -ETIMEDOUT, with state PROC_RUNNING, while it has not. A
 * child that ends by itself leaves the rest of its group alone; where its timeout_ms ran out or cancel_fd fired, what
 * is left of its own group is killed. Output that nobody reads can keep a child from ending: see proc_child_communicate.
 * Any thread. */
int proc_child_wait(proc_child *child, int timeout_ms, proc_status *status);

/* To the child, or to all of its group if it has its own; signal 0 only asks. -ESRCH once it was reaped: never to a
 * stranger. -EINVAL: no such signal; -EPERM: it runs as another user now. Any thread. */
int proc_child_kill(proc_child *child, int signal);

/* stop_signal, up to grace_ms (0: none; PROC_FOREVER: no SIGKILL), then SIGKILL; what is left of its own group is
 * killed too; reaped. 0 and *status (or NULL). In a loop it only begins: 0 with state PROC_RUNNING, and on_exit tells.
 * After the end: 0 and the status, and nobody is signalled. -EPERM: it may not be signalled, and runs on. */
int proc_child_stop(proc_child *child, int grace_ms, proc_status *status);

/* Leaves its loop, closes its pipes and its channel. A child that still runs gets SIGKILL at once (its own group too)
 * and is reaped, with no wait for grace or linger; a detached one, or one that may not be signalled (it runs as another
 * user now), is left running and is the program's own to wait for from then on. NULL is fine. Any handler may call it. */
void proc_child_free(proc_child *child);

/* ---- exec, execFile: run to the end and keep what it wrote --------------------------------------------------- */

typedef struct proc_result {
    proc_status status;
    char *out, *err;                   /* not NULL after a start, unless -ENOMEM; a NUL follows the last byte */
    size_t out_size, err_size;         /* bytes, without that NUL */
    bool out_truncated, err_truncated; /* a limit was hit */
    bool incomplete;                   /* drain_ms ran out: somebody still held the pipe */
} proc_result;

/* Runs command, a line for the shell (sh -c), to its end. What it wrote is kept in *result, which may hold anything
 * before and is the caller's to proc_result_clear after, whatever is returned.
 * 0: it ran to its own end, whatever its exit code. Else it was stopped, and the result holds what it wrote:
 *   -ETIMEDOUT  timeout_ms ran out
 *   -ENOBUFS    it wrote more than max_buffer (PROC_OVERFLOW_KILL)
 *   -ECANCELED  cancel_fd
 * or it never started: any other, as for proc_spawn; the result is empty, its code -1. (-ENOMEM may also come from the
 * middle of a run: then the child was killed and reaped, and the result is empty too.)
 * On Linux the child also dies with the calling process, unless it is detached. Any thread. */
int proc_exec(proc_result *result, const char *command, const proc_options *options);

/* The same for a program and its arguments, as proc_spawn takes them: no shell, nothing to quote. */
int proc_execfile(proc_result *result, const char *const argv[], const proc_options *options);

/* The same on a child of proc_spawn with pipes: feed options->input, read both streams to the end, wait. Of these
 * options only input, max_buffer, overflow, drain_ms and cancel_fd are read. A stream that is no pipe gives an empty
 * result; a terminal is read into out (into err, if only err is one). -EBADF: input for a stdin that is no open pipe;
 * the child is untouched. The handle stays the caller's, to be freed. */
int proc_child_communicate(proc_child *child, const proc_options *options, proc_result *result);

/* Frees out and err and zeroes the rest. Takes NULL, and a cleared or zeroed result. */
void proc_result_clear(proc_result *result);

/* One word for a shell's command line, quoted so that the shell takes it as it is. Buffer, size and return as in
 * proc_error_format; a cut text is no safe word. Any thread. */
int proc_shell_quote(const char *word, char *buffer, size_t size);

/* ---- messages ----------------------------------------------------------------------------------------------- */

/* Of proc_message.flags. */
enum {
    PROC_REQUEST = 1,  /* wants an answer with the same id */
    PROC_REPLY = 2,    /* answers a request of this end */
    PROC_FAILURE = 4,  /* with PROC_REPLY: the request failed; type is a positive errno or the program's own code */
    PROC_MORE = 8,     /* with PROC_REPLY: a part; further replies to the same request follow */
    PROC_FDS_LOST = 16 /* received: its descriptors did not fit (this process ran out of them); the message is whole */
};

typedef struct proc_message {
    uint32_t type; /* the program's own; of a failure its errno or code */
    /* Ties a reply to its request; 0 for neither. The ids of the two ends overlap: look at PROC_REPLY too. Ignored in
     * what is sent; proc_channel_reply takes that of its request. */
    uint32_t id;
    uint32_t flags;
    /* A received request: milliseconds that its caller still waited when it was sent, at least 1; 0 for ever. Ignored in
     * what is sent. */
    uint32_t time_left;
    const void *data; /* the payload; received: at a multiple of 8; NULL will do for size 0 */
    size_t size;      /* bytes */
    /* Descriptors that travel along; duplicated when queued: close yours as soon as the call returns. Received: 3 or
     * more, close-on-exec; see proc_message_take_fd. */
    const int *fds;
    size_t fd_count;
    void *owner; /* the library's; ignored in what is sent */
} proc_message;

/* Each end tells the other its limits as it starts. Until they are in, a message over 64 KiB or with descriptors waits
 * in send, call, request and reply, and post says -EAGAIN to it; later, one over the other's max_message is -EMSGSIZE,
 * over its max_fds -E2BIG. Requests beyond what the other end takes at once wait too. */
struct proc_channel_options {
    /* Largest payload that this end takes, bytes, 64 KiB to 256 MiB (else -EINVAL). 0: 16 MiB. */
    size_t max_message;
    /* Most bytes that wait to be sent. 0: 1 MiB. There is room for a message when nothing waits, or when it and what
     * waits stay within this; the library's own frames do not count. */
    size_t high_water;
    /* Most bytes that are read ahead and kept for recv while send or call waits. 0: 64 MiB; 1 GiB at most. Past it they
     * return -EDEADLK: receive first, the other end may be waiting for that too. */
    size_t backlog;
    /* Most descriptors in one message that this end takes, up to 250. 0: none; the kernel refuses them where it can,
     * else they are closed as they come. */
    size_t max_fds;
    /* How long the rest of a message that has begun may take; then -EPROTO for good. 0: for ever. */
    int frame_ms;
    /* How long the other end may take to say that it speaks this protocol; then -EPROTO. 0: 10000. */
    int hello_ms;
    /* How long proc_channel_free tries to send what waits. 0: 1000. */
    int linger_ms;
    uint64_t reserved[8]; /* zero */
};

/* fork: start a program as proc_spawn does, with a channel to it: proc_child_channel() here, proc_channel_parent() there.
 * The child's end is its descriptor 3 (an fds entry for 3 is -EINVAL), named in its environment as PROC_CHANNEL. Does not
 * wait for the child to say anything. argv NULL: this program again, with the arguments that it was started with (-ENOTSUP
 * where the system cannot tell them: plain POSIX). Where options->channel is NULL its defaults hold.
 * A channel to a child ends with the child: what it sent is received first, then comes -EPIPE, even if a grandchild holds
 * on to the other end. 0, or an error of proc_spawn. Any thread. */
int proc_fork(proc_child **child, const char *const argv[], const proc_options *options);

/* What a worker is. What it returns is the exit code. */
typedef int proc_entry(proc_channel *parent, void *arg);

/* ... or run a function in a copy of this process. All options apply but file, env and env_changes, which are not looked
 * at; options->channel is for both ends. The child ends by _exit once entry has returned and the channel was freed: no
 * atexit handlers, no stdio flush, so fflush before the call. Open there are 0 to 2, options->fds and the channel, the rest
 * only with inherit_fds, and then what is close-on-exec is closed. In a program with threads the function may only do
 * what is async-signal-safe, and channel calls where malloc works after fork (glibc, musl). It is a fork, whose cost
 * grows with the memory of this process. 0, or an error of proc_spawn. Any thread. */
int proc_fork_call(proc_child **child, proc_entry *entry, void *arg, const proc_options *options);

/* The child's end, in a program that proc_fork started: 0, to be freed with proc_channel_free. -ENOTCONN in any other
 * program, and the second time; -EINVAL an option is out of range; -ENOMEM. It makes the descriptor close-on-exec and takes
 * PROC_CHANNEL out of the environment, so that neither is passed on: call it before any thread starts. */
int proc_channel_parent(proc_channel **channel, const proc_channel_options *options);

/* Two ends that are connected, for two threads of one process; each is freed by itself. 0, or both are NULL:
 * -EINVAL an option is out of range; -EMFILE, -ENFILE, -ENOMEM. Any thread. */
int proc_channel_pair(proc_channel *ends[2], const proc_channel_options *options);

/* Over descriptors that are open already: a stream socket, pipes, stdin and stdout; both may be the same one. Takes
 * them: closes them when freed (0, 1 and 2 are left open, their flags as they were); on failure they stay the caller's.
 * Does not wait for the other end. 0, or *channel is NULL: -EBADF one is not open; -EINVAL one cannot be read or
 * written, or an option is out of range; -ENOMEM. Any thread. */
int proc_channel_open(proc_channel **channel, int read_fd, int write_fd, const proc_channel_options *options);

/* Queue, do not write yet (several go out in one system call): it goes with the next send, call, request, reply, flush
 * or recv of any thread, also with a recv that is waiting already. A large one (16 KiB or more) may be written at once
 * when nothing else waits. On any error nothing was queued:
 *   -EAGAIN            the high-water mark; or it has to wait for the other end's limits: try again, which looks for them
 *   -EPIPE             the other end is gone, or this one was shut down
 *   -EMSGSIZE, -E2BIG  more bytes or descriptors than the other end takes; descriptors through anything but a
 *                      Unix-domain socket
 *   -EBADF, -EMFILE    a descriptor is not open; none is left for its copy
 *   -EPROTO, -ENOMEM   the other end broke the protocol; out of memory
 *   -EINVAL            a flag but PROC_FDS_LOST, also PROC_REQUEST; a size without data
 * Any thread. */
int proc_channel_post(proc_channel *channel, const proc_message *message);

/* Queue and write as far as it goes; waits only for room under the high-water mark, and reads ahead meanwhile (as call,
 * request, reply and flush do) so that two ends that send at once do not lock each other (see backlog). 0 means queued:
 * flush or free before the process ends, or it is lost. On any error nothing was queued: those of post but for -EAGAIN;
 * -ETIMEDOUT no room in timeout_ms; -EDEADLK the backlog is full. Any thread. */
int proc_channel_send(proc_channel *channel, const proc_message *message, int timeout_ms);

/* Until the kernel has it all (which may have to wait for the other end). -ETIMEDOUT: something still waits; -EPIPE:
 * nobody will read it; -EDEADLK; -EPROTO. Any thread. */
int proc_channel_flush(proc_channel *channel, int timeout_ms);

/* Messages keep their order among themselves, and so do the replies to one request; a reply may overtake messages. */

/* The next message: 0. One thread receives at a time. Data and descriptors live until the next recv, whatever it
 * returns, or free on this channel; no other call, from any thread, disturbs them. Descriptors that were not taken are
 * closed then. Else *message is all zero:
 *   -ETIMEDOUT  nothing came in timeout_ms
 *   -EPIPE      the other end closed, died or has shut down, and every whole message that it sent was delivered
 *   -EPROTO     the other end broke the protocol, or frame_ms or hello_ms ran out; for good. Here as in every other call
 *               -EPROTONOSUPPORT: it speaks only a later version of it
 *   -ENOMEM     for good */
int proc_channel_recv(proc_channel *channel, proc_message *message, int timeout_ms);

/* The descriptor, now the caller's to close. -EBADF the second time, and where there is none. */
int proc_message_take_fd(proc_message *message, size_t index);

/* Send a request and go on: its id (more than 0), to be met again in the replies that recv hands out. timeout_ms bounds
 * the wait for room alone; the request itself has no deadline. Errors: those of send. Any thread. */
int64_t proc_channel_request(proc_channel *channel, const proc_message *request, int timeout_ms);

/* "Do not bother" with a request of proc_channel_request; a late reply is dropped. -EINVAL: no such request awaits a
 * reply. Any thread. */
int proc_channel_cancel(proc_channel *channel, int64_t id);

/* Send a request, wait for its reply; what else arrives is kept for recv. A reply that comes too late is dropped, and
 * the other end is told that nobody waits. *reply is the caller's, ended with proc_message_clear, and may outlive the
 * channel; all zero when the call fails. A reply with PROC_FAILURE is a reply: 0. One in parts (PROC_MORE) is for
 * proc_channel_request: here it is cancelled, -EBADMSG. Other errors: those of send, for the reply as well.
 * Any thread, any number at once. */
int proc_channel_call(proc_channel *channel, const proc_message *request, proc_message *reply, int timeout_ms);

/* Answer a received request, once (or in parts, the last without PROC_MORE). Of request only the id and PROC_REQUEST
 * are read: a copy will do. Answer cancelled ones too (an empty answer travels, nobody sees it): 0. -EINVAL for an id
 * that is not open, and for PROC_FAILURE with PROC_MORE; else those of send; only parts wait for room. Any thread. */
int proc_channel_reply(proc_channel *channel, const proc_message *request, const proc_message *reply, int timeout_ms);

/* Frees what proc_channel_call gave, closes the descriptors that were not taken, zeroes the rest. Does nothing to a
 * zeroed message or NULL, nor to one from recv but to close its descriptors early. */
void proc_message_clear(proc_message *message);

/* Has the caller of this request given up, or has its time run out? Reads what has arrived, never waits. Any thread. */
bool proc_channel_cancelled(proc_channel *channel, const proc_message *request);

/* For a poll loop of one's own, in one thread: before each poll ask all four again, then recv with timeout 0 until
 * -ETIMEDOUT and flush with timeout 0. Not where other threads use the channel too. */

/* Poll it for POLLIN while events has that; it stays the channel's. -EINVAL: no channel. */
int proc_channel_fd(const proc_channel *channel);

/* Poll it for POLLOUT while events has that; often the same. */
int proc_channel_write_fd(const proc_channel *channel);

/* POLLIN until the end, and POLLOUT while something could be written now. */
short proc_channel_events(const proc_channel *channel);

/* Poll no longer than this: milliseconds, or PROC_FOREVER. 0: a message, or the end, is here already. */
int proc_channel_timeout(const proc_channel *channel);

/* Bytes of messages that wait to be sent; one counts 24 at least. Any thread. */
size_t proc_channel_pending(const proc_channel *channel);

/* "No more messages or requests from me", after what is queued; written as far as it goes, does not wait. From then on
 * post, send, request and call say -EPIPE here, replies still go. The other end's recv says -EPIPE once the replies to
 * its own open requests are in; our recv goes on. -EPIPE: the other end is gone; -EPROTO; -ENOMEM. Again: 0. Any
 * thread. */
int proc_channel_shutdown(proc_channel *channel);

/* Leaves its loop, flushes for up to linger_ms, then closes. The last call: no other thread may still be inside one. NULL
 * is fine. */
void proc_channel_free(proc_channel *channel);

/* ---- loop: many children and channels at once ---------------------------------------------------------------- */

/* Any of them may be NULL. All run in the thread that runs the loop, one at a time, and are done with before the next
 * event is looked at; any may free or remove any object, its own and the loop too, add new ones, and make any call of this
 * library but proc_loop_run and proc_loop_step on the same loop (-EBUSY). Nothing is called for what was removed or freed.
 * Of one child the order is: output and messages, then on_exit, then on_close; each of the last two once. */
typedef struct proc_handlers {
    /* What came on stream 1 or 2 (a terminal: the first of 1, 2, 0 that is one); size 0: its end. data lives until the
     * handler returns. Piped output that nobody handles is read and dropped. */
    void (*on_output)(proc_child *child, int stream, const void *data, size_t size, void *ctx);
    /* All that proc_loop_write has queued went out, or was dropped because nobody reads it any more. */
    void (*on_drain)(proc_child *child, void *ctx);
    /* The message is as one of proc_channel_recv and lives until the handler returns; descriptors that were not taken are
     * closed then. Where this is NULL messages are dropped, and requests answered with ENOSYS. */
    void (*on_message)(proc_channel *channel, proc_message *message, void *ctx);
    /* Below high_water again, after proc_channel_post has said -EAGAIN. */
    void (*on_room)(proc_channel *channel, void *ctx);
    /* After the last message, once: the other end closed, died or has shut down (reason 0), or reason is what recv would
     * say: -EPROTO, -ENOMEM. Before on_close of its child. */
    void (*on_disconnect)(proc_channel *channel, int reason, void *ctx);
    /* It ended and was reaped; what it had written by then came before this. Others may still hold its streams. */
    void (*on_exit)(proc_child *child, const proc_status *status, void *ctx);
    /* It ended, and all of its streams and its channel are at their end: nothing more comes. */
    void (*on_close)(proc_child *child, const proc_status *status, void *ctx);
    void (*reserved[4])(void); /* NULL */
} proc_handlers;

/* What proc_exec would have returned, and the result, which is cleared when this returns. */
typedef void proc_result_handler(int err, proc_result *result, void *ctx);
typedef void proc_fd_handler(int fd, short revents, void *ctx);
typedef void proc_timer_handler(void *ctx);
typedef void proc_signal_handler(int signal, void *ctx);

/* A loop belongs to one thread at a time, with all that was added to it, but for what is marked "any thread", here and
 * with the channels. What is added stays its owner's. 0, or *loop is NULL: -EMFILE, -ENFILE, -ENOMEM. */
int proc_loop_new(proc_loop **loop);

/* Takes out what was added; what proc_loop_exec has started and still runs is killed, and its handler called with
 * -ECANCELED. In a handler of this loop: the run or step under way returns. NULL is fine. */
void proc_loop_free(proc_loop *loop);

/* Until nothing is left to wait for (signals alone do not count) or it was stopped: 0; -ETIMEDOUT. A child counts until its
 * on_close, a channel until its on_disconnect, a timer until it has rung. -EBUSY in a handler of this loop; -EINVAL (poll
 * build) more descriptors than RLIMIT_NOFILE allows. */
int proc_loop_run(proc_loop *loop, int timeout_ms);

/* One wait, of timeout_ms at the most. The number of handlers that ran, 0 if none; -EBUSY as above. */
int proc_loop_step(proc_loop *loop, int timeout_ms);

/* The run or step under way, else the next one, returns. Any thread, any signal handler. */
void proc_loop_stop(proc_loop *loop);

/* Readable when a step has work: with proc_loop_timeout it nests the loop in any other one. It stays the loop's. -ENOTSUP
 * where the system has no such descriptor (plain POSIX). */
int proc_loop_fd(const proc_loop *loop);

/* Milliseconds until the next step has work that no descriptor tells of, PROC_FOREVER for none. Ask again before each
 * wait. */
int proc_loop_timeout(const proc_loop *loop);

/* handlers is copied. The child's channel is watched too, with the same handlers, unless it is in a loop by itself. The
 * options of its start that bound its life (timeout_ms, grace_ms, cancel_fd) act in the loop; where they act after its end,
 * they end the wait for its streams. -EEXIST: it is in a loop already; -EINVAL; -ENOMEM, -ENOSPC (Linux: the user's
 * max_user_watches), -EMFILE, -ENFILE, -EAGAIN. Removing and adding again loses nothing: that is how to pause. */
int proc_loop_add_child(proc_loop *loop, proc_child *child, const proc_handlers *handlers, void *ctx);

/* The same for a channel: on_message, on_room and on_disconnect. Other threads may go on to use it, but for recv. */
int proc_loop_add_channel(proc_loop *loop, proc_channel *channel, const proc_handlers *handlers, void *ctx);

/* Calls handler while fd is ready: events is any of POLLIN, POLLOUT and POLLPRI, revents has POLLERR and POLLHUP too.
 * Remove it before it is closed. -EEXIST: added already; -EBADF; -EINVAL; -ENOMEM, -ENOSPC. */
int proc_loop_add_fd(proc_loop *loop, int fd, short events, proc_fd_handler *handler, void *ctx);

/* After delay_ms, then every repeat_ms (0: just once); what was missed while the loop did not run is not made up for. Its id,
 * more than 0. -EINVAL a negative time; -ENOMEM. */
int proc_loop_add_timer(proc_loop *loop, int delay_ms, int repeat_ms, proc_timer_handler *handler, void *ctx);

/* Calls handler in the loop after the signal came, once for any number of them. This is the one call that touches a
 * disposition: it is given back when the signal is removed. -EINVAL: no signal, or one that cannot be caught; -EEXIST:
 * added already; -EBUSY: by another loop; -ENOMEM. */
int proc_loop_add_signal(proc_loop *loop, int signal, proc_signal_handler *handler, void *ctx);

/* Each: 0, or -ENOENT: it is not in this loop. */
int proc_loop_remove_child(proc_loop *loop, proc_child *child);
int proc_loop_remove_channel(proc_loop *loop, proc_channel *channel);
int proc_loop_remove_fd(proc_loop *loop, int fd);
int proc_loop_remove_timer(proc_loop *loop, int id);
int proc_loop_remove_signal(proc_loop *loop, int signal);

/* Queue input for a child of this loop, by copy; close_after: then close its stdin. What the child does not read is dropped
 * when it closes its stdin. On any error nothing was queued: -EAGAIN 1 MiB or more waits (then on_drain); -EPIPE nobody
 * reads it any more; -EBADF it has no pipe, or it was closed; -ENOENT the child is not in this loop; -ENOMEM. */
int proc_loop_write(proc_loop *loop, proc_child *child, const void *data, size_t size, bool close_after);

/* exec and execFile that do not wait. A negative return: it never started, as for proc_exec, and handler is not called. Else
 * handler is called exactly once, from the loop. input is copied. It does not die with this process by itself: see
 * die_with_parent. */
int proc_loop_exec(proc_loop *loop, const char *command, const proc_options *options, proc_result_handler *handler,
                   void *ctx);
int proc_loop_execfile(proc_loop *loop, const char *const argv[], const proc_options *options,
                       proc_result_handler *handler, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
