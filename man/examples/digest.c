/* digest FILE...: ask sha256sum for the digest of each file, whatever its
 * name: no shell ever sees it. */
#include <proc.h>
#include <stdio.h>
#include <string.h>

static int digest(const char *path, char sum[65])
{
    const char *const argv[] = {"sha256sum", "--", path, NULL};
    proc_error error;
    proc_options options = {.timeout_ms = 60000, .error = &error};
    proc_result result;
    char text[512];

    int err = proc_execfile(&result, argv, &options);
    if (error.code < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "digest: %s\n", text);
    } else if (err < 0 || !proc_status_ok(&result.status)) {
        proc_status_format(&result.status, text, sizeof text);
        fprintf(stderr, "digest: sha256sum: %s: %s",
                err < 0 ? proc_strerror(err) : text,
                result.err != NULL ? result.err : "\n");
    }
    int found = 0;
    if (err == 0 && proc_status_ok(&result.status)) {
        /* It begins with a backslash if the name had to be escaped. */
        const char *line = result.out + (result.out[0] == '\\');
        found = strspn(line, "0123456789abcdef") == 64;
        snprintf(sum, 65, "%s", line);
    }
    proc_result_clear(&result);
    return found;
}

int main(int argc, char *argv[])
{
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        char sum[65];
        if (digest(argv[i], sum))
            printf("%s %s\n", sum, argv[i]);
        else
            failed = 1;
    }
    return failed;
}
