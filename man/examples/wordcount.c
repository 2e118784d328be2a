/* wordcount FILE...: counts words as wc -w does, with one worker a core. Each
 * worker has two files at a time, so that it never waits for the next one. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a worker */

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int count_words(const char *path, uint64_t *words)
{
    static char bytes[256 * 1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool inside = false;
    ssize_t got = fd < 0 ? -1 : 0;

    *words = 0;
    while (fd >= 0 && (got = read(fd, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            bool space = is_space((unsigned char)bytes[i]);
            *words += !space && !inside;
            inside = !space;
        }
    }
    int err = got < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

static int work(proc_channel *parent)
{
    proc_message request;
    int err;

    while ((err = proc_channel_recv(parent, &request, PROC_FOREVER)) == 0) {
        uint64_t words;
        int failed = count_words(request.data, &words); /* its NUL travels along */
        proc_message reply = {.data = &words, .size = sizeof words};
        if (failed != 0)
            reply = (proc_message){.flags = PROC_FAILURE, .type = (uint32_t)failed};
        err = proc_channel_reply(parent, &request, &reply, PROC_FOREVER);
        if (err < 0)
            break;
    }
    proc_channel_free(parent);
    return err != -EPIPE;
}

/* ---- the parent */

enum { AT_ONCE = 2,
       MOST_WORKERS = 64 };

typedef struct file {
    const char *path;
    uint64_t words;
    int error;
    bool counted;
} file;

typedef struct worker {
    proc_child *child;
    int64_t ids[AT_ONCE]; /* of the requests that it has */
    size_t files[AT_ONCE];
} worker;

static struct {
    file *files;
    size_t count, next;
    worker workers[MOST_WORKERS];
    size_t worker_count;
} job;

static void give_file(proc_channel *channel, worker *w, int place)
{
    w->ids[place] = 0;
    if (job.next == job.count)
        return;
    const char *path = job.files[job.next].path;
    proc_message request = {.data = path, .size = strlen(path) + 1};
    int64_t id = proc_channel_request(channel, &request, 10000);
    if (id > 0) {
        w->ids[place] = id;
        w->files[place] = job.next++;
    }
}

static void take_count(proc_channel *channel, proc_message *reply, void *ctx)
{
    worker *w = ctx;

    for (int place = 0; place < AT_ONCE; place++) {
        if (w->ids[place] != (int64_t)reply->id)
            continue;
        file *f = &job.files[w->files[place]];
        f->counted = true;
        if ((reply->flags & PROC_FAILURE) != 0)
            f->error = (int)reply->type;
        else
            memcpy(&f->words, reply->data, sizeof f->words);
        give_file(channel, w, place);
    }
    if (w->ids[0] == 0 && w->ids[1] == 0)
        proc_channel_shutdown(channel);
}

static int start_worker(proc_loop *loop, worker *w, const char *self)
{
    static const proc_handlers handlers = {.on_message = take_count};
    const char *const command[] = {self, NULL};
    int err = proc_fork(&w->child, command, NULL);

    if (err == 0)
        err = proc_loop_add_child(loop, w->child, &handlers, w);
    for (int place = 0; place < AT_ONCE && err == 0; place++)
        give_file(proc_child_channel(w->child), w, place);
    if (err == 0 && w->ids[0] == 0)
        proc_channel_shutdown(proc_child_channel(w->child));
    return err;
}

static int count_all(const char *self)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    proc_loop *loop;
    int err = proc_loop_new(&loop);

    job.worker_count = cores < 1 ? 1 : cores > MOST_WORKERS ? MOST_WORKERS
                                                            : (size_t)cores;
    if (job.worker_count > job.count)
        job.worker_count = job.count;
    for (size_t i = 0; i < job.worker_count && err == 0; i++)
        err = start_worker(loop, &job.workers[i], self);
    if (err == 0)
        err = proc_loop_run(loop, PROC_FOREVER); /* until all have ended */
    for (size_t i = 0; i < job.worker_count; i++)
        proc_child_free(job.workers[i].child);
    proc_loop_free(loop);
    return err;
}

static bool print_counts(void)
{
    uint64_t total = 0;
    bool all = true;

    for (size_t i = 0; i < job.count; i++) {
        const file *f = &job.files[i];
        total += f->words;
        if (f->counted && f->error == 0)
            printf("%llu %s\n", (unsigned long long)f->words, f->path);
        else
            fprintf(stderr, "wordcount: %s: %s\n", f->path, f->counted ? strerror(f->error) : "its worker died");
        all = all && f->counted && f->error == 0;
    }
    if (job.count > 1)
        printf("%llu total\n", (unsigned long long)total);
    return all;
}

int main(int argc, char *argv[])
{
    proc_channel *parent;

    if (proc_channel_parent(&parent, NULL) == 0)
        return work(parent);
    if (argc < 2) {
        fprintf(stderr, "usage: wordcount FILE...\n");
        return 2;
    }
    job.count = (size_t)argc - 1;
    job.files = calloc(job.count, sizeof *job.files);
    if (job.files == NULL) {
        perror("wordcount");
        return 1;
    }
    for (size_t i = 0; i < job.count; i++)
        job.files[i].path = argv[i + 1];
    int err = count_all(argv[0]);
    if (err < 0)
        fprintf(stderr, "wordcount: %s\n", proc_strerror(err));
    bool all = print_counts();
    free(job.files);
    return err < 0 || !all;
}
