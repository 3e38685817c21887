/* train_args.h - what `lathe train` is told, by flags and by the sections of its configuration file. */
#ifndef LATHE_CLI_TRAIN_ARGS_H
#define LATHE_CLI_TRAIN_ARGS_H

#include "cli/train_common.h"

enum { LATHE_TRAIN_GROUPS_MAX = 64, LATHE_TRAIN_FILES_MAX = 256 };

typedef struct train_args {
    train_common common;
    const char *data, *eval, *tokenizer, *init, *distill, *family, *shape, *separator, *repeats, *curvature,
        *sample_prompt, *device;
    int64_t layers, embd, heads, heads_kv, ff, warmup, vocab, patience, dropout_from, sample_every,
        sample_tokens;
    int32_t optimizer, other, schedule, ns, muon, reduce;
    double lr_other, decay, ema, distill_weight, z_loss, label_smoothing, hold_out, stop_loss, dropout;
    bool untied, resume, original_scale, list_groups, recompute, dry_run, attn_reset;
    /* As in train_common. */
    struct {
        bool data, eval, tokenizer, init, family, shape, separator, layers, embd, heads, heads_kv, ff,
            optimizer, schedule, lr_other, ema, hold_out, warmup, untied, attn_reset;
    } seen;
    lathe_train_group groups[LATHE_TRAIN_GROUPS_MAX];
    size_t n_groups;
    char memory[1 << 14]; /* paths made from those of a file */
    size_t n_memory;
} train_args;

extern const char *const lathe_train_optimizers[], *const lathe_train_schedules[], *const lathe_train_ns[];

/* Fills a from the sections `model`, `data` and `optimizer`; path: of the file, for messages and relative
 * paths. */
LATHE_NODISCARD lathe_status lathe_train_sections(train_args *a, const struct lathe_config *config,
                                                  const char *path, lathe_error *err);
/* Groups of a preset ("vo+ffn"): Muon on those matrices. */
void lathe_train_preset(train_args *a);
extern const char *const lathe_train_presets[];

#endif
