#!/bin/sh
# Writes the whole library as one C file to standard output, which needs nothing but proc.h beside it. `make amalgamation`
# calls it with three lists of files: for every system, for Linux, for the others. Each internal header is copied in
# where it is first included; the lists of a system start with those of the first list only, as just one of them is compiled.
set -eu

cat <<'END'
/* libproc in one file: compile it with proc.h beside it. Made by `make amalgamation`; change the files that it names. */
#define PROC_AMALGAMATION
#if defined(__linux__) && !defined(PROC_POSIX_ONLY)
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#else
#ifndef PROC_POSIX_ONLY
#define PROC_POSIX_ONLY
#endif
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#endif
#pragma GCC diagnostic ignored "-Wunused-function"
END

exec awk -v common="$1" -v linux="$2" -v posix="$3" '
function fail(text) {
    print "amalgamate.sh: " text | "cat >&2"
    exit 1
}

function readable(file,    line, got) {
    got = (getline line < file)
    close(file)
    return got >= 0
}

# Where "name", as the file in folder includes it, is to be found.
function locate(name, folder) {
    if (readable("src/" name))
        return "src/" name
    if (readable(folder name))
        return folder name
    fail("cannot find " name)
}

# A variable that a header declares hidden_data is static here, and C wants its definition to say so too.
function with_linkage(line,    name) {
    name = line
    sub(/ *(=|;|\[).*/, "", name)
    if (sub(/^hidden_data /, "", name))
        hidden[name] = 1
    else if (name in hidden)
        return "static " line
    return line
}

function copy(file, group,    line, name, folder, got) {
    folder = file
    sub(/[^\/]*$/, "", folder)
    print "\n/* ---- " file " ---- */\n"
    while ((got = (getline line < file)) > 0) {
        if (line ~ /^#[ \t]*define[ \t]+_(GNU|DEFAULT|XOPEN|POSIX_C)_SOURCE/)
            continue
        if (line !~ /^#[ \t]*include[ \t]+"/ || line ~ /"proc\.h"/) {
            print with_linkage(line)
            continue
        }
        name = line
        sub(/^[^"]*"/, "", name)
        sub(/".*/, "", name)
        name = locate(name, folder)
        if (!(("", name) in seen) && !((group, name) in seen)) {
            seen[group, name] = 1
            copy(name, group)
        }
    }
    if (got < 0)
        fail("cannot read " file)
    close(file)
}

function copy_all(list, group,    files, count, i) {
    count = split(list, files, " ")
    for (i = 1; i <= count; i++)
        copy(files[i], group)
}

BEGIN {
    copy_all(common, "")
    print "\n#if defined(__linux__) && !defined(PROC_POSIX_ONLY)"
    copy_all(linux, "linux")
    print "\n#else"
    copy_all(posix, "posix")
    print "\n#endif"
}'
