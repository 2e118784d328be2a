/*
 * Texts: quoted words against a reader of the shell's quoting, and every text into buffers of every size.
 */
#include "fuzz.h"

#include "proc.h"

#include <errno.h>

enum { LARGE = 16 * 1024 };

typedef int formatter(const void *subject, char *buffer, size_t size);

/* As snprintf: the same length whatever the size, the beginning of the same text, nothing behind the end. */
static void check_sizes(formatter *format, const void *subject, const char *whole, int length, size_t size)
{
    char *buffer = malloc(size == 0 ? 1 : size); /* a sanitizer sees one byte too many */

    MUST(buffer != NULL);
    MUST(format(subject, size == 0 ? NULL : buffer, size) == length);
    if (size > 0) {
        size_t kept = (size_t)length < size ? (size_t)length : size - 1;

        MUST(memcmp(buffer, whole, kept) == 0 && buffer[kept] == '\0');
    }
    free(buffer);
}

static void check_text(formatter *format, const void *subject, input *in)
{
    static char whole[LARGE];
    int length = format(subject, whole, sizeof whole);

    MUST(length >= 0 && (size_t)length < sizeof whole && strlen(whole) == (size_t)length);
    check_sizes(format, subject, whole, length, 0);
    check_sizes(format, subject, whole, length, (size_t)length);
    check_sizes(format, subject, whole, length, (size_t)length + 1);
    check_sizes(format, subject, whole, length, take8(in));
}

static int format_error(const void *subject, char *buffer, size_t size)
{
    return proc_error_format(subject, buffer, size);
}

static int format_status(const void *subject, char *buffer, size_t size)
{
    return proc_status_format(subject, buffer, size);
}

static int quote(const void *subject, char *buffer, size_t size)
{
    return proc_shell_quote(subject, buffer, size);
}

/* One word as a shell reads it, into `word`. False: the shell would do something else with it. */
static bool read_word(const char *text, char *word)
{
    while (*text != '\0') {
        if (*text == '\'') {
            for (text++; *text != '\''; text++) {
                if (*text == '\0') {
                    return false;
                }
                *word++ = *text;
            }
            text++;
        } else if (*text == '\\' && text[1] != '\0' && text[1] != '\n') {
            *word++ = text[1];
            text += 2;
        } else if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:+@%", *text) != NULL) {
            *word++ = *text++;
        } else {
            return false;
        }
    }
    *word = '\0';
    return true;
}

static void check_quote(input *in)
{
    static char quoted[LARGE], word[LARGE];
    char *text = take_text(in, 200);
    int length = proc_shell_quote(text, quoted, sizeof quoted);

    MUST(length >= 2 && (size_t)length < sizeof quoted);
    MUST(read_word(quoted, word) && strcmp(word, text) == 0);
    check_text(quote, text, in);
    free(text);
}

static void check_error(input *in)
{
    proc_error error;
    size_t size = sizeof error.subject;
    const uint8_t *bytes;

    memset(&error, 0, sizeof error);
    error.code = take_bool(in) ? -(int)take8(in) : take_int(in);
    error.step = (proc_step)take_int(in);
    if (take_bool(in)) {
        memset(error.subject, 'x', sizeof error.subject); /* with no NUL */
    }
    bytes = take_bytes(in, &size);
    memcpy(error.subject, bytes, size);
    MUST(proc_strerror(error.code) != NULL && proc_strerror(error.code)[0] != '\0');
    check_text(format_error, &error, in);
}

static void check_status(input *in)
{
    proc_status status;

    memset(&status, 0, sizeof status);
    status.state = (proc_state)take_int(in);
    status.code = take_int(in);
    status.signal = take_int(in);
    status.core_dumped = take_bool(in);
    status.timed_out = take_bool(in);
    status.forced = take_bool(in);
    MUST(proc_status_ok(&status) == (status.state == PROC_EXITED && status.code == 0));
    check_text(format_status, &status, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {.at = data, .left = size};

    check_quote(&in);
    check_status(&in);
    check_error(&in);
    MUST(proc_shell_quote(NULL, NULL, 0) == -EINVAL && proc_status_format(NULL, NULL, 0) == -EINVAL);
    return 0;
}
