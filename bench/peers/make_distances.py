"""A noisy additive distance matrix of N taxa as PHYLIP (and NPY): make_distances.py N OUT.phy [SEED]"""
import sys

import numpy as np

n, out = int(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
d = np.zeros((n, n))
for k in range(1, n):  # a random leaf becomes two, each with an edge of its own
    i = rng.integers(0, k)
    d[k, :k] = d[i, :k]
    d[:k, k] = d[:k, i]
    for leaf in (i, k):
        length = rng.exponential(0.1)
        d[leaf, :k + 1] += length
        d[:k + 1, leaf] += length
        d[leaf, leaf] = 0
noise = 1 + 0.05 * rng.standard_normal((n, n))
d = np.abs(d * (noise + noise.T) / 2) + 1e-6
np.fill_diagonal(d, 0)
d = (d + d.T) / 2
names = [f"t{i:05d}" for i in range(n)]
with open(out, "w") as f:
    f.write(f"{n}\n")
    for i in range(n):
        f.write(names[i] + "    " + " ".join(f"{x:.6f}" for x in d[i]) + "\n")
