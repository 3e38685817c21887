#!/usr/bin/env python3
"""Training speed of PyTorch on the shapes that compare-train.sh gives lathe: one process, a warm-up, then the tokens a
second of each step. The model is written the way a PyTorch user would for speed: fused scaled_dot_product_attention,
AdamW with foreach (or Muon), f32.

  train_torch.py --family llama --layers 6 --embd 256 --heads 8 --heads-kv 4 --ff 704 --vocab 2048 --ctx 512 --batch 4
"""
import argparse
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--family", default="llama", choices=["llama", "gpt2"])
for name, value in dict(layers=6, embd=256, heads=8, heads_kv=4, ff=704, vocab=2048, ctx=512, batch=4, steps=5, threads=1).items():
    p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
p.add_argument("--compile", action="store_true")
p.add_argument("--optimizer", default="adamw", choices=["adamw", "muon"])
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)


def rope(x, cos, sin):
    e, o = x[..., 0::2], x[..., 1::2]
    return torch.stack((e * cos - o * sin, e * sin + o * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        d, self.h, self.hk, self.dh = a.embd, a.heads, a.heads_kv, a.embd // a.heads
        self.llama = a.family == "llama"
        bias = not self.llama
        norm = (lambda: nn.RMSNorm(d, eps=1e-5)) if self.llama else (lambda: nn.LayerNorm(d))
        self.n1, self.n2 = norm(), norm()
        self.q = nn.Linear(d, self.h * self.dh, bias=bias)
        self.k = nn.Linear(d, self.hk * self.dh, bias=bias)
        self.v = nn.Linear(d, self.hk * self.dh, bias=bias)
        self.o = nn.Linear(d, d, bias=bias)
        self.up = nn.Linear(d, a.ff, bias=bias)
        self.gate = nn.Linear(d, a.ff, bias=False) if self.llama else None
        self.down = nn.Linear(a.ff, d, bias=bias)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        y = self.n1(x)
        q = self.q(y).view(b, t, self.h, self.dh).transpose(1, 2)
        k = self.k(y).view(b, t, self.hk, self.dh).transpose(1, 2)
        v = self.v(y).view(b, t, self.hk, self.dh).transpose(1, 2)
        if self.llama:
            q, k = rope(q, cos, sin), rope(k, cos, sin)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.h != self.hk)
        x = x + self.o(z.transpose(1, 2).reshape(b, t, d))
        y = self.n2(x)
        h = F.silu(self.gate(y)) * self.up(y) if self.llama else F.gelu(self.up(y), approximate="tanh")
        return x + self.down(h)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embd = nn.Embedding(a.vocab, a.embd)
        self.pos = None if a.family == "llama" else nn.Embedding(a.ctx, a.embd)
        self.blocks = nn.ModuleList(Block() for _ in range(a.layers))
        self.norm = nn.RMSNorm(a.embd, eps=1e-5) if a.family == "llama" else nn.LayerNorm(a.embd)
        dh = a.embd // a.heads
        angle = torch.arange(a.ctx)[:, None] * 10000.0 ** (-torch.arange(0, dh, 2) / dh)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, x, y):
        h = self.embd(x)
        if self.pos is not None:
            h = h + self.pos.weight
        for b in self.blocks:
            h = b(h, self.cos, self.sin)
        logits = self.norm(h) @ self.embd.weight.T
        return F.cross_entropy(logits.view(-1, a.vocab), y.reshape(-1))


model = Model()
nn.init.normal_(model.embd.weight, std=0.02)
hidden = [w for n, w in model.blocks.named_parameters() if w.ndim == 2]
rest = [w for w in model.parameters() if not any(w is h for h in hidden)]
if a.optimizer == "muon":
    opts = [torch.optim.Muon(hidden, lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=1e-3, weight_decay=0.1)]
else:
    opts = [torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)]
run = torch.compile(model) if a.compile else model
g = torch.Generator().manual_seed(1)


def step():
    x = torch.randint(0, a.vocab, (a.batch, a.ctx + 1), generator=g)
    loss = run(x[:, :-1], x[:, 1:])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for o in opts:
        o.step()
        o.zero_grad(set_to_none=True)
    return loss.item()


for _ in range(2):
    step()
speeds = []
for _ in range(a.steps):
    start = time.perf_counter()
    step()
    speeds.append(a.batch * a.ctx / (time.perf_counter() - start))
print(f"{statistics.median(speeds):.1f}")
