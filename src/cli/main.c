/* main.c - picks the verb, prints the error, exits. */
#include "lathe/base.h"

#include <stdio.h>

int main(void) {
    printf("lathe %s\n", lathe_version());
    return 0;
}
