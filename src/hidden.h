/*
 * The library's own linkage. Every header of src/ declares its functions and variables `hidden`: shared between the files
 * of the library, seen by nobody else. In the amalgamation, which is one file, they are static.
 */
#ifndef HIDDEN_H
#define HIDDEN_H

#ifdef PROC_AMALGAMATION
#define hidden static __attribute__((unused))
#define hidden_data static __attribute__((unused))
#else
#define hidden __attribute__((visibility("hidden")))
#define hidden_data extern __attribute__((visibility("hidden")))
#endif

/* What programs call is compiled with default visibility; it comes in by this header alone. */
#pragma GCC visibility push(default)
#include "proc.h"
#pragma GCC visibility pop

#endif
