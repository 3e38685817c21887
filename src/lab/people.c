/* people.c - see people.h. */
#include "lab/people.h"

#include <math.h>

#include "base/rng_purpose.h"

enum {
    FIRST = 1,
    SECOND = FIRST + LATHE_PEOPLE_NAMES,
    RELATION = SECOND + LATHE_PEOPLE_NAMES,
    ANSWER = RELATION + LATHE_PEOPLE_RELATIONS
};

void lathe_people_make(uint64_t seed, double exponent, lathe_people *p) {
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_LAB_DATA, 1);
    int32_t pairs[LATHE_PEOPLE]; /* each pair of names is one person: all differ */
    lathe_rng_permutation(&rng, pairs, LATHE_PEOPLE);
    double sum = 0;
    for (int32_t k = 0; k < LATHE_PEOPLE; k++) {
        p->first[k] = FIRST + pairs[k] / LATHE_PEOPLE_NAMES;
        p->second[k] = SECOND + pairs[k] % LATHE_PEOPLE_NAMES;
        p->below[k] = sum;
        sum += pow(k + 1, -exponent);
    }
    for (int32_t k = 0; k < LATHE_PEOPLE; k++)
        p->below[k] /= sum;
    p->below[LATHE_PEOPLE] = 1;
    for (int32_t f = 0; f < LATHE_PEOPLE_FACTS; f++)
        p->answer[f] = ANSWER + f % LATHE_PEOPLE_RELATIONS * LATHE_PEOPLE_ANSWERS +
                       (int32_t) lathe_rng_below(&rng, LATHE_PEOPLE_ANSWERS);
}

void lathe_people_ask(const lathe_people *p, int32_t fact, int32_t tokens[LATHE_PEOPLE_CTX]) {
    const int32_t person = fact / LATHE_PEOPLE_RELATIONS;
    tokens[0] = 0;
    tokens[1] = p->first[person];
    tokens[2] = p->second[person];
    tokens[3] = RELATION + fact % LATHE_PEOPLE_RELATIONS;
}

int32_t lathe_people_draw(const lathe_people *p, lathe_rng *rng) {
    const double u = lathe_rng_uniform(rng);
    int32_t low = 0, high = LATHE_PEOPLE; /* below[low] <= u < below[high] */
    while (high - low > 1) {
        const int32_t middle = (low + high) / 2;
        *(p->below[middle] <= u ? &low : &high) = middle;
    }
    return low * LATHE_PEOPLE_RELATIONS + (int32_t) lathe_rng_below(rng, LATHE_PEOPLE_RELATIONS);
}

int32_t lathe_people_group(int32_t person) {
    int32_t g = 0;
    while ((person + 1) >> (g + 1))
        g++;
    return g;
}
