/* trainer.h - one training run of a small net: which optimiser for which part, the rate's schedule, clipping.
 */
#ifndef LATHE_LAB_TRAINER_H
#define LATHE_LAB_TRAINER_H

#include "lab/small_net.h"
#include "lathe/train.h"

typedef struct lathe_trainer {
    lathe_small_net *net;
    lathe_optim optim[LATHE_SMALL_PARTS];
    double lr, clip;        /* peak rate of all parts; global norm, 0: none */
    int32_t warmup, steps;  /* the rate rises over the first, */
    double tail, tail_rate; /* and falls to tail_rate of the peak over this last share of the steps */
    int32_t t;              /* steps made */
    float *state, *gradient;
    size_t state_at[64];
} lathe_trainer;

/* Which parts Muon takes; AdamW has the rest (embeddings, positions and head always). */
typedef enum lathe_muon_parts {
    LATHE_MUON_NONE = 0,
    LATHE_MUON_QK = 1 << LATHE_SMALL_Q | 1 << LATHE_SMALL_K,
    LATHE_MUON_VO = 1 << LATHE_SMALL_V | 1 << LATHE_SMALL_O,
    LATHE_MUON_FFN = 1 << LATHE_SMALL_IN | 1 << LATHE_SMALL_OUT,
    LATHE_MUON_ALL = LATHE_MUON_QK | LATHE_MUON_VO | LATHE_MUON_FFN,
} lathe_muon_parts;

/* AdamW (.9, .95), Muon .95 with Nesterov and AdamW's rate, no decay, clip 1, warm-up 50. The net is
 * borrowed. */
LATHE_NODISCARD lathe_status lathe_trainer_new(lathe_small_net *net, int muon_parts, double lr, int32_t steps,
                                               lathe_trainer *trainer, lathe_error *err);
/* All parts by momentum descent instead. */
void lathe_trainer_use_sgd(lathe_trainer *trainer);
void lathe_trainer_free(lathe_trainer *trainer);
/* One step on the net's batch; trainer->gradient [n] is the loss's gradient before it, unclipped. */
LATHE_NODISCARD lathe_status lathe_trainer_step(lathe_trainer *trainer, double *loss, lathe_error *err);

#endif
