#include <proc.h>
#include <stdio.h>

int main(void)
{
    proc_result result;
    int err = proc_exec(&result, "echo hello from a child", NULL);
    if (err < 0) {
        fprintf(stderr, "%s\n", proc_strerror(err));
        return 1;
    }
    fputs(result.out, stdout);
    proc_result_clear(&result);
    return 0;
}
