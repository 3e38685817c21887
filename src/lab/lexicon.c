/* lexicon.c - see lexicon.h. */
#include "lab/lexicon.h"

#include <math.h>
#include <string.h>

#include "base/rng_purpose.h"

#define SELECTED 0.7

/* Partners of class a in class b: rank i is near floor(i n_b / n_a), uniform in that rank's octave
 * [2^o - 1, 2^(o + 1) - 1), which keeps the law of b nearly. */
static void partners(lathe_rng *rng, int32_t n_a, int32_t n_b, uint16_t *out) {
    for (int32_t i = 0; i < n_a; i++) {
        int32_t near = (int32_t) ((int64_t) i * n_b / n_a), octave = 0;
        while (2 << octave <= near + 1)
            octave++;
        int32_t low = (1 << octave) - 1, high = (2 << octave) - 1;
        if (high > n_b)
            high = n_b;
        out[i] = (uint16_t) (low + (int32_t) lathe_rng_below(rng, (uint64_t) (high - low)));
    }
}

void lathe_lexicon_make(uint64_t seed, double s, bool large, lathe_lexicon *l) {
    static const int32_t sizes[2][LATHE_CLASSES] = {{8, 64, 128, 64, 8}, {32, 256, 512, 256, 32}};
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_LAB_DATA, 6);
    l->n_vocab = 1;
    for (int c = 0; c < LATHE_CLASSES; c++) {
        double sum = 0;
        l->size[c] = sizes[large][c];
        l->first[c] = l->n_vocab;
        l->n_vocab += l->size[c];
        for (int32_t k = 0; k < l->size[c]; k++) {
            l->below[c][k] = sum;
            sum += pow(k + 1, -s);
        }
        for (int32_t k = 0; k < l->size[c]; k++)
            l->below[c][k] /= sum;
        l->below[c][l->size[c]] = 1;
    }
    partners(&rng, l->size[LATHE_CLASS_A], l->size[LATHE_CLASS_N], l->noun_of);
    partners(&rng, l->size[LATHE_CLASS_N], l->size[LATHE_CLASS_V], l->verb_of);
    partners(&rng, l->size[LATHE_CLASS_V], l->size[LATHE_CLASS_N], l->object_of);
}

static int32_t fresh(const lathe_lexicon *l, lathe_rng *rng, lathe_class c) {
    const double u = lathe_rng_uniform(rng);
    int32_t low = 0, high = l->size[c];
    while (high - low > 1) { /* the rank whose interval holds u */
        const int32_t middle = (low + high) / 2;
        if (l->below[c][middle] <= u)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* A sentence as it grows. */
typedef struct sentence {
    const lathe_lexicon *l;
    lathe_rng *rng;
    int32_t *out, n;
} sentence;

static void say(sentence *s, lathe_class c, int32_t rank) {
    s->out[s->n++] = s->l->first[c] + rank;
}

/* A word of class c that `partner` (a rank, -1: nobody) selects. */
static int32_t word(sentence *s, lathe_class c, int32_t partner) {
    const bool selected = partner >= 0 && lathe_rng_uniform(s->rng) < SELECTED;
    const int32_t rank = selected ? partner : fresh(s->l, s->rng, c);
    say(s, c, rank);
    return rank;
}

/* Returns the noun's rank. partner: the noun that the verb before it selects; an adjective between selects
 * instead. */
static int32_t noun_phrase(sentence *s, int32_t partner) {
    const double u = lathe_rng_uniform(s->rng);
    if (u < 0.8)
        (void) word(s, LATHE_CLASS_D, -1);
    if (u >= 0.5 && u < 0.8)
        partner = s->l->noun_of[word(s, LATHE_CLASS_A, -1)];
    return word(s, LATHE_CLASS_N, partner);
}

int32_t lathe_lexicon_sentence(const lathe_lexicon *l, lathe_rng *rng,
                               int32_t out[LATHE_LEXICON_SENTENCE_MAX]) {
    sentence s = {l, rng, out, 0};
    const int32_t subject = noun_phrase(&s, -1);
    const int32_t verb = word(&s, LATHE_CLASS_V, l->verb_of[subject]);
    const double u = lathe_rng_uniform(rng);
    if (u < 0.8)
        (void) noun_phrase(&s, l->object_of[verb]);
    if (u >= 0.6 && u < 0.8) {
        (void) word(&s, LATHE_CLASS_P, -1);
        (void) noun_phrase(&s, -1);
    }
    out[s.n++] = 0;
    return s.n;
}

void lathe_lexicon_text(const lathe_lexicon *l, lathe_rng *rng, int32_t *out, size_t n) {
    int32_t words[LATHE_LEXICON_SENTENCE_MAX];
    for (size_t at = 0; at < n;) {
        const size_t length = (size_t) lathe_lexicon_sentence(l, rng, words), left = n - at;
        memcpy(out + at, words, (length < left ? length : left) * sizeof *out);
        at += length < left ? length : left;
    }
}
