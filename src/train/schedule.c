/* schedule.c - learning rates over the steps of a run. */
#include <math.h>

#include "lathe/train.h"

#define PI 3.14159265358979323846

double lathe_schedule_at(const lathe_schedule *s, int64_t t) {
    double w = (double) s->warmup, total = (double) s->total, x = (double) t, rest = fmax(1, total - w);
    if (t <= s->warmup)
        return x / w;
    if (x > total)
        x = total;
    switch (s->kind) {
    case LATHE_SCHEDULE_COSINE:
        return s->min_ratio + (1 - s->min_ratio) * (1 + cos(PI * (x - w) / rest)) / 2;
    case LATHE_SCHEDULE_LINEAR:
        return s->min_ratio + (1 - s->min_ratio) * (total - x) / rest;
    case LATHE_SCHEDULE_WSD:
    case LATHE_SCHEDULE_WSD_LINEAR: {
        double start = total - round(s->decay * total);
        if (x <= start)
            return 1;
        return s->kind == LATHE_SCHEDULE_WSD ? 1 - sqrt((x - start) / (total - start))
                                             : (total - x) / (total - start);
    }
    default:
        return 1;
    }
}
