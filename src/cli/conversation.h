/* conversation.h - `lathe run -i`: turns of a conversation, / commands, line editing. */
#ifndef LATHE_CLI_CONVERSATION_H
#define LATHE_CLI_CONVERSATION_H

#include "cli/cli.h"
#include "cli/shared_options.h"
#include "lathe/decode.h"

typedef struct lathe_conversation_params {
    lathe_session *session;
    const lathe_model *model;
    const char *kind;          /* of the chat template */
    const char *system;        /* NULL: none */
    const char *first;         /* the first thing the user says; NULL: nothing yet */
    lathe_shared_args *shared; /* sampling settings: /set changes them */
    uint64_t seed;
} lathe_conversation_params;

/* Until /bye or the end of the input. */
LATHE_NODISCARD lathe_status lathe_conversation(const lathe_conversation_params *params, lathe_cli *cli,
                                                lathe_error *err);

/* Text as it may go to the stream: on a terminal control characters are shown, not obeyed. */
void lathe_put_text(FILE *out, bool is_terminal, const char *text, size_t n_bytes);

#endif
