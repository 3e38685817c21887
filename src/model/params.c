/* params.c - the defaults of lathe_model_params and lathe_context_params. */
#include "lathe/model.h"

lathe_model_params lathe_model_params_default(void) {
    return (lathe_model_params){.struct_size = sizeof(lathe_model_params)};
}

lathe_context_params lathe_context_params_default(void) {
    return (lathe_context_params){
        .struct_size = sizeof(lathe_context_params), .n_batch = 512, .n_seq_max = 1, .flash = -1};
}
