/* verb_version.c - `lathe version`: what this build is. */
#include "cli/cli.h"

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    (void) args;
    (void) err;
    if (cli->json) {
        json_object_set_new(cli->result, "ggml", json_string("linked"));
        return LATHE_OK;
    }
    fprintf(cli->out, "lathe %s\n", lathe_version());
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_version;
const lathe_verb lathe_verb_version = {
    .name = "version",
    .summary = "version, ggml, devices, features",
    .usage = "lathe version",
    .schema = "lathe.version/1",
    .args_size = 1,
    .run = run,
};
