/* report.h - one self-contained HTML page: a title and a sentence, tables, drawings, folded details, the
 * data.
 *
 * The page loads nothing: its Content-Security-Policy forbids it. It is well-formed XML too, so that programs
 * can read it. There is no function that takes ready HTML; every text goes through lathe_pen_text. */
#ifndef LATHE_BASE_REPORT_H
#define LATHE_BASE_REPORT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/plot.h"

typedef struct lathe_report {
    lathe_buf html;
    lathe_pen pen;
    int32_t n_figures;
    int n_cols, at_col; /* of the open table */
} lathe_report;

/* How a cell looks. */
typedef enum lathe_cell {
    LATHE_CELL_TEXT,
    LATHE_CELL_NUMBER, /* right-aligned */
    LATHE_CELL_GOOD,   /* green with a tick */
    LATHE_CELL_BAD,    /* red with a cross */
    LATHE_CELL_OPEN,   /* plain with a dash: undecided */
} lathe_cell;

/* Begins a page. `summary` is the one-sentence result below the title. err is used by all calls until the
 * end; a failure of one is reported by lathe_report_write. */
void lathe_report_begin(lathe_report *report, const char *title, const char *summary, lathe_error *err);
/* Begins a piece of a page, to be added to one later; figures are numbered from n_figures + 1. */
void lathe_report_begin_part(lathe_report *part, lathe_error *err);
/* Adds a piece, whose figures must not have the numbers of others. */
void lathe_report_add_part(lathe_report *report, const lathe_report *part);
void lathe_report_free(lathe_report *report);
void lathe_report_heading(lathe_report *report, const char *text);
void lathe_report_paragraph(lathe_report *report, const char *text);
/* A table: header cells, then cells row after row (a row ends by itself), then the end. */
void lathe_report_table(lathe_report *report, const char *caption, const char *const *header, int n_cols);
void lathe_report_cell(lathe_report *report, lathe_cell kind, const char *text);
void lathe_report_table_end(lathe_report *report);
/* A drawing, and below it what to see. */
void lathe_report_figure(lathe_report *report, const lathe_plot *plot, const char *caption);
/* Folded details: preformatted text. */
void lathe_report_details(lathe_report *report, const char *summary, const char *text);
/* Ends the page with its data block (at most once; data is borrowed) and writes the file. Pages over 5 MB are
 * refused. */
LATHE_NODISCARD lathe_status lathe_report_write(lathe_report *report, const json_t *data, const char *path);

#endif
