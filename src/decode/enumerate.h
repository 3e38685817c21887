/* enumerate.h - walks every outcome of a random procedure, with its exact probability.
 *
 * The procedure is run again and again; each choice it asks for follows a script, and the script is advanced
 * like the digits of a counter until every path was taken. What is tested is the code that runs in
 * production. */
#ifndef LATHE_DECODE_ENUMERATE_H
#define LATHE_DECODE_ENUMERATE_H

#include "lathe/base.h"

enum { LATHE_CHOICES_MAX = 256 };

typedef struct lathe_enumeration {
    size_t chosen[LATHE_CHOICES_MAX], last[LATHE_CHOICES_MAX]; /* index taken, last index that is possible */
    bool advance;       /* the deepest choice moves on to its next possible index in this run */
    int32_t n, depth;   /* scripted choices; choices made in this run */
    double probability; /* of this run so far */
    bool overflow;      /* more choices than fit: the result does not count */
} lathe_enumeration;

/* Before the first run. */
void lathe_enumeration_start(lathe_enumeration *e);
/* After a run: true if there is another. */
bool lathe_enumeration_next(lathe_enumeration *e);
/* The `choose` of lathe_chance; user is the enumeration. */
size_t lathe_enumeration_choose(void *user, uint32_t purpose, uint64_t position, const double *w, size_t n);

#endif
