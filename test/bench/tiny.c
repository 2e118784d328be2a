/*
 * The smallest programs: one ends at once, with 0; the other (-DBENCH_IDLE) when its stdin does. What the start of the first
 * costs is what every start costs. Best built with -static -nostdlib -ffreestanding; with a C library under it (then -static
 * alone) they do the same a little later.
 */
#if defined __STDC_HOSTED__ && __STDC_HOSTED__ == 0 && defined __linux__ && (defined __x86_64__ || defined __aarch64__)

#ifdef __x86_64__
enum { READ = 0, EXIT_GROUP = 231 };
#else
enum { READ = 63, EXIT_GROUP = 94 };
#endif

static long call(long number, long first, void *second, long third)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x2 __asm__("x2") = third;
    register void *x1 __asm__("x1") = second;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

_Noreturn void _start(void);

_Noreturn void _start(void)
{
#ifdef BENCH_IDLE
    char byte;

    while (call(READ, 0, &byte, 1) > 0) {
    }
#endif
    for (;;) {
        call(EXIT_GROUP, 0, 0, 0);
    }
}

#else

#include <unistd.h>

int main(void)
{
#ifdef BENCH_IDLE
    char byte;

    while (read(0, &byte, 1) > 0) {
    }
#endif
    return 0;
}

#endif
