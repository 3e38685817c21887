/* controllers.c - the table of controllers. */
#include "decode/controller.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

const lathe_controller *const lathe_controllers[] = {
    &lathe_controller_fixed,     &lathe_controller_marginal, &lathe_controller_hazard,
    &lathe_controller_ucb,       &lathe_controller_exp3,     &lathe_controller_ducb,
    &lathe_controller_sw,        &lathe_controller_linucb,   &lathe_controller_hedge,
    &lathe_controller_threshold, &lathe_controller_eps,      &lathe_controller_ts,
    &lathe_controller_uniform,   &lathe_controller_released,
};
const size_t lathe_n_controllers = LATHE_LEN(lathe_controllers);

lathe_controller_params lathe_controller_params_default(void) {
    return (lathe_controller_params){.cost = lathe_cost_linear(0.1, 0.0),
                                     .ucb_scale = 0.3,
                                     .ucb_delta = 0.5,
                                     .discount = 0.99,
                                     .eps = 0.1,
                                     .hazard_bonus = 0.25,
                                     .threshold = 0.7,
                                     .lin_lambda = 1.0,
                                     .lin_beta = -1.0,
                                     .window = 200,
                                     .fixed_arm = 0};
}

lathe_status lathe_controller_find(const char *name, const lathe_controller **controller, int32_t *fixed_arm,
                                   lathe_error *err) {
    if (strncmp(name, "fixed:", 6) == 0) {
        int64_t arm;
        if (!lathe_parse_int(name + 6, &arm) || arm < 0 || arm >= LATHE_ARMS_MAX)
            return lathe_fail(err, LATHE_ERR_ARG, "controller '%s'; fixed:I with an arm's number from 0",
                              name);
        *fixed_arm = (int32_t) arm;
        *controller = &lathe_controller_fixed;
        return LATHE_OK;
    }
    char names[256] = "";
    for (size_t i = 0; i < lathe_n_controllers; i++) {
        if (strcmp(lathe_controllers[i]->name, name) == 0) {
            *controller = lathe_controllers[i];
            return LATHE_OK;
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", lathe_controllers[i]->name);
    }
    return lathe_fail(err, LATHE_ERR_ARG, "no controller '%s'; there are %s", name, names);
}

const char *lathe_controller_name(size_t i) {
    return i < lathe_n_controllers ? lathe_controllers[i]->name : NULL;
}
