/*
 * The child's environment and where its PATH leads: pure, but for taking memory.
 */
#include "environment.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif
#ifndef NAME_MAX
#define NAME_MAX 255
#endif

/* ---- merging ---- */

typedef struct name_table { /* open addressing; a slot is 1 + the entry's place, 0 when empty */
    const char **entries;
    size_t count;
    size_t *slots;
    size_t mask;
} name_table;

static size_t name_length(const char *entry)
{
    return strcspn(entry, "=");
}

static size_t count_strings(const char *const *strings)
{
    size_t count = 0;
    while (strings != NULL && strings[count] != NULL) {
        count++;
    }
    return count;
}

static size_t *find_slot(const name_table *table, const char *entry, size_t length)
{
    size_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)entry[i]) * 16777619u;
    }
    for (size_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        size_t slot = table->slots[at];
        if (slot == 0) {
            return &table->slots[at];
        }
        const char *known = table->entries[slot - 1];
        if (strncmp(known, entry, length) == 0 && (known[length] == '=' || known[length] == '\0')) {
            return &table->slots[at];
        }
    }
}

static void put_entry(name_table *table, const char *entry)
{
    size_t *slot = find_slot(table, entry, name_length(entry));
    if (*slot == 0) {
        *slot = ++table->count;
    }
    table->entries[*slot - 1] = entry;
}

/* An entry without '=' takes its name out: it was put in as a mark, so that a later one can bring the name back. */
static void drop_marks(name_table *table)
{
    size_t kept = 0;
    for (size_t i = 0; i < table->count; i++) {
        if (strchr(table->entries[i], '=') != NULL) {
            table->entries[kept++] = table->entries[i];
        }
    }
    table->entries[kept] = NULL;
}

static const char *const *first_bad(const char *const *strings, bool may_remove)
{
    for (; strings != NULL && *strings != NULL; strings++) {
        size_t length = name_length(*strings);
        if (length == 0 || ((*strings)[length] == '\0' && !may_remove)) {
            return strings;
        }
    }
    return NULL;
}

int environment_check(const char *const *env, const char *const **bad)
{
    *bad = first_bad(env, false);
    return *bad != NULL ? -EINVAL : 0;
}

int environment_merge(const char *const *base, const char *const *changes, const char *last, void **memory,
                      const char *const **env, const char *const **bad)
{
    *bad = first_bad(changes, true);
    if (*bad != NULL) {
        return -EINVAL;
    }
    size_t base_count = count_strings(base), change_count = count_strings(changes), slots = 16;
    while (slots < 2 * (base_count + change_count + 1)) {
        slots *= 2;
    }
    size_t *block = calloc(1, slots * sizeof(size_t) + (base_count + change_count + 2) * sizeof(char *));
    if (block == NULL) {
        return -ENOMEM;
    }
    name_table table = {.slots = block, .mask = slots - 1, .entries = (void *)(block + slots)};
    for (size_t i = 0; i < base_count; i++) {
        put_entry(&table, base[i]);
    }
    for (size_t i = 0; i < change_count; i++) {
        put_entry(&table, changes[i]);
    }
    if (last != NULL) {
        put_entry(&table, last);
    }
    drop_marks(&table);
    *memory = block;
    *env = table.entries;
    return 0;
}

/* ---- PATH ---- */

static const char *find_path(const char *const *env)
{
    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, "PATH=", 5) == 0) {
            return *env + 5;
        }
    }
    return "/usr/local/bin:/bin:/usr/bin";
}

int environment_search(const char *name, const char *const *env, void **memory, const char *const **paths)
{
    const char *path = find_path(env);
    size_t entries = 1, name_size = strlen(name) + 1;
    if (name_size > NAME_MAX + 1) {
        return -ENAMETOOLONG;
    }
    for (const char *at = path; *at != '\0'; at++) {
        entries += *at == ':';
    }
    const char **list = malloc((entries + 1) * sizeof *list + strlen(path) + entries * (name_size + 1));
    if (list == NULL) {
        return -ENOMEM;
    }
    char *text = (char *)(list + entries + 1);
    size_t found = 0;
    for (const char *entry = path;; entry++) {
        size_t length = strcspn(entry, ":");
        /* Only absolute ones: what an empty or a relative entry finds depends on where the child happens to be. */
        if (entry[0] == '/' && length + 1 + name_size <= PATH_MAX) {
            list[found++] = text;
            memcpy(text, entry, length);
            text[length] = '/';
            memcpy(text + length + 1, name, name_size);
            text += length + 1 + name_size;
        }
        entry += length;
        if (*entry == '\0') {
            break;
        }
    }
    list[found] = NULL;
    *memory = list;
    *paths = list;
    return 0;
}
