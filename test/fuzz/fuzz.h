/*
 * What the fuzz targets share: the input as a source of choices, and a check that stops the run. An input that has run out
 * gives zeros, so every input means something.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                              \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static inline uint8_t take8(input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static inline uint16_t take16(input *in)
{
    uint16_t low = take8(in);

    return (uint16_t)(low | take8(in) << 8);
}

static inline uint32_t take32(input *in)
{
    uint32_t low = take16(in);

    return low | (uint32_t)take16(in) << 16;
}

static inline uint64_t take64(input *in)
{
    uint64_t low = take32(in);

    return low | (uint64_t)take32(in) << 32;
}

static inline bool take_bool(input *in)
{
    return (take8(in) & 1) != 0;
}

static inline unsigned take_below(input *in, unsigned end) /* end at most 256 */
{
    return take8(in) % end;
}

/* Small numbers mostly; the edges of an int now and then. */
static inline int take_int(input *in)
{
    static const int edges[] = {-1, -2, 0, 1, INT32_MAX, INT32_MIN, INT32_MAX / 2, INT32_MAX / 2 + 1};
    unsigned choice = take8(in);

    if (choice < 200) {
        return (int)choice - 4;
    }
    return choice < 240 ? edges[choice % COUNT(edges)] : (int)take32(in);
}

static inline const uint8_t *take_bytes(input *in, size_t *size) /* as many as there are, up to *size */
{
    const uint8_t *bytes = in->at;

    *size = *size < in->left ? *size : in->left;
    in->at += *size;
    in->left -= *size;
    return bytes;
}

/* A string of its own, so that a sanitizer sees who reads past its end; the caller's to free. */
static inline char *take_text(input *in, size_t most)
{
    size_t size = take8(in) % (most + 1);
    const uint8_t *bytes = take_bytes(in, &size);
    size_t length = size > 0 ? strnlen((const char *)bytes, size) : 0;
    char *text = malloc(length + 1);

    MUST(text != NULL);
    if (length > 0) {
        memcpy(text, bytes, length);
    }
    text[length] = '\0';
    return text;
}

#endif
