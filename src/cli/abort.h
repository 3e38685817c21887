/* abort.h - ggml ends the process where it cannot go on (a worker that dies, a failed assertion): one line on
 * stderr and exit status 1 instead of a core dump. */
#ifndef LATHE_CLI_ABORT_H
#define LATHE_CLI_ABORT_H

/* From now on ggml's abort prints "lathe VERB: ..." and ends the program. verb: kept, not copied. */
void lathe_cli_abort_install(const char *verb);
/* The workers in use, "host:port,host:port" or NULL: a message then says which of them is gone. */
void lathe_cli_abort_workers(const char *endpoints);

#endif
