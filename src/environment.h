/*
 * The child's environment, and where its PATH leads to.
 */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "hidden.h"

/* -EINVAL, with *bad the first entry that has no '=' or no name. */
hidden int environment_check(const char *const *env, const char *const **bad);
/* Base, changes and `last` (or NULL) merged; of each name the last. Everything is in one block of memory. -EINVAL as above,
 * of changes, where an entry may lack the '='. */
hidden int environment_merge(const char *const *base, const char *const *changes, const char *last, void **memory,
                             const char *const **env, const char *const **bad);
/* Where `name` may be by the PATH in env, absolute entries only; NULL-ended, in one block of memory. */
hidden int environment_search(const char *name, const char *const *env, void **memory, const char *const **paths);

#endif
