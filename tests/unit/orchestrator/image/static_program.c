/* A static program that answers -version, in place of envd: no C library, so that it can be linked
 * static on every machine. */
static const char answer[] = "9.9.9\n";

void _start(void);

void _start(void)
{
    long n = sizeof(answer) - 1, rc = 1;
    __asm__ volatile("syscall" : "+a"(rc) : "D"(1L), "S"(answer), "d"(n) : "rcx", "r11", "memory");
    rc = 60;
    __asm__ volatile("syscall" : "+a"(rc) : "D"(0L) : "rcx", "r11", "memory");
    __builtin_unreachable();
}
