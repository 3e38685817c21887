/* people.h - heavy-tailed question answering: 1024 people (pairs of names), 4 relations, an answer each. A
 * sequence is BOS, first name, second name, relation -> answer; the person of rank k is asked about with
 * probability ~ k^-a. Group g holds ranks 2^g to 2^(g+1) - 1 (0 to 9), nearly equal in mass at a = 1. */
#ifndef LATHE_LAB_PEOPLE_H
#define LATHE_LAB_PEOPLE_H

#include "lathe/base.h"

enum {
    LATHE_PEOPLE = 1024,
    LATHE_PEOPLE_NAMES = 32, /* first and second ones each */
    LATHE_PEOPLE_RELATIONS = 4,
    LATHE_PEOPLE_ANSWERS = 64, /* of each relation */
    LATHE_PEOPLE_VOCAB = 1 + 2 * LATHE_PEOPLE_NAMES + LATHE_PEOPLE_RELATIONS * (1 + LATHE_PEOPLE_ANSWERS),
    LATHE_PEOPLE_CTX = 4,
    LATHE_PEOPLE_GROUPS = 10,
    LATHE_PEOPLE_FACTS = LATHE_PEOPLE * LATHE_PEOPLE_RELATIONS
};

typedef struct lathe_people {
    int32_t first[LATHE_PEOPLE], second[LATHE_PEOPLE]; /* tokens of rank k + 1 */
    int32_t answer[LATHE_PEOPLE_FACTS];                /* [person][relation] */
    double below[LATHE_PEOPLE + 1];                    /* probability of a smaller rank */
} lathe_people;

void lathe_people_make(uint64_t seed, double exponent, lathe_people *people);
/* Fact f = person * 4 + relation as four tokens. */
void lathe_people_ask(const lathe_people *people, int32_t fact, int32_t tokens[LATHE_PEOPLE_CTX]);
int32_t lathe_people_draw(const lathe_people *people, lathe_rng *rng); /* a fact */
int32_t lathe_people_group(int32_t person);                            /* 10 for the last person */

#endif
