/* The program under test for gdb: a function to stop in and lines to step over. */

#include <stdio.h>

static int twice(int n)
{
    int result = n * 2; /* BREAK: step */
    result += 1;
    result += 1;
    result += 1;
    result += 1;
    result += 1;
    result += 1;
    result += 1;
    result -= 7;
    return result;
}

int main(void)
{
    printf("answer=%d\n", twice(21));
    return 0;
}
