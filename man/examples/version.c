/* version: does this run with the library that it was built for? */
#include <proc.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    printf("built for %s, runs with %s\n", PROC_VERSION, proc_version());
    return strcmp(PROC_VERSION, proc_version()) == 0 ? 0 : 1;
}
