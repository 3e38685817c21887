/* verb_version.c - `lathe version`: what this build is and what it found. */
#include <ggml-backend.h>
#include <ggml.h>
#include <string.h>

#include "cli/cli.h"
#include "tensor/device.h"

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    (void) args;
    (void) err;
    json_t *devices = json_array(), *features = json_array();
    lathe_device_find_all();
    if (!cli->json)
        fprintf(cli->out, "lathe %s\nggml %s\n", lathe_version(), ggml_version());
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        json_array_append_new(devices, json_string(ggml_backend_dev_name(device)));
        if (!cli->json)
            fprintf(cli->out, "device %s: %s\n", ggml_backend_dev_name(device),
                    ggml_backend_dev_description(device));
        void *address = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device),
                                                          "ggml_backend_get_features");
        ggml_backend_get_features_t get;
        memcpy(&get, &address, sizeof get); /* a cast from object to function pointer is no C11 */
        struct ggml_backend_feature *f = get ? get(ggml_backend_dev_backend_reg(device)) : NULL;
        for (; f && f->name; f++) {
            json_array_append_new(features, json_string(f->name));
            if (!cli->json)
                fprintf(cli->out, "  %s %s\n", f->name, f->value);
        }
    }
    if (cli->json) {
        json_object_set(cli->result, "devices", devices);
        json_object_set(cli->result, "features", features);
        json_object_set_new(cli->result, "ggml", json_string(ggml_version()));
    }
    json_decref(devices);
    json_decref(features);
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
