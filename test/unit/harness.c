/*
 * The frame around every test: the picture of the process before and after, the copy of it in which a test may do harm,
 * and the program's own main.
 */
#include "harness.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "os/exitwatch.h"
#include "os/launch.h"

enum { SIGNALS_END = 65, TEST_SECONDS = 60, THREAD_PATIENCE_MS = 10000 };

typedef struct fd_picture {
    int fd;
    dev_t device;
    ino_t inode;
    int fd_flags, flags;
} fd_picture;

struct picture {
    fd_picture *fds;
    size_t fd_count;
    size_t thread_count;
    sigset_t mask;
    struct sigaction actions[SIGNALS_END];
    mode_t umask;
    char cwd[4096];
};

static picture *picture_at_begin;
static char directory[4096];
static struct kept {
    struct kept *next;
    void *memory;
} * kept_first;

/* ---- memory and files of one test ---- */

void *keep(void *memory)
{
    struct kept *kept;

    assert_non_null(memory);
    kept = malloc(sizeof *kept);
    assert_non_null(kept);
    kept->memory = memory;
    kept->next = kept_first;
    kept_first = kept;
    return memory;
}

static void free_kept(void)
{
    while (kept_first != NULL) {
        struct kept *next = kept_first->next;

        free(kept_first->memory);
        free(kept_first);
        kept_first = next;
    }
}

const char *test_dir(void)
{
    const char *base = getenv("TMPDIR");

    if (directory[0] == '\0') {
        snprintf(directory, sizeof directory, "%s/libproc.XXXXXX", base == NULL ? "/tmp" : base);
        if (mkdtemp(directory) == NULL || chmod(directory, 0755) != 0) {
            directory[0] = '\0';
            fail_msg("mkdtemp: %s", strerror(errno));
        }
    }
    return directory;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_directory(void)
{
    if (directory[0] != '\0') {
        nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        directory[0] = '\0';
    }
}

/* ---- what the process looks like ---- */

static size_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t count = 0;

    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count < 2 ? 0 : count - 2;
}

/* Descriptors by /proc/self/fd: some tests have them above 65535. A checker's own, which fstat does not know, are left out. */
static void take_fds(picture *now)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        fd_picture one = {.fd = atoi(entry->d_name)};
        struct stat st;

        if (entry->d_name[0] == '.' || one.fd == dirfd(dir) || fstat(one.fd, &st) != 0) {
            continue;
        }
        one.device = st.st_dev;
        one.inode = st.st_ino;
        one.fd_flags = fcntl(one.fd, F_GETFD);
        one.flags = fcntl(one.fd, F_GETFL);
        now->fds = realloc(now->fds, (now->fd_count + 1) * sizeof one);
        assert_non_null(now->fds);
        now->fds[now->fd_count++] = one;
    }
    closedir(dir);
}

static mode_t current_umask(void)
{
    mode_t mask = umask(0);

    umask(mask);
    return mask;
}

picture *picture_take(void)
{
    picture *now = calloc(1, sizeof *now);

    assert_non_null(now);
    take_fds(now);
    now->thread_count = count_entries("/proc/self/task");
    pthread_sigmask(SIG_SETMASK, NULL, &now->mask);
    for (int signo = 1; signo < SIGNALS_END; signo++) {
        (void)sigaction(signo, NULL, &now->actions[signo]); /* libc keeps two for itself: those stay zero */
        now->actions[signo].sa_flags &= ~0x04000000;        /* SA_RESTORER, in whatever went through libc */
    }
    now->umask = current_umask();
    if (getcwd(now->cwd, sizeof now->cwd) == NULL) {
        now->cwd[0] = '\0';
    }
    return now;
}

static void picture_free(picture *old)
{
    free(old->fds);
    free(old);
}

static const fd_picture *find_in_picture(const picture *where, int fd)
{
    for (size_t i = 0; i < where->fd_count; i++) {
        if (where->fds[i].fd == fd) {
            return &where->fds[i];
        }
    }
    return NULL;
}

static void print_fd(const char *what, int fd)
{
    char link[64], path[512] = "";

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    (void)!readlink(link, path, sizeof path - 1);
    print_error("left behind: descriptor %d %s %s\n", fd, what, path);
}

static int compare_fds(const picture *then, const picture *now)
{
    int different = 0;

    for (size_t i = 0; i < now->fd_count; i++) {
        const fd_picture *one = &now->fds[i], *old = find_in_picture(then, one->fd);

        if (old == NULL) {
            print_fd("is new:", one->fd);
            different++;
        } else if (old->device != one->device || old->inode != one->inode) {
            print_fd("is another file:", one->fd);
            different++;
        } else if (old->fd_flags != one->fd_flags || old->flags != one->flags) {
            print_fd("has other flags:", one->fd);
            different++;
        }
    }
    for (size_t i = 0; i < then->fd_count; i++) {
        if (find_in_picture(now, then->fds[i].fd) == NULL) {
            print_error("left behind: descriptor %d was closed\n", then->fds[i].fd);
            different++;
        }
    }
    return different;
}

static int compare_signals(const picture *then, const picture *now)
{
    int different = 0;

    for (int signo = 1; signo < SIGNALS_END; signo++) {
        if (sigismember(&then->mask, signo) != sigismember(&now->mask, signo)) {
            print_error("left behind: signal %d is %sblocked\n", signo,
                        sigismember(&now->mask, signo) == 1 ? "" : "un");
            different++;
        }
        if (then->actions[signo].sa_handler != now->actions[signo].sa_handler ||
            then->actions[signo].sa_flags != now->actions[signo].sa_flags) {
            print_error("left behind: signal %d has another disposition\n", signo);
            different++;
        }
    }
    return different;
}

/* A detached thread is gone a moment after its work is. */
static void await_threads(size_t count)
{
    int64_t end = now_ms() + THREAD_PATIENCE_MS;

    while (count_entries("/proc/self/task") > count && now_ms() < end) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

int picture_compare(picture *then)
{
    picture *now;
    int different;

    await_threads(then->thread_count);
    now = picture_take();
    different = compare_fds(then, now) + compare_signals(then, now);
    if (now->thread_count > then->thread_count) {
        print_error("left behind: %zu threads\n", now->thread_count - then->thread_count);
        different++;
    }
    if (now->umask != then->umask) {
        print_error("left behind: umask %03o\n", (unsigned)now->umask);
        different++;
    }
    if (strcmp(now->cwd, then->cwd) != 0) {
        print_error("left behind: working directory %s\n", now->cwd);
        different++;
    }
    picture_free(now);
    picture_free(then);
    return different;
}

/* ---- children ---- */

/* Kills what still runs, so that one test does not disturb the next. */
static void kill_children(void)
{
    char path[64], line[4096] = "", *at = line;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    file = fopen(path, "r");
    if (file == NULL) {
        return;
    }
    if (fgets(line, sizeof line, file) != NULL) {
        for (pid_t pid; (pid = (pid_t)strtol(at, &at, 10)) > 1;) {
            kill(pid, SIGKILL);
        }
    }
    fclose(file);
}

static int reap_children(void)
{
    int found = 0;

    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        if (pid < 0) {
            return found;
        }
        found++;
        if (pid == 0) {
            print_error("left behind: a child that runs\n");
            kill_children();
            pid = waitpid(-1, NULL, 0);
        }
        print_error("left behind: child %ld was not reaped\n", (long)pid);
    }
}

/* ---- one test ---- */

static void force_from_environment(void)
{
    const char *launcher = getenv("PROC_TEST_LAUNCHER");
    const char *watch = getenv("PROC_TEST_EXITWATCH");

    use_launcher(launcher == NULL                 ? LAUNCH_ANY
                 : strcmp(launcher, "vfork") == 0 ? LAUNCH_VFORK
                 : strcmp(launcher, "fork") == 0  ? LAUNCH_FORK
                                                  : LAUNCH_ANY);
    use_exitwatch(watch != NULL && strcmp(watch, "thread") == 0 ? EXITWATCH_THREAD : EXITWATCH_ANY);
}

void use_launcher(int force)
{
    launch_force = force;
}

void use_exitwatch(int force)
{
    exitwatch_force = force;
}

static unsigned patience(void)
{
    const char *factor = getenv("PROC_TEST_PATIENCE");
    int value = factor == NULL ? 1 : atoi(factor);

    return value < 1 ? 1 : (unsigned)value;
}

int harness_begin(void **state)
{
    (void)state;
    free_kept();
    remove_directory();
    reap_children();
    force_from_environment();
    alarm(TEST_SECONDS * patience()); /* kills a test that hangs, and says which by being the last one that began */
    if (picture_at_begin != NULL) {
        picture_free(picture_at_begin);
    }
    picture_at_begin = picture_take();
    return 0;
}

int harness_end(void **state)
{
    picture *then = picture_at_begin;
    int different;

    (void)state;
    alarm(0);
    picture_at_begin = NULL;
    free_kept();
    remove_directory();
    different = reap_children();
    different += picture_compare(then);
    return different == 0 ? 0 : -1;
}

static void copy_begins(void)
{
    struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};

    setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failed assertion prints its message and aborts */
    setrlimit(RLIMIT_CORE, &none);
    alarm(TEST_SECONDS * patience());
}

void in_copy(void (*body)(void *arg), void *arg)
{
    int status;
    pid_t pid;

    (void)test_dir(); /* one that the copy made would be left behind */
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        copy_begins();
        body(arg);
        fflush(NULL);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("the copy of this process ended with wait status %#x", (unsigned)status);
    }
}

bool is_root(void)
{
    return geteuid() == 0;
}

bool under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* The first thread of a program may bring a checker's own with it, which stays: it is not a test's. */
static void start_first_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0) {
        pthread_join(thread, NULL);
    }
}

/* posix_spawn of glibc, by which make starts its commands, leaves one of libc's own signals ignored for good, and plain
 * POSIX has no way to change that. */
static void reset_signals_of_libc(void)
{
#ifdef SYS_rt_sigaction
    static const unsigned long by_default[8];

    for (int signo = SIGSYS + 1; signo < SIGRTMIN; signo++) {
        (void)syscall(SYS_rt_sigaction, signo, by_default, NULL, _NSIG / 8);
    }
#endif
}

int harness_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
    char filter[256];

    if (getenv("PROC_TEST_KID") == NULL) {
        print_error("PROC_TEST_KID is not set: test/run sets it\n");
        return 2;
    }
    reset_signals_of_libc();
    start_first_thread();
    if (argc > 1) {
        snprintf(filter, sizeof filter, "*%s*", argv[1]);
        cmocka_set_test_filter(filter);
    }
    return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}
