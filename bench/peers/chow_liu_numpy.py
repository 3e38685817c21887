"""Chow-Liu on two-state columns in NumPy, as well as NumPy lets one: single-precision products of the columns, the
information from a table of x log x, Prim on the dense matrix. Prints a JSON line: seconds and the edges.
usage: chow_liu_numpy.py TABLE.npy [REPEATS]"""
import json
import sys
import time

import numpy as np


def learn(x):
    n, p = x.shape
    f = x.astype(np.float32)
    c11 = (f.T @ f).astype(np.int32)  # exact: below 2^24
    ones = np.diag(c11).copy()
    k = np.arange(n + 1, dtype=np.float64)
    k[0] = 1
    t = k * np.log(k)
    t[0] = 0
    w = t[c11]
    w += t[ones[:, None] - c11]
    w += t[ones[None, :] - c11]
    w += t[n - ones[:, None] - ones[None, :] + c11]
    h = t[ones] + t[n - ones]
    w += t[n] - h[:, None] - h[None, :]
    w /= n
    best = w[0].copy()
    source = np.zeros(p, np.int64)
    best[0] = -np.inf
    done = np.zeros(p, bool)
    done[0] = True
    edges = []
    for _ in range(p - 1):
        v = int(np.argmax(best))
        edges.append((int(source[v]), v))
        done[v] = True
        best[v] = -np.inf
        better = (w[v] > best) & ~done
        best[better] = w[v][better]
        source[better] = v
    return edges


def main():
    x = np.load(sys.argv[1])
    seconds = []
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        begin = time.perf_counter()
        edges = learn(x)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "edges": sorted(tuple(sorted(e)) for e in edges)}))


main()
