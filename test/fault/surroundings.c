/*
 * Where the programs are that scenarios start, and the directory with the files that they use.
 */
#include "scenario.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char own[PATH_MAX], child[64], directory[] = "/tmp/libproc-fault.XXXXXX";

const char *own_path(void)
{
    if (own[0] == '\0' && readlink("/proc/self/exe", own, sizeof own - 1) < 0) {
        (void)complain("/proc/self/exe cannot be read");
    }
    return own;
}

/* A copy, where other users can come by. */
const char *child_path(void)
{
    return child;
}

const char *work_dir(void)
{
    return directory;
}

static const char *in_work_dir(const char *name)
{
    static char path[sizeof directory + 16];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static bool copy_child(void)
{
    char buffer[65536], beside[PATH_MAX + 8];
    const char *slash = strrchr(own_path(), '/');
    (void)snprintf(beside, sizeof beside, "%.*s/child", (int)(slash != NULL ? slash - own : 0), own);
    (void)snprintf(child, sizeof child, "%s", in_work_dir("child"));
    int from = open(beside, O_RDONLY | O_CLOEXEC), to = open(child, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    ssize_t got, put = 0;
    while ((got = read(from, buffer, sizeof buffer)) > 0 && (put = write(to, buffer, (size_t)got)) == got) {
    }
    (void)close(from);
    (void)close(to);
    return got == 0 && put > 0;
}

bool make_work_dir(void)
{
    static const char text[] = "from a file";
    if (mkdtemp(directory) == NULL || chmod(directory, 0755) < 0) {
        return false;
    }
    int fd = open(in_work_dir("in"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool made = write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1;
    (void)close(fd);
    return made && copy_child();
}

void remove_work_dir(void)
{
    static const char *const names[] = {"in", "out", "child"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unlink(in_work_dir(names[i]));
    }
    (void)rmdir(directory);
}
