/* input.h - what people give a verb: texts from -p, -f, arguments or stdin; ids from a file; a vocabulary
 * alone. */
#ifndef LATHE_CLI_INPUT_H
#define LATHE_CLI_INPUT_H

#include "cli/shared_options.h"

enum {
    LATHE_INPUT_ERROR,
    LATHE_INPUT_REPLACE,
    LATHE_INPUT_BYTES
}; /* what to do with bytes that are no UTF-8 */

/* The text of -p, else -f, else the words (joined by blanks), else stdin where it is no terminal. free() it.
 */
LATHE_NODISCARD lathe_status lathe_input_text(const lathe_shared_args *args, const char *const *words,
                                              size_t n_words, int invalid, char **text, size_t *n_bytes,
                                              lathe_error *err);
/* Ids separated by white space or commas from a file or stdin ("-"); each in [0, n_vocab). free() them. */
LATHE_NODISCARD lathe_status lathe_input_ids(const char *path, int32_t n_vocab, int32_t **ids, size_t *n_ids,
                                             lathe_error *err);
/* The tokenizer of the model file alone. */
LATHE_NODISCARD lathe_status lathe_input_vocab(const lathe_shared_args *args, const lathe_logger *logger,
                                               lathe_vocab **vocab, lathe_error *err);
void lathe_input_vocab_free(lathe_vocab *vocab);

/* Tokens of a text file by a model's own tokenizer; lathe_free(*ids). */
LATHE_NODISCARD lathe_status lathe_input_text_ids(const char *model, const char *path,
                                                  const lathe_logger *logger, int32_t **ids, size_t *n,
                                                  lathe_error *err);

#endif
