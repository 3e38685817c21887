/* stories.h - the model stories260K for a group of tests: loaded once, NULL where the file is not there (the
 * tests then skip by need_shared). */
#ifndef LATHE_TESTS_SUPPORT_STORIES_H
#define LATHE_TESTS_SUPPORT_STORIES_H

#include "lathe/model.h"

extern lathe_model *stories;

/* For cmocka_run_group_tests. */
int stories_load(void **state);
int stories_free(void **state);

#endif
