/* muon_curvature.h - the two parts of the lab `muon-curvature`. */
#ifndef LATHE_LAB_MUON_CURVATURE_H
#define LATHE_LAB_MUON_CURVATURE_H

#include "lab/lab.h"

/* The quadratic model: theorem and closed forms. */
LATHE_NODISCARD lathe_status lathe_muon_curvature_exact(lathe_lab *lab, lathe_error *err);
/* Curvature along the steps of both optimisers on a grammar with imbalance s. */
LATHE_NODISCARD lathe_status lathe_muon_curvature_train(lathe_lab *lab, lathe_error *err);

#endif
