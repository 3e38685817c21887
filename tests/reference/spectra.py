"""spectra.py A.gguf B.gguf: spectral figures (learning.md B.b) of A's matrices, of the heads' products W_O W_V, and of the
differences A - B, by NumPy's SVD. Frozen into tests/probe/test_spectrum.c for
  lathe synth --arch llama --shape 1M --type f32 --seed 3 and --seed 4."""
import sys

import numpy as np
from nll_double import read_gguf


def figures(w):
    s = np.linalg.svd(w, compute_uv=False)
    s = s[s > 1e-7 * s[0]]
    q = s**2 / (s**2).sum()
    entropy = -(q * np.log(q)).sum()
    quarter = np.quantile(s**2, [0.25, 0.75])
    fro2 = (s**2).sum()
    return np.array([entropy / np.log(len(s)), np.exp(entropy), q[0], q[:10].sum(), quarter[1] / quarter[0], s[0],
                     np.sqrt(fro2), fro2 / s[0]**2])


keys, a = read_gguf(sys.argv[1])
_, b = read_gguf(sys.argv[2])


def row(name, values):
    print('{"%s", {%s}},' % (name, ", ".join(f"{v:.8g}" for v in values)))


for name in ["token_embd.weight", "blk.0.attn_k.weight", "blk.1.ffn_down.weight"]:
    row(name, figures(a[name]))
    row(name + " -", figures(a[name] - b[name]))
heads, kv = keys["llama.attention.head_count"], keys["llama.attention.head_count_kv"]
v, o = a["blk.0.attn_v.weight"], a["blk.0.attn_output.weight"]
dh = o.shape[1] // heads
each = [figures(o[:, h * dh:(h + 1) * dh] @ v[(h // (heads // kv)) * dh:(h // (heads // kv) + 1) * dh]) for h in range(heads)]
row("blk.0.vo (mean of heads)", np.mean(each, axis=0))
names = [n for n in a if n.endswith("attn_q.weight")]
row("attn_q.weight", np.mean([figures(a[n]) for n in names], axis=0))
