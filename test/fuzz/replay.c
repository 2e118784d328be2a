/*
 * In libFuzzer's place: runs a target with each file that it is given, and with all in each directory.
 */
#include "fuzz.h"

#include <dirent.h>

#pragma weak LLVMFuzzerInitialize

static size_t runs;

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size = -1;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
        rewind(file);
    }
    /* Just as large as the input, for whatever looks for reads past its end. */
    uint8_t *data = size < 0 ? NULL : malloc(size == 0 ? 1 : (size_t)size);

    if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(1);
    }
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    runs++;
}

static void run_all(const char *path)
{
    struct dirent *entry;
    DIR *dir = opendir(path);

    if (dir == NULL) {
        run_file(path);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        char name[4096];

        if (entry->d_name[0] != '.') {
            (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            run_file(name);
        }
    }
    (void)closedir(dir);
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize != NULL) {
        (void)LLVMFuzzerInitialize(&argc, &argv);
    }
    for (int i = 1; i < argc; i++) {
        run_all(argv[i]);
    }
    printf("%zu inputs\n", runs);
    return runs > 0 ? 0 : 1;
}
