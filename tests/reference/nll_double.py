"""nll_double.py MODEL.gguf IDS [--ctx 256] [--chunks 4]: mean negative log-likelihood of token ids in double precision.

An implementation of its own of every family (docs/families.md), in NumPy, for files of f32 weights; nothing of lathe is
used. IDS is a file of numbers, the first of them the beginning-of-sequence token. The text is cut into chunks as
llama-perplexity does: the first token of a chunk becomes BOS, and the second half of each is scored.
Prints the mean and the perplexity."""
import argparse
import struct
import numpy as np

SIZES = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1", 10: "<u8", 11: "<i8", 12: "<f8"}


def read_gguf(path):
    data = np.memmap(path, mode="r", dtype=np.uint8)
    at = 0

    def number(code):
        nonlocal at
        dtype = np.dtype(SIZES[code])
        value = data[at:at + dtype.itemsize].view(dtype)[0]
        at += dtype.itemsize
        return value.item()

    def text():
        nonlocal at
        n = number(10)
        at += n
        return bytes(data[at - n:at]).decode("utf-8", "replace")

    def value(kind):
        nonlocal at
        if kind == 8:
            return text()
        if kind != 9:
            return number(kind)
        inner, n = number(4), number(10)
        if inner == 8:
            return [text() for _ in range(n)]
        dtype = np.dtype(SIZES[inner])
        at += n * dtype.itemsize
        return data[at - n * dtype.itemsize:at].view(dtype).copy()

    magic, version, n_tensors, n_kv = struct.unpack("<4sIQQ", bytes(data[:24]))
    assert magic == b"GGUF" and version == 3
    at = 24
    keys = {}
    for _ in range(n_kv):
        name = text()
        keys[name] = value(number(4))
    infos = []
    for _ in range(n_tensors):
        name = text()
        ne = [number(10) for _ in range(number(4))]
        kind, offset = number(4), number(10)
        assert kind == 0, f"{name}: only f32 weights"
        infos.append((name, ne, offset))
    align = int(keys.get("general.alignment", 32))
    base = (at + align - 1) // align * align
    tensors = {}
    for name, ne, offset in infos:
        n = int(np.prod(ne)) * 4
        tensors[name] = data[base + offset:base + offset + n].view("<f4").reshape(ne[::-1]).astype(np.float64)
    return keys, tensors


class Model:
    def __init__(self, path):
        self.keys, self.t = read_gguf(path)
        self.arch = self.keys["general.architecture"]
        key = lambda name, default=None: self.keys.get(f"{self.arch}.{name}", default)
        self.d, self.layers, self.heads = key("embedding_length"), key("block_count"), key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv", self.heads)
        self.dh = key("attention.key_length", self.d // self.heads)
        self.n_rot = key("rope.dimension_count", self.dh)
        self.base = key("rope.freq_base", 10000.0)
        self.eps = key("attention.layer_norm_rms_epsilon", key("attention.layer_norm_epsilon"))
        self.window = key("attention.sliding_window", 0)
        a = self.arch
        self.layer_norm = a in ("gpt2", "gptneox", "stablelm", "opt")
        self.gemma = a.startswith("gemma")
        self.cap = key("attn_logit_softcapping", 50.0) if a == "gemma2" else 0.0
        self.final_cap = key("final_logit_softcapping", 30.0) if a == "gemma2" else 0.0
        self.parallel = bool(key("use_parallel_residual", True)) if a == "gptneox" else False

    def get(self, layer, name):
        return self.t.get(f"blk.{layer}.{name}")

    def norm(self, x, w, b=None, layer_norm=None):
        if layer_norm if layer_norm is not None else self.layer_norm:
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        else:
            x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        return x * w + (b if b is not None else 0.0)

    def linear(self, layer, name, x):
        y = x @ self.get(layer, f"{name}.weight").T
        b = self.get(layer, f"{name}.bias")
        return y if b is None else y + b

    def slides(self, layer):
        period = {"gemma2": 2, "gemma3": 6}.get(self.arch, 0)
        return self.window > 0 and period > 0 and layer % period < period - 1

    def rope(self, x, layer):  # [T, heads, dh]
        if self.arch in ("gpt2", "opt"):
            return x
        base = 10000.0 if self.arch == "gemma3" and self.slides(layer) else self.base
        half = self.n_rot // 2
        angle = np.arange(x.shape[0])[:, None] * base ** (-2.0 * np.arange(half) / self.n_rot)
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        y = x.copy()
        first, second = (slice(0, self.n_rot, 2), slice(1, self.n_rot, 2)) if self.arch == "llama" \
            else (slice(0, half), slice(half, self.n_rot))
        y[..., first] = x[..., first] * cos - x[..., second] * sin
        y[..., second] = x[..., first] * sin + x[..., second] * cos
        return y

    def attention(self, layer, x):
        T, H, K, dh = x.shape[0], self.heads, self.kv_heads, self.dh
        if self.get(layer, "attn_qkv.weight") is not None:
            q, k, v = np.split(self.linear(layer, "attn_qkv", x), [H * dh, (H + K) * dh], axis=-1)
        else:
            q, k, v = (self.linear(layer, f"attn_{n}", x) for n in "qkv")
        q, k, v = q.reshape(T, H, dh), k.reshape(T, K, dh), v.reshape(T, K, dh)
        w = self.get(layer, "attn_q_norm.weight")
        if w is not None:
            q = self.norm(q, w, layer_norm=self.layer_norm)
            k = self.norm(k, self.get(layer, "attn_k_norm.weight"), layer_norm=self.layer_norm)
        q, k = self.rope(q, layer), self.rope(k, layer)
        k, v = np.repeat(k, H // K, axis=1), np.repeat(v, H // K, axis=1)
        s = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dh)
        if self.cap:
            s = self.cap * np.tanh(s / self.cap)
        i = np.arange(T)
        hidden = i[None, :] > i[:, None]
        if self.slides(layer):
            hidden |= i[:, None] - i[None, :] >= self.window
        s = np.where(hidden, -np.inf, s)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return self.linear(layer, "attn_output", np.einsum("hqk,khd->qhd", p, v).reshape(T, H * dh))

    def act(self, x):
        if self.arch == "opt":
            return np.maximum(x, 0.0)
        if self.gemma or self.arch in ("gpt2", "gptneox"):
            return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x ** 3)))
        return x / (1.0 + np.exp(-x))

    def feed_forward(self, layer, x):
        up = self.linear(layer, "ffn_up", x)
        if self.arch == "phi3":
            gate, up = np.split(up, 2, axis=-1)
            h = self.act(gate) * up
        elif self.get(layer, "ffn_gate.weight") is not None:
            h = self.act(self.linear(layer, "ffn_gate", x)) * up
        else:
            h = self.act(up)
        return self.linear(layer, "ffn_down", h)

    def logits(self, ids):
        x = self.t["token_embd.weight"][ids]
        if self.gemma:
            x = x * np.float64(np.float32(np.sqrt(self.d)))
        if "position_embd.weight" in self.t:
            x = x + self.t["position_embd.weight"][:len(ids)]
        for layer in range(self.layers):
            n = lambda name, y: self.norm(y, self.get(layer, f"{name}.weight"), self.get(layer, f"{name}.bias"))
            first = n("attn_norm", x)
            a = self.attention(layer, first)
            if self.gemma and self.arch != "gemma":
                a = n("post_attention_norm", a)
            shared = self.get(layer, "ffn_norm.weight") is None
            f_in = first if shared else n("ffn_norm", x if self.parallel else x + a)
            f = self.feed_forward(layer, f_in)
            if self.gemma and self.arch != "gemma":
                f = n("post_ffw_norm", f)
            x = x + a + f
        x = self.norm(x, self.t["output_norm.weight"], self.t.get("output_norm.bias"))
        y = x @ self.t.get("output.weight", self.t["token_embd.weight"]).T
        return self.final_cap * np.tanh(y / self.final_cap) if self.final_cap else y


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("ids")
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--chunks", type=int, default=4)
    a = p.parse_args()
    model = Model(a.model)
    ids = np.array(open(a.ids).read().split(), dtype=np.int64)
    total, count = 0.0, 0
    for c in range(min(a.chunks, len(ids) // a.ctx)):
        chunk = ids[c * a.ctx:(c + 1) * a.ctx].copy()
        chunk[0] = ids[0]
        y = model.logits(chunk)
        top = y.max(-1, keepdims=True)
        log_p = y - top - np.log(np.exp(y - top).sum(-1, keepdims=True))
        first = a.ctx // 2 + 1
        total -= log_p[np.arange(first - 1, a.ctx - 1), chunk[first:]].sum()
        count += a.ctx - first
    print(f"{total / count:.12f} {np.exp(total / count):.8f}")


if __name__ == "__main__":
    main()
