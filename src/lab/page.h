/* page.h - the report page of a lab, collected while it runs. */
#ifndef LATHE_LAB_PAGE_H
#define LATHE_LAB_PAGE_H

#include "lab/lab.h"

typedef struct lathe_lab_page lathe_lab_page;

LATHE_NODISCARD lathe_status lathe_lab_page_new(lathe_lab_page **page, lathe_error *err);
void lathe_lab_page_free(lathe_lab_page *page);
/* Title, claims, what the lab drew, how to run it again, data block (metrics and series). */
LATHE_NODISCARD lathe_status lathe_lab_page_write(lathe_lab *lab, const json_t *metrics, const char *path,
                                                  lathe_error *err);

#endif
