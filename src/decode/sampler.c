/* sampler.c - the chain from logits to a law and a token. Steps: chain.c; repetition: penalties.c. */
#include "decode/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "decode/chain.h"
#include "decode/penalties.h"

enum step { PENALTIES, DRY, TOP_N_SIGMA, TOP_K, TYPICAL, TOP_P, MIN_P, XTC, TEMPERATURE, N_STEPS };

static const char *const step_names[N_STEPS] = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                                "top_p",     "min_p", "xtc",         "temperature"};

struct lathe_sampler {
    lathe_sampler_params params; /* pointers in it are cleared */
    int32_t n_vocab;
    enum step steps[N_STEPS];
    int32_t n_steps;
    lathe_logit_bias *bias;
    lathe_candidate *candidates; /* [n_vocab] */
    lathe_token_table counts;    /* of penalties, then of DRY */
    lathe_breakers breakers;
    size_t *z; /* [n_z] scratch of DRY */
    size_t n_z;
    double mu; /* of mirostat */
};

lathe_sampler_params lathe_sampler_params_default(void) {
    return (lathe_sampler_params){
        .struct_size = sizeof(lathe_sampler_params),
        .temp = 0.8,
        .top_k = 40,
        .top_p = 0.95,
        .min_p = 0.05,
        .typical = 1,
        .top_n_sigma = -1,
        .xtc_threshold = 0.1,
        .dynatemp_exponent = 1,
        .repeat_last_n = 64,
        .repeat_penalty = 1,
        .dry_base = 1.75,
        .dry_allowed_length = 2,
        .dry_last_n = 64,
        .mirostat_tau = 5,
        .mirostat_eta = 0.1,
    };
}

/* --- New ----------------------------------------------------------------------------------------- */

static bool same_name(const char *a, size_t n, const char *b) {
    for (size_t i = 0; i < n; i++) {
        const char x = a[i] == '-' ? '_' : a[i];
        if (b[i] == '\0' || x != b[i])
            return false;
    }
    return b[n] == '\0';
}

static lathe_status read_steps(lathe_sampler *s, const char *text, lathe_error *err) {
    if (!text) {
        for (int32_t i = 0; i < N_STEPS; i++)
            s->steps[i] = (enum step) i;
        s->n_steps = N_STEPS;
        return LATHE_OK;
    }
    while (*text) {
        const size_t n = strcspn(text, ";,");
        int32_t found = -1;
        for (int32_t i = 0; i < N_STEPS; i++)
            if (same_name(text, n, step_names[i]))
                found = i;
        if (same_name(text, n, "typical"))
            found = TYPICAL;
        if (same_name(text, n, "temp"))
            found = TEMPERATURE;
        if (found < 0)
            return lathe_fail(
                err, LATHE_ERR_ARG,
                "no sampler '%.*s'; there are penalties, dry, top_n_sigma, top_k, typ_p, top_p, "
                "min_p, xtc, temperature",
                n < 60 ? (int) n : 60, text);
        for (int32_t i = 0; i < s->n_steps; i++)
            if (s->steps[i] == (enum step) found)
                return lathe_fail(err, LATHE_ERR_ARG, "sampler '%s' is named twice; once is enough",
                                  step_names[found]);
        s->steps[s->n_steps++] = (enum step) found;
        text += n;
        text += *text != '\0';
    }
    return LATHE_OK;
}

static bool in_range(double x, double low, double high) {
    return x >= low && x <= high; /* refuses NaN */
}

static lathe_status check_params(const lathe_sampler_params *p, int32_t n_vocab, lathe_error *err) {
    const struct {
        const char *name;
        double value, low, high;
    } limits[] = {
        {"temperature", p->temp, -1e6, 1e6},
        {"top-p", p->top_p, 0, 1e6},
        {"min-p", p->min_p, -1e6, 1},
        {"typical", p->typical, 0, 1e6},
        {"top-n-sigma", p->top_n_sigma, -1e6, 1e6},
        {"XTC probability", p->xtc_probability, 0, 1},
        {"XTC threshold", p->xtc_threshold, 0, 1e6},
        {"range of the dynamic temperature", p->dynatemp_range, 0, 1e6},
        {"exponent of the dynamic temperature", p->dynatemp_exponent, 0, 1e3},
        {"repeat penalty", p->repeat_penalty, 1e-6, 1e6},
        {"frequency penalty", p->frequency_penalty, -1e6, 1e6},
        {"presence penalty", p->presence_penalty, -1e6, 1e6},
        {"number of recent tokens", p->repeat_last_n, -1, 2147483647.0},
        {"DRY multiplier", p->dry_multiplier, 0, 1e6},
        {"DRY base", p->dry_base, 1, 1e3},
        {"DRY allowed length", p->dry_allowed_length, 1, 2147483647.0},
        {"number of tokens of DRY", p->dry_last_n, -1, 2147483647.0},
        {"number of DRY breakers", p->n_dry_breakers, 0, 256},
        {"number of biases", p->n_bias, 0, 1 << 22},
        {"mirostat tau", p->mirostat_tau, 0, 100},
        {"mirostat eta", p->mirostat_eta, 0, 100},
    };
    if (n_vocab < 1 || n_vocab > 1 << 24)
        return lathe_fail(err, LATHE_ERR_ARG, "a sampler of %d tokens; want 1 to 16777216", n_vocab);
    for (size_t i = 0; i < LATHE_LEN(limits); i++)
        if (!in_range(limits[i].value, limits[i].low, limits[i].high))
            return lathe_fail(err, LATHE_ERR_ARG, "%s %g; want %g to %g", limits[i].name, limits[i].value,
                              limits[i].low, limits[i].high);
    for (int32_t i = 0; i < p->n_bias; i++) {
        if (p->bias[i].id < 0 || p->bias[i].id >= n_vocab)
            return lathe_fail(err, LATHE_ERR_ARG, "a bias for token %d; want an id from 0 to %d",
                              p->bias[i].id, n_vocab - 1);
        if (isnan(p->bias[i].bias) || p->bias[i].bias == INFINITY)
            return lathe_fail(err, LATHE_ERR_ARG,
                              "the bias of token %d is no number; want one below infinity", p->bias[i].id);
    }
    return LATHE_OK;
}

static lathe_status fill(lathe_sampler *s, const lathe_vocab *vocab, const lathe_sampler_params *p,
                         lathe_error *err) {
    static const char *const usual_breakers[] = {"\n", ":", "\"", "*"};
    s->params = *p;
    s->params.bias = NULL;
    s->params.steps = NULL;
    s->params.dry_breakers = NULL;
    s->mu = 2 * p->mirostat_tau;
    lathe_status st = read_steps(s, p->steps, err);
    if (st)
        return st;
    s->candidates = malloc((size_t) s->n_vocab * sizeof *s->candidates);
    s->bias = malloc((size_t) (p->n_bias > 0 ? p->n_bias : 1) * sizeof *s->bias);
    if (!s->candidates || !s->bias)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a sampler of %d tokens", s->n_vocab);
    if (p->n_bias > 0)
        memcpy(s->bias, p->bias, (size_t) p->n_bias * sizeof *s->bias);
    st = lathe_token_table_new(&s->counts, s->n_vocab, err);
    if (!st && p->dry_multiplier > 0)
        st = lathe_breakers_new(
            &s->breakers, vocab, s->n_vocab, p->dry_breakers ? p->dry_breakers : usual_breakers,
            p->dry_breakers ? p->n_dry_breakers : (int32_t) LATHE_LEN(usual_breakers), err);
    return st;
}

lathe_status lathe_sampler_new(const lathe_vocab *vocab, int32_t n_vocab, const lathe_sampler_params *params,
                               lathe_sampler **sampler, lathe_error *err) {
    const lathe_sampler_params usual = lathe_sampler_params_default();
    const lathe_sampler_params *p = params ? params : &usual;
    lathe_status st = check_params(p, n_vocab, err);
    if (st)
        return st;
    lathe_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a sampler");
    s->n_vocab = n_vocab;
    st = fill(s, vocab, p, err);
    if (st)
        lathe_sampler_free(s);
    else
        *sampler = s;
    return st;
}

void lathe_sampler_free(lathe_sampler *sampler) {
    if (!sampler)
        return;
    free(sampler->bias);
    free(sampler->candidates);
    free(sampler->z);
    lathe_token_table_free(&sampler->counts);
    lathe_breakers_free(&sampler->breakers);
    free(sampler);
}

uint64_t lathe_sampler_seed(const lathe_sampler *sampler) {
    return sampler->params.seed;
}

bool lathe_sampler_is_greedy(const lathe_sampler *sampler) {
    return sampler->params.temp <= 0;
}

void lathe_sampler_break_at(lathe_sampler *sampler, int32_t id) {
    if (sampler->breakers.single)
        sampler->breakers.single[id] = 1;
}

double lathe_sampler_mu(const lathe_sampler *sampler) {
    return sampler->mu;
}

/* --- Penalties ----------------------------------------------------------------------------------- */

static size_t window(int32_t last_n, size_t n_history) {
    return last_n < 0 || (size_t) last_n > n_history ? n_history : (size_t) last_n;
}

static void penalise(lathe_sampler *s, lathe_candidates *c, const int32_t *history, size_t n_history) {
    const lathe_sampler_params *p = &s->params;
    const size_t n = window(p->repeat_last_n, n_history);
    if (n == 0 || (p->repeat_penalty == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0))
        return;
    lathe_token_table_clear(&s->counts);
    lathe_token_table_count(&s->counts, history + n_history - n, n);
    for (int32_t i = 0; i < c->n; i++) {
        const int32_t count = s->counts.value[c->at[i].id];
        if (count == 0)
            continue;
        double l = c->at[i].logit;
        l = l > 0 ? l / p->repeat_penalty : l * p->repeat_penalty;
        c->at[i].logit = l - count * p->frequency_penalty - p->presence_penalty;
    }
}

static lathe_status penalise_dry(lathe_sampler *s, lathe_candidates *c, const int32_t *history,
                                 size_t n_history, lathe_error *err) {
    const lathe_sampler_params *p = &s->params;
    const size_t n = window(p->dry_last_n, n_history);
    if (n == 0 || p->dry_multiplier <= 0)
        return LATHE_OK;
    if (n > s->n_z) {
        const size_t wanted = n + n / 2 + 64;
        size_t *grown = realloc(s->z, wanted * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for DRY over %zu tokens", n);
        s->z = grown;
        s->n_z = wanted;
    }
    const int32_t *ids = history + n_history - n;
    lathe_token_table_clear(&s->counts);
    lathe_dry_lengths(ids, n, lathe_breakers_limit(&s->breakers, ids, n), p->dry_allowed_length, s->z,
                      &s->counts);
    for (int32_t i = 0; i < c->n; i++) {
        const int32_t id = c->at[i].id, length = s->counts.value[id];
        if (length > 0 && !(s->breakers.single && s->breakers.single[id]))
            c->at[i].logit -=
                lathe_dry_penalty(p->dry_multiplier, p->dry_base, length, p->dry_allowed_length);
    }
    return LATHE_OK;
}

/* --- The chain ----------------------------------------------------------------------------------- */

static double uniform(const lathe_sampler *s, uint32_t purpose, size_t position) {
    return lathe_uniform_at(s->params.seed, purpose, (uint32_t) position,
                            (uint32_t) ((uint64_t) position >> 32), 0);
}

static lathe_status collect(lathe_sampler *s, const float *logits, lathe_candidates *c, lathe_error *err) {
    int32_t n = 0;
    for (int32_t id = 0; id < s->n_vocab; id++) {
        const float l = logits[id];
        if (!(l < INFINITY))
            return lathe_fail(err, LATHE_ERR_NUMERIC, "the logit of token %d is %s", id,
                              isnan(l) ? "not a number" : "infinite");
        s->candidates[id] = (lathe_candidate){.logit = l, .id = id};
    }
    for (int32_t i = 0; i < s->params.n_bias; i++)
        s->candidates[s->bias[i].id].logit += s->bias[i].bias;
    for (int32_t id = 0; id < s->n_vocab; id++)
        if (s->candidates[id].logit > -INFINITY)
            s->candidates[n++] = s->candidates[id];
    *c = (lathe_candidates){.at = s->candidates, .n = n, .min_keep = s->params.min_keep};
    return n > 0 ? LATHE_OK
                 : lathe_fail(err, LATHE_ERR_NUMERIC, "no token is allowed; all logits are -infinity");
}

static lathe_status take_step(lathe_sampler *s, enum step step, lathe_candidates *c, const int32_t *history,
                              size_t n_history, lathe_error *err) {
    const lathe_sampler_params *p = &s->params;
    switch (step) {
    case PENALTIES:
        penalise(s, c, history, n_history);
        break;
    case DRY:
        return penalise_dry(s, c, history, n_history, err);
    case TOP_N_SIGMA:
        lathe_keep_top_n_sigma(c, p->top_n_sigma);
        break;
    case TOP_K:
        lathe_keep_top_k(c, p->top_k);
        break;
    case TYPICAL:
        lathe_keep_typical(c, p->typical);
        break;
    case TOP_P:
        lathe_keep_top_p(c, p->top_p);
        break;
    case MIN_P:
        lathe_keep_min_p(c, p->min_p);
        break;
    case XTC:
        if (p->xtc_probability > 0 && p->xtc_threshold <= 0.5 &&
            uniform(s, LATHE_RNG_XTC, n_history) < p->xtc_probability)
            lathe_drop_xtc(c, p->xtc_threshold);
        break;
    case TEMPERATURE:
        if (p->temp > 0)
            (void) lathe_scale_temperature(c, p->temp, p->dynatemp_range, p->dynatemp_exponent);
        break;
    case N_STEPS:
        break;
    }
    return LATHE_OK;
}

/* Leaves the survivors with their probabilities in `key`. */
static lathe_status run_chain(lathe_sampler *s, const float *logits, const int32_t *history, size_t n_history,
                              lathe_candidates *c, lathe_error *err) {
    const lathe_sampler_params *p = &s->params;
    lathe_status st = collect(s, logits, c, err);
    if (!st && p->mirostat && p->temp > 0) {
        (void) lathe_scale_temperature(c, p->temp, p->dynatemp_range, p->dynatemp_exponent);
        lathe_keep_surprise(c, s->mu);
    } else {
        for (int32_t i = 0; !st && i < s->n_steps; i++)
            st = take_step(s, s->steps[i], c, history, n_history, err);
    }
    if (st)
        return st;
    if (p->temp <= 0)
        lathe_keep_best(c);
    (void) lathe_candidates_softmax(c);
    return LATHE_OK;
}

/* Nothing but the temperature can change which logit is the largest. */
static bool is_plain_argmax(const lathe_sampler *s) {
    const lathe_sampler_params *p = &s->params;
    return p->temp <= 0 && p->n_bias == 0 && p->typical >= 1 && p->xtc_probability <= 0 &&
           p->dry_multiplier <= 0 && p->repeat_penalty == 1 && p->frequency_penalty == 0 &&
           p->presence_penalty == 0;
}

static lathe_status argmax(const float *logits, int32_t n, int32_t *id, lathe_error *err) {
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        if (!(logits[i] < INFINITY))
            return lathe_fail(err, LATHE_ERR_NUMERIC, "the logit of token %d is %s", i,
                              isnan(logits[i]) ? "not a number" : "infinite");
        if (logits[i] > -INFINITY && (best < 0 || logits[i] > logits[best]))
            best = i;
    }
    if (best < 0)
        return lathe_fail(err, LATHE_ERR_NUMERIC, "no token is allowed; all logits are -infinity");
    *id = best;
    return LATHE_OK;
}

lathe_status lathe_sampler_law(lathe_sampler *sampler, const float *logits, const int32_t *history,
                               size_t n_history, double *law, lathe_error *err) {
    lathe_candidates c;
    lathe_status st = run_chain(sampler, logits, history, n_history, &c, err);
    if (st)
        return st;
    memset(law, 0, (size_t) sampler->n_vocab * sizeof *law);
    for (int32_t i = 0; i < c.n; i++)
        law[c.at[i].id] = c.at[i].key;
    return LATHE_OK;
}

/* --- Draws --------------------------------------------------------------------------------------- */

/* The first candidate, by id, whose cumulative weight passes u of the total. */
static const lathe_candidate *draw(lathe_candidates *c, double u) {
    double total = 0, sum = 0;
    for (int32_t i = 1; i < c->n; i++) {
        if (c->at[i].id > c->at[i - 1].id)
            continue;
        /* Steps changed the order: go back to that of ids. The key is needed, so the logit keeps the weight.
         */
        for (int32_t j = 0; j < c->n; j++) {
            c->at[j].logit = c->at[j].key;
            c->at[j].key = -c->at[j].id;
        }
        lathe_rank_first(c->at, c->n, c->n);
        for (int32_t j = 0; j < c->n; j++)
            c->at[j].key = c->at[j].logit;
        break;
    }
    for (int32_t i = 0; i < c->n; i++)
        total += c->at[i].key;
    const lathe_candidate *last = &c->at[0];
    for (int32_t i = 0; i < c->n; i++) {
        sum += c->at[i].key;
        if (c->at[i].key > 0)
            last = &c->at[i];
        if (sum > u * total)
            return &c->at[i];
    }
    return last;
}

lathe_status lathe_sampler_draw(lathe_sampler *sampler, const float *logits, const int32_t *history,
                                size_t n_history, int32_t *id, lathe_error *err) {
    if (is_plain_argmax(sampler))
        return argmax(logits, sampler->n_vocab, id, err);
    lathe_candidates c;
    lathe_status st = run_chain(sampler, logits, history, n_history, &c, err);
    if (st)
        return st;
    const lathe_candidate *drawn = draw(&c, uniform(sampler, LATHE_RNG_TARGET_SAMPLE, n_history));
    *id = drawn->id;
    if (sampler->params.mirostat && sampler->params.temp > 0)
        sampler->mu -= sampler->params.mirostat_eta * (-log2(drawn->key) - sampler->params.mirostat_tau);
    return LATHE_OK;
}

int32_t lathe_sampler_pick(const lathe_sampler *sampler, const double *law, size_t position) {
    const double u = uniform(sampler, LATHE_RNG_TARGET_SAMPLE, position);
    double total = 0, sum = 0;
    int32_t last = 0;
    for (int32_t id = 0; id < sampler->n_vocab; id++)
        total += law[id];
    for (int32_t id = 0; id < sampler->n_vocab; id++) {
        sum += law[id];
        if (law[id] > 0)
            last = id;
        if (sum > u * total)
            return id;
    }
    return last;
}

void lathe_log_softmax(const float *logits, int32_t n, double *out) {
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        max = logits[i] > max ? (double) logits[i] : max;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double) logits[i] - max);
    const double log_sum = max + log(sum);
    for (int32_t i = 0; i < n; i++)
        out[i] = (double) logits[i] - log_sum;
}
