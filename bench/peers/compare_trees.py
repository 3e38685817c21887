"""Trees against other programs: both sides in turn in one run, medians.
usage: compare_trees.py chow-liu BENCH_TREES TABLE.npy [ROUNDS]   (bench_trees against chow_liu_numpy.py)
       compare_trees.py nj LATHE DISTANCES.phy [ROUNDS] [PEER...] (peers: clearcut, quicktree, skbio)
       compare_trees.py search TABLE.npy COLUMNS                  (pgmpy's and bnlearn's tree search)
chow-liu runs NumPy as it is and with OpenBLAS kept to AVX2, lathe likewise with LATHE_CPU=avx2."""
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def chow_liu(bench, table, rounds):
    plain = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_CORE")}
    plain["OPENBLAS_NUM_THREADS"] = "1"
    sides = {
        "lathe": ([bench, "chow-liu", table, "1", "25"], plain),
        "numpy": ([sys.executable, HERE + "/chow_liu_numpy.py", table, "4"], plain),
        "lathe avx2": ([bench, "chow-liu", table, "1", "16"], dict(plain, LATHE_CPU="avx2")),
        "numpy avx2": ([sys.executable, HERE + "/chow_liu_numpy.py", table, "4"], dict(plain, OPENBLAS_CORETYPE="Haswell")),
    }
    seconds, edges, first = {k: [] for k in sides}, {}, {}
    for _ in range(rounds):
        for name, (command, env) in sides.items():
            out = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
            first.setdefault(name, []).append(out["seconds"][0])
            # the first runs touch memory and teach the allocator (6 calls) or load the library (1)
            seconds[name] += out["seconds"][8 if name.startswith("lathe") else 1:]
            edges[name] = sorted(tuple(sorted(e)) for e in out["edges"])
    m = {k: statistics.median(v) for k, v in seconds.items()}
    print(json.dumps({
        "median_ms": {k: round(1e3 * v, 3) for k, v in m.items()},
        "first_call_ms": {k: round(1e3 * statistics.median(v), 3) for k, v in first.items()},
        "runs": {k: len(v) for k, v in seconds.items()},
        "ratio": round(m["numpy"] / m["lathe"], 2),
        "ratio_avx2_both": round(m["numpy avx2"] / m["lathe avx2"], 2),
        "ratio_avx2_against_numpy_avx512": round(m["numpy"] / m["lathe avx2"], 2),
        "same_edges": all(e == edges["lathe"] for e in edges.values()),
    }))


def nj(lathe, path, rounds, peers):
    commands = {
        "lathe": [lathe, "tree", "learn", "--dist", path, "-o", "/tmp/compare-lathe.nwk", "-q"],
        "clearcut": ["clearcut", "--distance", "-N", "--in=" + path, "--out=/tmp/compare-clearcut.nwk"],
        "quicktree": ["quicktree", "-in", "m", path],
        "skbio": [sys.executable, "-c", SKBIO, path],
    }
    seconds = {}
    for _ in range(rounds):
        for name in ["lathe"] + peers:
            begin = time.perf_counter()
            done = subprocess.run(commands[name], check=True, capture_output=True)
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
            if name in ("quicktree", "skbio"):
                open(f"/tmp/compare-{name}.nwk", "wb").write(done.stdout)
    m = {k: statistics.median(v) for k, v in seconds.items()}
    trees = {}
    for name in peers:
        done = subprocess.run([lathe, "tree", "compare", f"/tmp/compare-{name}.nwk", "/tmp/compare-lathe.nwk"],
                              capture_output=True, text=True)
        trees[name] = (done.stdout or done.stderr).split("\n")[0]
    print(json.dumps({"seconds": {k: [round(x, 2) for x in v] for k, v in seconds.items()}, "median": m,
                      "ratio": {k: round(m[k] / m["lathe"], 2) for k in peers}, "difference": trees}))


SKBIO = """
import sys, numpy as np
from skbio import DistanceMatrix
from skbio.tree import nj
with open(sys.argv[1]) as f:
    n = int(f.readline())
    names, rows = [], np.empty((n, n))
    for i in range(n):
        name, rest = f.readline().split(None, 1)
        names.append(name)
        rows[i] = np.fromstring(rest, sep=" ")
print(nj(DistanceMatrix(rows, names)))
"""


def search(table, columns):
    import numpy as np
    import pandas as pd
    x = np.load(table)[:, :columns]
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)])
    seconds = {}
    from pgmpy.estimators import TreeSearch
    begin = time.perf_counter()
    TreeSearch(frame, n_jobs=1).estimate(estimator_type="chow-liu", show_progress=False)
    seconds["pgmpy"] = time.perf_counter() - begin
    try:
        import bnlearn
        begin = time.perf_counter()
        bnlearn.structure_learning.fit(frame, methodtype="cl", root_node="x0")
        seconds["bnlearn"] = time.perf_counter() - begin
    except ImportError as e:
        seconds["bnlearn"] = f"not here: {e}"
    print(json.dumps({"columns": columns, "rows": len(x), "seconds": seconds}))


def main():
    what = sys.argv[1] if len(sys.argv) > 2 else ""
    if what == "chow-liu":
        chow_liu(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 5)
    elif what == "nj":
        nj(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 5, sys.argv[5:] or ["clearcut"])
    elif what == "search":
        search(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(__doc__)


main()
