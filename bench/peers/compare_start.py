#!/usr/bin/env python3
"""Time from the start of a process to its end with one token, ours and llama.cpp's, by turns.

compare_start.py LATHE LLAMA_BIN [ROUNDS] [MODEL.gguf...]
Without models: random ones of 1B in q4_0, q8_0 and q4_K and of 100M in q4_0, made with `lathe synth`. Both read a prompt of
one word with a context of 512, choose the likeliest token and stop; files are in the page cache; threads by THREADS (1).
llama.cpp: llama-completion, weights repacked (its default), no warm-up, no conversation. Prints a line a model: medians,
their ratio, and the ratios of the fastest and slowest pair.
"""
import os, statistics, subprocess, sys, tempfile, time

lathe, llama = sys.argv[1], sys.argv[2]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
threads = os.environ.get("THREADS", "1")


def ours(model):
    return [lathe, "run", "-m", model, "-p", "the", "-n", "1", "--temp", "0", "-c", "512", "-t", threads, "-q", "--spec", "none"]


def theirs(model):
    return [os.path.join(llama, "llama-completion"), "-m", model, "-p", "the", "-n", "1", "--temp", "0", "-c", "512", "-t",
            threads, "--no-warmup", "-no-cnv", "--simple-io", "--no-display-prompt", "-lv", "0"]


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(name, model):
    seconds(ours(model)), seconds(theirs(model))  # files into the page cache
    a, b = [], []
    for i in range(rounds):
        pair = [(a, ours), (b, theirs)]
        for times, command in pair if i % 2 == 0 else reversed(pair):
            times.append(seconds(command(model)))
    ratio = sorted(x / y for x, y in zip(a, b))
    print(f"{name}: lathe {statistics.median(a):.3f} s, llama.cpp {statistics.median(b):.3f} s, "
          f"ratio {statistics.median(ratio):.2f} ({ratio[0]:.2f} to {ratio[-1]:.2f})", flush=True)


if len(sys.argv) > 4:
    for path in sys.argv[4:]:
        compare(os.path.basename(path), path)
else:
    with tempfile.TemporaryDirectory() as folder:
        for shape, kind in (("1B", "q4_0"), ("1B", "q8_0"), ("1B", "q4_K"), ("100M", "q4_0")):
            path = os.path.join(folder, "model.gguf")
            subprocess.run([lathe, "synth", "--arch", "llama", "--shape", shape, "--type", kind, "-o", path, "-q"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            compare(f"{shape} {kind}", path)
