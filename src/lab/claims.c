/* claims.c - the one place where an interval becomes a verdict. */
#include <math.h>

#include "lathe/lab.h"

lathe_verdict lathe_claim_verdict(const lathe_claim *c, double low, double high) {
    if (!(low <= high)) /* NaN too */
        return LATHE_VERDICT_UNDECIDED;
    switch (c->kind) {
    case LATHE_CLAIM_AT_LEAST:
        return low >= c->expected   ? LATHE_VERDICT_HOLDS
               : high < c->expected ? LATHE_VERDICT_FAILS
                                    : LATHE_VERDICT_UNDECIDED;
    case LATHE_CLAIM_GREATER:
        return low > c->expected     ? LATHE_VERDICT_HOLDS
               : high <= c->expected ? LATHE_VERDICT_FAILS
                                     : LATHE_VERDICT_UNDECIDED;
    case LATHE_CLAIM_AT_MOST:
        return high <= c->expected ? LATHE_VERDICT_HOLDS
               : low > c->expected ? LATHE_VERDICT_FAILS
                                   : LATHE_VERDICT_UNDECIDED;
    case LATHE_CLAIM_NEAR: {
        const double from = c->expected - c->tolerance, to = c->expected + c->tolerance;
        return low >= from && high <= to ? LATHE_VERDICT_HOLDS
               : high < from || low > to ? LATHE_VERDICT_FAILS
                                         : LATHE_VERDICT_UNDECIDED;
    }
    }
    return LATHE_VERDICT_UNDECIDED;
}

const char *lathe_claim_verdict_text(const lathe_claim_result *r) {
    if (r->claim->untestable)
        return "not testable here";
    switch (r->verdict) {
    case LATHE_VERDICT_HOLDS:
        return "holds";
    case LATHE_VERDICT_UNMEASURED:
        return "not measured";
    case LATHE_VERDICT_FAILS:
        return r->direction ? "holds in direction" : "does not hold";
    default:
        return r->direction ? "holds in direction" : "undecided";
    }
}
