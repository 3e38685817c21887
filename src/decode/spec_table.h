/* spec_table.h - what a controller and the sources of drafts learnt, kept from run to run beside the
 * calibration.
 *
 * Only counts are kept (how often a guess of such a confidence was right), nothing of any text. */
#ifndef LATHE_DECODE_SPEC_TABLE_H
#define LATHE_DECODE_SPEC_TABLE_H

#include "decode/spec.h"

/* Where tables of this target, machine, proposers, controller and kind of sampling lie, and what is there: no
 * file, or one that cannot be used, leaves all as it is. cache_dir NULL, or costs that were not measured:
 * nothing is kept. */
void lathe_spec_table_open(lathe_spec *s, bool sampled);
/* Writes what was learnt, where that is much; not being able to is no error. */
void lathe_spec_table_close(lathe_spec *s);

#endif
