/* gate.h - the worst-loss gate: speculation may lose at most a fixed share of an answer's time.
 *
 * T is the measured time of the answer so far, P the price of the same tokens by plain decoding, D = T - P
 * the loss. A round of k drafts is allowed only while D plus its worst cost without any accepted draft stays
 * within a share of P. The price comes from plain rounds that are forced now and then (probes). */
#ifndef LATHE_DECODE_GATE_H
#define LATHE_DECODE_GATE_H

#include "lathe/base.h"

/* TOKENS_FIRST: plain tokens whose share an answer may lose from its start. */
enum { LATHE_GATE_SINCE_MAX = 256, LATHE_GATE_TOKENS_FIRST = 64 };

typedef struct lathe_gate {
    double share;    /* eps: 0.02 */
    double T, P;     /* seconds, of this answer */
    double prompt_s; /* of reading its prompt, which is part of its time */
    double plain[9]; /* the last plain rounds, across answers, oldest first */
    int32_t n_plain, n_plain_ever;
    double ratio[32]; /* measured over modelled cost of the last drafted rounds */
    int32_t n_ratio;
    double since_tokens; /* emitted since the last plain round */
    int32_t n_since;
    double since_price[LATHE_GATE_SINCE_MAX];
    double since_count[LATHE_GATE_SINCE_MAX];
    int32_t rounds_since_interruption;
    double interrupted_s;
    int64_t refused, probes;
    double plain_s, price; /* medians of the plain rounds, and what a plain step is worth */
    double upper, middle;  /* of ratio; kept since they are asked for every round */
} lathe_gate;

/* A process's first answer; share of time that may be lost. */
void lathe_gate_init(lathe_gate *gate, double share);
/* A new answer whose prompt took so many seconds to read: prices stay, time starts anew. */
void lathe_gate_answer(lathe_gate *gate, double prompt_s);
/* Time spent in advance, on a draft model's prompt: a loss until drafts repay it. More than twice what was
 * expected was an interruption, which plain decoding would have met too. */
void lathe_gate_advance(lathe_gate *gate, double seconds, double expected);
/* Price of a plain step now, in seconds; 0 before the first four plain rounds. */
double lathe_gate_price(const lathe_gate *gate);
/* Seconds that may be lost in all: the share of the prompt and of max(P, min(P + 64 q, 256 q)), q the price
 * of a plain step. From 256 tokens on that is the share of the answer; a shorter one can lose 1.28 plain
 * steps beside its share. */
double lathe_gate_room(const lathe_gate *gate);
/* Most seconds that a round modelled at m plain steps loses. */
double lathe_gate_worst_loss(const lathe_gate *gate, double m);
/* Is a plain round due, to look at the price again? */
bool lathe_gate_probe_due(const lathe_gate *gate);
/* Largest modelled cost of a round that may be drafted now, in plain steps; 0: none. */
double lathe_gate_most(const lathe_gate *gate);
/* The same where only a share of what may still be lost is put at risk. */
double lathe_gate_part(const lathe_gate *gate, double share);
/* Middle of the last plain rounds, in seconds; 0: there was none. */
double lathe_gate_plain_s(const lathe_gate *gate);
/* May a round modelled at m plain steps be drafted now? False also where a probe is due. */
bool lathe_gate_allows(lathe_gate *gate, double m);
/* Reports a plain round: all its time, and that of its forward pass and sampling alone. */
void lathe_gate_plain(lathe_gate *gate, double seconds, double forward_s);
/* Reports a drafted round modelled at m plain steps that emitted n tokens. */
void lathe_gate_drafted(lathe_gate *gate, double m, double seconds, double n_emitted);
/* (D + room) / P: what the answer can have lost, as a share. */
double lathe_gate_loss_bound(const lathe_gate *gate);

#endif
