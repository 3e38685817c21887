/* muon_tail.h - the two parts of the lab `muon-tail`. */
#ifndef LATHE_LAB_MUON_TAIL_H
#define LATHE_LAB_MUON_TAIL_H

#include "lab/lab.h"

/* Closed forms of the one-layer memory. */
LATHE_NODISCARD lathe_status lathe_muon_tail_exact(lathe_lab *lab, lathe_error *err);
/* Small transformers on heavy-tailed questions. */
LATHE_NODISCARD lathe_status lathe_muon_tail_train(lathe_lab *lab, lathe_error *err);

#endif
