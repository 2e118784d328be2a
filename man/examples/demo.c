/*
 * demo - what libproc does, on real input and in a few seconds: a compiler and its complaints, a pipeline over the
 * sources of this project, a command that takes too long, one that says too much, starts that fail, workers, and many
 * commands at once.
 *
 * Run it from the top of the source tree. It exits with 1 if anything went otherwise than expected.
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <glob.h>
#include <proc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    bool colour;
    int scenes, surprises;
} stage;

/* ---- what is shown */

static const char bold[] = "\033[1m", dim[] = "\033[2m", red[] = "\033[31m", green[] = "\033[32m",
                  yellow[] = "\033[33m", off[] = "\033[0m";

static const char *style(const char *code)
{
    return stage.colour ? code : "";
}

static void title(const char *text)
{
    printf("\n%s%d. %s%s\n", style(bold), ++stage.scenes, text, style(off));
}

static void say(const char *label, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("   %s%-9s%s ", style(dim), label, style(off));
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

static void say_end(const char *label, const proc_status *status)
{
    char end[64];

    proc_status_format(status, end, sizeof end);
    say(label, "%s%-28s%s %8.1f ms, cpu %6.1f ms", style(proc_status_ok(status) ? green : yellow), end, style(off),
        (double)status->wall_ns / 1e6, (double)(status->usage.user_ns + status->usage.system_ns) / 1e6);
}

static void expect(bool as_expected, const char *what)
{
    if (as_expected)
        return;
    stage.surprises++;
    say("SURPRISE", "%s%s%s", style(red), what, style(off));
}

/* The first lines of text that contain word, and how many more there are. */
static void say_lines(const char *label, const char *text, const char *word, int most)
{
    int matches = 0;

    for (const char *line = text; *line != '\0'; line += strspn(line, "\n")) {
        int length = (int)strcspn(line, "\n");
        const char *found = strstr(line, word);

        if (found != NULL && found < line + length && matches++ < most)
            say(matches == 1 ? label : "", "%.*s", length, line);
        line += length;
    }
    if (matches > most)
        say("", "... and %d more", matches - most);
}

/* ---- 1: a program, its complaints and its exit code */

static const char mistakes[] = "int twice(int number)\n"
                               "{\n"
                               "    int unused;\n"
                               "    return 2 * nummer;\n"
                               "}\n"
                               "\n"
                               "const char *name(void)\n"
                               "{\n"
                               "    return \"libproc\"\n"
                               "}\n";

static bool write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    bool written = file != NULL && fputs(content, file) >= 0;

    return file != NULL && fclose(file) == 0 && written;
}

static void compile(const char *directory)
{
    const char *const argv[] = {"cc", "-Wall", "-c", "mistakes.c", NULL};
    const char *const language[] = {"LC_ALL=C", NULL};
    proc_error error = {0};
    proc_options options = {.cwd = directory, .env_changes = language, .timeout_ms = 30000, .error = &error};
    proc_result result;
    char text[512];
    int err = proc_execfile(&result, argv, &options);

    if (err < 0 && error.code != 0) {
        proc_error_format(&error, text, sizeof text);
        expect(false, text);
        return;
    }
    say_lines("cc says", result.err, "error:", 5);
    say_lines("", result.err, "warning:", 5);
    say_end("ended", &result.status);
    expect(err == 0 && result.status.code == 1, "the compiler was to exit with 1");
    expect(strstr(result.err, "nummer") != NULL, "the compiler was to name 'nummer'");
    proc_result_clear(&result);
}

static void show_compiler(void)
{
    char directory[] = "/tmp/libproc-demo.XXXXXX", path[64];

    title("cc -Wall -c mistakes.c: run it, keep what it says");
    if (mkdtemp(directory) == NULL) {
        expect(false, strerror(errno));
        return;
    }
    snprintf(path, sizeof path, "%s/mistakes.c", directory);
    if (write_file(path, mistakes))
        compile(directory);
    else
        expect(false, strerror(errno));
    unlink(path);
    rmdir(directory);
}

/* ---- 2: children that feed one another */

enum { STAGES = 7 };

static proc_child *stages[STAGES];

/* Each one's output is the next one's input: a descriptor of ours, which is the previous child's pipe, and which we
 * close once it was given away, so that the end of one stage is the end of the next one's input. */
static int start_pipeline(const char *const *const commands[STAGES])
{
    for (int i = 0; i < STAGES; i++) {
        proc_options options = {.out.kind = PROC_PIPE, .timeout_ms = 30000};
        int err;

        if (i == 0) {
            options.in.kind = PROC_NULL;
        } else {
            options.in.kind = PROC_FD;
            options.in.fd = proc_child_fd(stages[i - 1], 1);
        }
        err = proc_spawn(&stages[i], commands[i], &options);
        if (err < 0)
            return err;
        if (i > 0)
            proc_child_close(stages[i - 1], 1);
    }
    return 0;
}

static void finish_pipeline(const char *const *const commands[STAGES])
{
    proc_status status;
    proc_result result;
    int err = proc_child_communicate(stages[STAGES - 1], NULL, &result);

    expect(err == 0 && result.out_size > 0, "the last stage was to print a table");
    if (err == 0)
        say_lines("words", result.out, "", 6);
    proc_result_clear(&result);
    for (int i = 0; i < STAGES; i++) {
        err = proc_child_wait(stages[i], PROC_FOREVER, &status);
        say_end(commands[i][0], &status);
        expect(err == 0 && proc_status_ok(&status), "this stage was to succeed");
    }
}

static void show_pipeline(void)
{
    static const char *const split[] = {"tr", "-cs", "A-Za-z_", "\\n", NULL};
    static const char *const pick[] = {"grep", "-E", "^[a-z_]{6,}$", NULL};
    static const char *const sort[] = {"sort", NULL};
    static const char *const count[] = {"uniq", "-c", NULL};
    static const char *const rank[] = {"sort", "-rn", NULL};
    static const char *const top[] = {"sed", "-n", "1,6p", NULL};
    glob_t files = {0};
    int err;

    title("cat src/*.c | tr | grep | sort | uniq -c | sort -rn | sed: children wired with pipes");
    if (glob("cat", GLOB_NOCHECK, NULL, &files) != 0 || glob("src/*.c", GLOB_APPEND, NULL, &files) != 0) {
        expect(false, "there is no src/*.c here: run this from the top of the source tree");
        globfree(&files);
        return;
    }

    const char *const *const commands[STAGES] = {proc_argv(files.gl_pathv), split, pick, sort, count, rank, top};
    err = start_pipeline(commands);
    if (err == 0)
        finish_pipeline(commands);
    expect(err == 0, proc_strerror(err));
    for (int i = 0; i < STAGES; i++)
        proc_child_free(stages[i]);
    globfree(&files);
}

/* ---- 3 and 4: limits */

static void run_limited(const char *command, const proc_options *options, int expected, proc_result *result)
{
    int err = proc_exec(result, command, options);

    say("command", "%s", command);
    say_end("ended", &result->status);
    say("returned", "%s, %zu bytes kept", err == 0 ? "0" : proc_strerror(err), result->out_size);
    expect(err == expected, "another return value was expected");
}

static void show_time_limit(void)
{
    proc_options options = {.timeout_ms = 400};
    proc_result result;

    title("A time limit of 400 ms, 200 ms of grace for the deaf: the whole group goes");
    run_limited("echo working; sleep 60 & sleep 60", &options, -ETIMEDOUT, &result);
    expect(result.status.timed_out && !result.status.forced, "SIGTERM was to be enough");
    proc_result_clear(&result);

    options.grace_ms = 200;
    run_limited("trap '' TERM; echo deaf; sleep 60 & wait", &options, -ETIMEDOUT, &result);
    /* On a busy machine its time may be over before it is deaf. */
    expect(result.status.forced || result.out_size == 0, "SIGKILL was to end it");
    say("so", "the pipe reached its end: the sleepers in the background are gone too");
    proc_result_clear(&result);
}

static void show_output_limit(void)
{
    proc_options options = {.max_buffer = 65536, .timeout_ms = 30000};
    proc_result result;

    title("An output limit of 64 KiB: stopped at the byte");
    run_limited("yes 'and so on, and on'", &options, -ENOBUFS, &result);
    expect(result.out_truncated && result.out_size == options.max_buffer, "65536 bytes were to be kept");
    proc_result_clear(&result);
}

/* ---- 5: starts that fail say where and why */

static void fail_to_start(const char *program, proc_options options, proc_step step, int expected)
{
    const char *const argv[] = {program, NULL};
    proc_child *child;
    proc_error error;
    char text[512];
    int err;

    options.error = &error;
    err = proc_spawn(&child, argv, &options);
    proc_error_format(&error, text, sizeof text);
    say("start", "%s%s%s", style(yellow), text, style(off));
    expect(err == expected && error.step == step, "another step was to fail");
    proc_child_free(child);
}

static void show_failed_starts(void)
{
    title("Starts that fail: the step and the reason, and no exit code to guess from");
    fail_to_start("no-such-program", (proc_options){0}, PROC_STEP_EXEC, -ENOENT);
    fail_to_start("ls", (proc_options){.cwd = "/no/such/directory"}, PROC_STEP_CHDIR, -ENOENT);
    fail_to_start("ls", (proc_options){.out = {.kind = PROC_FILE, .path = "/"}}, PROC_STEP_OPEN, -EISDIR);
    fail_to_start("ls", (proc_options){.timeout_ms = -7}, PROC_STEP_OPTIONS, -EINVAL);
}

/* ---- 6 and 7: workers, and many at once: the programs beside this one */

static const char *beside; /* the folder */

static int run_beside(const char *name, char *const words[], const proc_options *options, proc_result *result)
{
    char path[1024];
    const char *argv[256] = {path};
    size_t count = 1;

    snprintf(path, sizeof path, "%s/%s", beside, name);
    while (*words != NULL && count < sizeof argv / sizeof argv[0] - 1)
        argv[count++] = *words++;
    argv[count] = NULL;
    return proc_execfile(result, argv, options);
}

static const char *last_line(const char *text)
{
    size_t length = strlen(text);

    while (length > 0 && text[length - 1] == '\n')
        length--;
    while (length > 0 && text[length - 1] != '\n')
        length--;
    return text + length;
}

static void show_workers(void)
{
    proc_options options = {.timeout_ms = 30000};
    proc_result ours, theirs;
    glob_t files = {0};
    char *none[] = {NULL};

    title("Workers: a copy of the program on each core, with a message channel to it");
    if (glob("src/*.c", 0, NULL, &files) != 0) {
        expect(false, "there is no src/*.c here: run this from the top of the source tree");
        return;
    }
    int err = run_beside("wordcount", files.gl_pathv, &options, &ours);
    globfree(&files);
    expect(err == 0 && proc_status_ok(&ours.status), "wordcount was to succeed");
    if (err == 0)
        say("words", "%.*s", (int)strcspn(last_line(ours.out), "\n"), last_line(ours.out));
    if (proc_exec(&theirs, "cat src/*.c | wc -w", &options) == 0) {
        say("wc -w", "%.*s", (int)strcspn(theirs.out, "\n"), theirs.out);
        expect(err == 0 && atol(theirs.out) == atol(last_line(ours.out)), "wc was to count as many");
    }
    proc_result_clear(&theirs);
    proc_result_clear(&ours);
    err = run_beside("rpc", none, &options, &ours);
    expect(err == 0 && proc_status_ok(&ours.status), "rpc was to succeed");
    if (err == 0)
        say_lines("calls", ours.out, "", 9);
    proc_result_clear(&ours);
}

static void show_many_at_once(void)
{
    char *words[] = {"-j", "20", "sh", "-c", "sleep 0.2; echo $0", NULL};
    proc_options options = {.timeout_ms = 30000, .input = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", .input_size = 27};
    proc_result result;

    title("Many at once: twelve sleepers of 200 ms in one loop, their output in order");
    int err = run_beside("pmap", words, &options, &result);
    expect(err == 0 && proc_status_ok(&result.status), "pmap was to succeed");
    say_end("ended", &result.status);
    expect(err == 0 && strcmp(result.out, options.input) == 0, "the lines were to come in order");
    proc_result_clear(&result);
}

int main(int argc, char *argv[])
{
    char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    if (slash != NULL)
        *slash = '\0';
    beside = slash != NULL ? argv[0] : "build/native/examples";
    stage.colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("libproc %s\n", proc_version());
    show_compiler();
    show_pipeline();
    show_time_limit();
    show_output_limit();
    show_failed_starts();
    show_workers();
    show_many_at_once();
    if (stage.surprises > 0)
        printf("\nNot as expected: %d.\n", stage.surprises);
    else
        printf("\nAll as expected.\n");
    return stage.surprises > 0;
}
