/* quote WORD...: print the words as one line that a shell reads back as
 * the same words: ssh host "$(quote rm -- "$name")" */
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char *argv[])
{
    for (int i = 1; i < argc; i++) {
        int length = proc_shell_quote(argv[i], NULL, 0);
        char *word = length < 0 ? NULL : malloc((size_t)length + 1);
        if (!word) {
            fprintf(stderr, "quote: %s\n",
                    length < 0 ? proc_strerror(length) : "out of memory");
            return 1;
        }
        proc_shell_quote(argv[i], word, (size_t)length + 1);
        printf("%s%s", i > 1 ? " " : "", word);
        free(word);
    }
    putchar('\n');
    return fflush(stdout) == 0 ? 0 : 1;
}
