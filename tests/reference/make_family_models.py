#!/usr/bin/env python3
"""Tiny random models of each family by Hugging Face transformers, as GGUF, with PyTorch's float32 logits.

Needs: torch, transformers, gguf, numpy. Run: python make_family_models.py families/ [NAME...]
Writes families/NAME.gguf and families/NAME.json {"ids": [...], "logits": [[V] a position]}. The mapping of names and
the permutation of llama's Q and K are this script's own; the layout is that of docs/families.md. Weights of
norms are 1 + 0.1 z and biases 0.1 z, so that nothing is hidden by ones and zeros.
"""
import json
import os
import sys

import gguf
import numpy as np
import torch
import transformers as tf

V, D, H, HK, L, FF, CTX = 96, 32, 4, 2, 2, 48, 64
N_IDS = 24
BASE = dict(vocab_size=V, hidden_size=D, num_attention_heads=H, num_hidden_layers=L, intermediate_size=FF,
            max_position_embeddings=CTX, bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager")
GQA = dict(BASE, num_key_value_heads=HK)


def rope(theta=10000.0, **more):
    return dict({"rope_theta": theta, "rope_type": "default"}, **more)


def longrope(original):
    return rope(rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.0, 1.5, 2.5, 4.0], partial_rotary_factor=1.0,
                original_max_position_embeddings=original)


# name -> (architecture, model, config)
MODELS = {
    "llama": ("llama", tf.LlamaForCausalLM, tf.LlamaConfig(**GQA, rms_norm_eps=1e-5, tie_word_embeddings=False, rope_parameters=rope())),
    "llama-linear": ("llama", tf.LlamaForCausalLM, tf.LlamaConfig(
        **GQA, rms_norm_eps=1e-5, rope_parameters=rope(rope_type="linear", factor=4.0))),
    "llama-yarn": ("llama", tf.LlamaForCausalLM, tf.LlamaConfig(
        **GQA, rms_norm_eps=1e-5, rope_parameters=rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16))),
    "llama-llama3": ("llama", tf.LlamaForCausalLM, tf.LlamaConfig(
        **GQA, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters=rope(500000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=16))),
    "qwen2": ("qwen2", tf.Qwen2ForCausalLM, tf.Qwen2Config(**GQA, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(1e6))),
    "qwen3": ("qwen3", tf.Qwen3ForCausalLM, tf.Qwen3Config(**GQA, head_dim=16, rms_norm_eps=1e-6, rope_parameters=rope(1e6))),
    "gemma": ("gemma", tf.GemmaForCausalLM, tf.GemmaConfig(**GQA, head_dim=16, rms_norm_eps=1e-6, hidden_act="gelu_pytorch_tanh",
                                                          hidden_activation="gelu_pytorch_tanh", rope_parameters=rope())),
    "gemma2": ("gemma2", tf.Gemma2ForCausalLM, tf.Gemma2Config(
        **GQA, head_dim=16, rms_norm_eps=1e-6, sliding_window=8, query_pre_attn_scalar=16, rope_parameters=rope())),
    "gemma3": ("gemma3", tf.Gemma3ForCausalLM, tf.Gemma3TextConfig(
        **dict(GQA, num_hidden_layers=6), head_dim=16, rms_norm_eps=1e-6, sliding_window=8, query_pre_attn_scalar=16,
        rope_parameters={"full_attention": rope(1e6, rope_type="linear", factor=8.0), "sliding_attention": rope(10000.0)})),
    "phi3": ("phi3", tf.Phi3ForCausalLM, tf.Phi3Config(**GQA, rms_norm_eps=1e-5, rope_parameters=rope(partial_rotary_factor=1.0))),
    # Two tables of factors: the first sees no more than its original context, the second four times as much.
    "phi3-short": ("phi3", tf.Phi3ForCausalLM, tf.Phi3Config(
        **GQA, rms_norm_eps=1e-5, original_max_position_embeddings=CTX, rope_parameters=longrope(CTX))),
    "phi3-long": ("phi3", tf.Phi3ForCausalLM, tf.Phi3Config(
        **GQA, rms_norm_eps=1e-5, original_max_position_embeddings=CTX // 4, rope_parameters=longrope(CTX // 4))),
    "gpt2": ("gpt2", tf.GPT2LMHeadModel, tf.GPT2Config(vocab_size=V, n_embd=D, n_head=H, n_layer=L, n_inner=FF, n_positions=CTX,
                                                       bos_token_id=1, eos_token_id=2, attn_implementation="eager")),
    "gptneox": ("gptneox", tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig(
        **BASE, hidden_act="gelu_new", use_parallel_residual=True, rope_parameters=rope(partial_rotary_factor=0.25))),
    "gptneox-sequential": ("gptneox", tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig(
        **BASE, hidden_act="gelu_new", use_parallel_residual=False, rope_parameters=rope(partial_rotary_factor=0.5))),
    "stablelm": ("stablelm", tf.StableLmForCausalLM, tf.StableLmConfig(
        **GQA, use_qkv_bias=True, layer_norm_eps=1e-5, rope_parameters=rope(partial_rotary_factor=0.25))),
    "stablelm-parallel": ("stablelm", tf.StableLmForCausalLM, tf.StableLmConfig(
        **GQA, use_parallel_residual=True, qk_layernorm=True, layer_norm_eps=1e-5, rope_parameters=rope(partial_rotary_factor=0.5))),
    "opt": ("opt", tf.OPTForCausalLM, tf.OPTConfig(
        vocab_size=V, hidden_size=D, word_embed_proj_dim=D, num_attention_heads=H, num_hidden_layers=L, ffn_dim=FF,
        max_position_embeddings=CTX, bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager")),
}


def randomise(model):
    g = torch.Generator().manual_seed(1234)
    with torch.no_grad():
        for name, p in model.named_parameters():
            z = torch.randn(p.shape, generator=g)
            if p.dim() == 1 and name.endswith("bias"):
                p.copy_(0.1 * z)
            elif p.dim() == 1:
                zero_centred = "gemma" in type(model).__name__.lower()
                p.copy_((0.0 if zero_centred else 1.0) + 0.1 * z)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(0.5 * z)
            else:
                p.copy_(z / np.sqrt(p.shape[-1] if "gpt2" not in type(model).__name__.lower() else p.shape[0]))


def permute(w, heads):
    """Halves of a head side by side: row 2i + j of a head is the old row i + j dh / 2."""
    n = w.shape[0] // heads
    return w.reshape(heads, 2, n // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def interleaved_qkv(w, heads):
    """gptneox: [head][q, k, v][dh] to all Q, all K, all V."""
    return np.concatenate([w.reshape(heads, 3, -1, *w.shape[1:])[:, i].reshape(-1, *w.shape[1:]) for i in range(3)])


def tensors_of(arch, name, sd, cfg):
    out = {}
    tied = bool(getattr(cfg, "tie_word_embeddings", False))

    def put(key, value):
        out[key] = np.ascontiguousarray(value, dtype=np.float32)

    plus = 1.0 if arch.startswith("gemma") else 0.0
    heads = cfg.num_attention_heads
    for k, v in sd.items():
        v = v.detach().float().numpy()
        p = k.split(".")
        if any(part.isdigit() for part in p):
            i = next(j for j, part in enumerate(p) if part.isdigit())
            layer, rest = p[i], ".".join(p[i + 1:])
            stem, kind = rest.rsplit(".", 1)
            names = {
                "input_layernorm": "attn_norm", "ln_1": "attn_norm", "self_attn_layer_norm": "attn_norm",
                "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
                "self_attn.o_proj": "attn_output", "self_attn.out_proj": "attn_output", "attn.c_proj": "attn_output",
                "attention.dense": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
                "self_attn.qkv_proj": "attn_qkv", "attn.c_attn": "attn_qkv", "attention.query_key_value": "attn_qkv",
                "post_attention_layernorm": "ffn_norm", "ln_2": "ffn_norm", "final_layer_norm": "ffn_norm",
                "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
                "mlp.gate_up_proj": "ffn_up", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "fc1": "ffn_up", "fc2": "ffn_down",
                "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
            }
            if arch in ("gemma2", "gemma3"):
                names.update({"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
                              "post_feedforward_layernorm": "post_ffw_norm"})
            if stem.startswith("self_attn.q_layernorm.norms") or stem.startswith("self_attn.k_layernorm.norms"):
                which = "attn_q_norm" if "q_layernorm" in stem else "attn_k_norm"
                out.setdefault(f"blk.{layer}.{which}.{kind}", []).append((int(stem.split(".")[-1]), v))
                continue
            if stem not in names:
                continue
            if arch == "gpt2" and v.ndim == 2:
                v = v.T
            if arch == "llama" and stem.endswith("q_proj"):
                v = permute(v, heads)
            if arch == "llama" and stem.endswith("k_proj"):
                v = permute(v, cfg.num_key_value_heads)
            if arch == "gptneox" and names[stem] == "attn_qkv":
                v = interleaved_qkv(v, heads)
            put(f"blk.{layer}.{names[stem]}.{kind}", v + (plus if v.ndim == 1 and "norm" in names[stem] else 0.0))
        else:
            last = ".".join(p[-2:])
            fixed = {"embed_tokens.weight": "token_embd.weight", "wte.weight": "token_embd.weight", "embed_in.weight": "token_embd.weight",
                     "wpe.weight": "position_embd.weight", "embed_positions.weight": "position_embd.weight", "norm.weight": "output_norm.weight",
                     "norm.bias": "output_norm.bias", "ln_f.weight": "output_norm.weight", "ln_f.bias": "output_norm.bias",
                     "final_layer_norm.weight": "output_norm.weight", "final_layer_norm.bias": "output_norm.bias",
                     "lm_head.weight": "output.weight", "embed_out.weight": "output.weight"}
            if last not in fixed or (fixed[last] == "output.weight" and tied):
                continue
            if last == "embed_positions.weight":
                v = v[2:]
            put(fixed[last], v + (plus if last == "norm.weight" else 0.0))
    for k, v in list(out.items()):
        if isinstance(v, list):
            out[k] = np.ascontiguousarray(np.stack([x for _, x in sorted(v, key=lambda t: t[0])]), dtype=np.float32)
    r = getattr(cfg, "rope_parameters", None) or {}
    if r.get("rope_type") == "llama3":
        dh = cfg.hidden_size // heads
        f = []
        for i in range(dh // 2):
            lam = 2 * np.pi * r["rope_theta"] ** (2 * i / dh)
            old, lo, hi, factor = r["original_max_position_embeddings"], r["low_freq_factor"], r["high_freq_factor"], r["factor"]
            s = (old / lam - lo) / (hi - lo)
            f.append(1.0 if lam < old / hi else factor if lam > old / lo else 1.0 / ((1 - s) / factor + s))
        put("rope_freqs.weight", np.array(f))
    if r.get("rope_type") == "longrope":
        put("rope_factors_short.weight", np.array(r["short_factor"]))
        put("rope_factors_long.weight", np.array(r["long_factor"]))
    return out


def write(path, arch, tensors, cfg):
    w = gguf.GGUFWriter(path, arch)
    heads = cfg.num_attention_heads
    kv = getattr(cfg, "num_key_value_heads", None) or heads
    ff = getattr(cfg, "intermediate_size", None) or getattr(cfg, "ffn_dim", None) or cfg.n_inner
    w.add_context_length(CTX)
    w.add_embedding_length(cfg.hidden_size)
    w.add_block_count(cfg.num_hidden_layers)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    dh = getattr(cfg, "head_dim", None) or cfg.hidden_size // heads
    w.add_key_length(dh)
    w.add_value_length(dh)
    if arch in ("gpt2", "gptneox", "stablelm", "opt"):
        w.add_layer_norm_eps(next((getattr(cfg, n) for n in ("layer_norm_eps", "layer_norm_epsilon") if hasattr(cfg, n)), 1e-5))
    else:
        w.add_layer_norm_rms_eps(cfg.rms_norm_eps)
    r = getattr(cfg, "rope_parameters", None) or {}
    if "full_attention" in r:
        r = r["full_attention"]
    if r:
        w.add_rope_freq_base(float(r["rope_theta"]))
        w.add_rope_dimension_count(int(dh * r.get("partial_rotary_factor", 1.0)))
        if r.get("rope_type") in ("linear", "yarn"):
            w.add_string(f"{arch}.rope.scaling.type", r["rope_type"])
            w.add_float32(f"{arch}.rope.scaling.factor", r["factor"])
        if r.get("rope_type") == "yarn":
            w.add_uint32(f"{arch}.rope.scaling.original_context_length", r["original_max_position_embeddings"])
        if r.get("rope_type") == "longrope":
            original = r["original_max_position_embeddings"]
            stretch = CTX / original
            w.add_string(f"{arch}.rope.scaling.type", "longrope")
            w.add_uint32(f"{arch}.rope.scaling.original_context_length", original)
            w.add_float32(f"{arch}.rope.scaling.attn_factor",
                          float(np.sqrt(1 + np.log(stretch) / np.log(original))) if stretch > 1 else 1.0)
    if arch in ("gemma2", "gemma3"):
        w.add_uint32(f"{arch}.attention.sliding_window", cfg.sliding_window)
    if arch == "gemma2":
        w.add_float32("gemma2.attn_logit_softcapping", cfg.attn_logit_softcapping)
        w.add_float32("gemma2.final_logit_softcapping", cfg.final_logit_softcapping)
    if arch == "gptneox":
        w.add_bool("gptneox.use_parallel_residual", cfg.use_parallel_residual)
    for k, v in tensors.items():
        w.add_tensor(k, v)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main(folder, wanted):
    os.makedirs(folder, exist_ok=True)
    for name, (arch, cls, cfg) in MODELS.items():
        if wanted and name not in wanted:
            continue
        torch.manual_seed(0)
        model = cls(cfg).float().eval()
        randomise(model)
        ids = np.random.default_rng(7).integers(3, V, N_IDS)
        with torch.no_grad():
            logits = model(torch.tensor(ids)[None], use_cache=False).logits[0].float().numpy()
        write(os.path.join(folder, name + ".gguf"), arch, tensors_of(arch, name, model.state_dict(), cfg), cfg)
        with open(os.path.join(folder, name + ".json"), "w") as f:
            json.dump({"ids": ids.tolist(), "logits": [[float(f"{x:.7g}") for x in row] for row in logits]}, f)
        print(name, "largest logit", float(np.abs(logits).max()))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "families"), sys.argv[2:])
