/*
 * Merged environments and the candidates of a PATH, against a model that looks at every pair.
 */
#include "fuzz.h"

#include "environment.h"

#include <errno.h>
#include <limits.h>

enum { MOST_ENTRIES = 24, MOST_TEXT = 40 };

typedef struct list {
    char *entries[MOST_ENTRIES + 1];
    size_t count;
} list;

/* Names of few letters, so that many of them meet. */
static char *take_entry(input *in)
{
    static const char *const common[] = {"A=",   "A", "AB=1", "AB", "B=x",   "PATH=/a:b::/c",
                                         "PATH", "=", "=C",   "",   "A=A=A", "PATH=/b"};
    unsigned choice = take8(in);

    return choice < 2 * COUNT(common) ? strdup(common[choice % COUNT(common)]) : take_text(in, MOST_TEXT);
}

static void take_list(input *in, list *l)
{
    l->count = take_below(in, MOST_ENTRIES + 1);
    for (size_t i = 0; i < l->count; i++) {
        l->entries[i] = take_entry(in);
    }
    l->entries[l->count] = NULL;
}

static void free_list(list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->entries[i]);
    }
}

static size_t name_length(const char *entry)
{
    const char *end = strchr(entry, '=');

    return end == NULL ? strlen(entry) : (size_t)(end - entry);
}

static bool same_name(const char *left, const char *right)
{
    size_t length = name_length(left);

    return length == name_length(right) && memcmp(left, right, length) == 0;
}

static size_t first_bad(const list *l, bool may_remove)
{
    size_t i = 0;

    while (i < l->count && l->entries[i][0] != '\0' && l->entries[i][0] != '=' &&
           (may_remove || strchr(l->entries[i], '=') != NULL)) {
        i++;
    }
    return i;
}

/* What has the last word on a name, of base, changes and `last`; NULL: nothing has. */
static const char *last_word(const list *base, const list *changes, const char *last, const char *entry)
{
    const char *word = NULL;

    for (size_t i = 0; i < base->count + changes->count; i++) {
        const char *other = i < base->count ? base->entries[i] : changes->entries[i - base->count];

        word = same_name(other, entry) ? other : word;
    }
    return last != NULL && same_name(last, entry) ? last : word;
}

static bool holds(const char *const *env, const char *entry)
{
    while (*env != NULL && *env != entry) {
        env++;
    }
    return *env != NULL;
}

static void check_merged(const list *base, const list *changes, const char *last, const char *const *env)
{
    size_t count = 0;

    for (; env[count] != NULL; count++) {
        const char *word = last_word(base, changes, last, env[count]);

        MUST(word == env[count] && strchr(word, '=') != NULL);
        for (size_t i = 0; i < count; i++) {
            MUST(!same_name(env[i], env[count]));
        }
    }
    for (size_t i = 0; i <= base->count + changes->count; i++) {
        const char *entry = i < base->count                    ? base->entries[i]
                            : i < base->count + changes->count ? changes->entries[i - base->count]
                                                               : last;
        const char *word = entry == NULL ? NULL : last_word(base, changes, last, entry);

        MUST(word == NULL || strchr(word, '=') == NULL || holds(env, word));
    }
}

/* ---- PATH ---- */

static const char *path_of(const char *const *env)
{
    for (; *env != NULL; env++) {
        if (name_length(*env) == 4 && strncmp(*env, "PATH=", 5) == 0) {
            return *env + 5;
        }
    }
    return "/usr/local/bin:/bin:/usr/bin";
}

static void check_search(const char *name, const char *const *env)
{
    const char *const *paths = NULL;
    void *memory = NULL;
    int err = environment_search(name, env, &memory, &paths);
    char *path = strdup(path_of(env)), *rest = path, *entry;

    MUST(err == (strlen(name) > NAME_MAX ? -ENAMETOOLONG : 0));
    while (err == 0 && (entry = strsep(&rest, ":")) != NULL) {
        char wanted[2 * PATH_MAX];
        int length = snprintf(wanted, sizeof wanted, "%s/%s", entry, name);

        if (entry[0] == '/' && length < PATH_MAX) {
            MUST(*paths != NULL && strcmp(*paths, wanted) == 0);
            paths++;
        }
    }
    MUST(err < 0 || *paths == NULL);
    free(path);
    free(memory);
}

static char *take_name(input *in)
{
    char *name;

    if (take_below(in, 16) != 0) {
        return take_text(in, MOST_TEXT);
    }
    size_t length = NAME_MAX - 2 + take_below(in, 5);

    name = malloc(length + 1);
    MUST(name != NULL);
    memset(name, 'n', length);
    name[length] = '\0';
    return name;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {.at = data, .left = size};
    const char *const *bad = NULL, *const *env = NULL;
    const char *last = take_bool(&in) ? "PROC_CHANNEL=3:1" : NULL;
    char *name = take_name(&in);
    void *memory = NULL;
    list base, changes;

    take_list(&in, &base);
    take_list(&in, &changes);
    const char *const *base_list = (const char *const *)base.entries;
    const char *const *change_list = (const char *const *)changes.entries;

    size_t wrong = first_bad(&base, false);
    MUST(environment_check(base_list, &bad) == (wrong < base.count ? -EINVAL : 0));
    MUST(bad == (wrong < base.count ? base_list + wrong : NULL));

    wrong = first_bad(&changes, true);
    int err = environment_merge(base_list, change_list, last, &memory, &env, &bad);
    MUST(err == (wrong < changes.count ? -EINVAL : 0));
    MUST(bad == (wrong < changes.count ? change_list + wrong : NULL));
    if (err == 0) {
        check_merged(&base, &changes, last, env);
        check_search(name, env);
        free(memory);
    }
    check_search(name, base_list);
    free(name);
    free_list(&base);
    free_list(&changes);
    return 0;
}
