/*
 * The smallest program: it ends at once, with 0. What its start costs is what every start costs. Best built with
 * -static -nostdlib -ffreestanding; with a C library under it (then -static alone) it does the same a little later.
 */
#if defined __STDC_HOSTED__ && __STDC_HOSTED__ == 0 && defined __linux__ && (defined __x86_64__ || defined __aarch64__)

_Noreturn void _start(void);

_Noreturn void _start(void)
{
#ifdef __x86_64__
    __asm__ volatile("syscall" : : "a"(231L), "D"(0L) : "rcx", "r11", "memory"); /* exit_group(0) */
#else
    register long number __asm__("x8") = 94, code __asm__("x0") = 0;
    __asm__ volatile("svc 0" : : "r"(number), "r"(code) : "memory");
#endif
    for (;;) {
    }
}

#else

int main(void)
{
    return 0;
}

#endif
