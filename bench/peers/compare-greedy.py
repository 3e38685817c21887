#!/usr/bin/env python3
"""Where greedy texts of lathe and of llama.cpp's server part on one model, and whether rounding decides there.

  compare-greedy.py LATHE LLAMA_SERVER MODEL.gguf [F32.gguf]

llama.cpp writes N tokens greedily after each prompt (f32 cache, explicit attention, one thread); lathe scores the same
tokens (f32 cache). Printed for each prompt: the largest and the mean difference of the chosen tokens' log-probabilities,
and each step at which the likeliest tokens differ, with how far the two likeliest are apart in each program. F32.gguf, the
same weights as f32, shows how far both are from the arithmetic without rounded activations."""
import json
import subprocess
import sys
import time
import urllib.request

PROMPTS = ["Once upon a time", "The king said", "Lily went to the", "In the morning", "There was a dog"]
N, PORT = 200, 18099


def ask(prompt):
    body = {"prompt": prompt, "n_predict": N, "temperature": 0, "top_k": 1, "n_probs": 4, "cache_prompt": False}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/completion", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["completion_probabilities"]


def lathe(program, *arguments, text=None):
    return subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=True).stdout


def scores(program, model, ids):
    out = lathe(program, "logits", "-m", model, "--ids", "/dev/stdin", "--top", "8", "-t", "1", "-q", "--cache-type",
                "f32", text=" ".join(map(str, ids)))
    return [json.loads(line)["top"] for line in out.splitlines()]


def compare(name, rows, steps):
    gaps, parted = [], []
    for k, (top, step) in enumerate(zip(rows, steps)):
        of = dict(map(tuple, top))
        if step["id"] in of:
            gaps.append(abs(of[step["id"]] - step["logprob"]))
        if top[0][0] != step["id"]:
            theirs = step["top_logprobs"]
            parted.append(f"{k} ({top[0][1] - top[1][1]:.4f}, {theirs[0]['logprob'] - theirs[1]['logprob']:.4f})")
    print(f"  {name}: largest {max(gaps):.2g}, mean {sum(gaps) / len(gaps):.2g}; parts at {', '.join(parted) or 'no step'}")
    return gaps


program, server, model, *plain = sys.argv[1:]
process = subprocess.Popen([server, "-m", model, "--port", str(PORT), "-c", "2048", "-t", "1", "--no-warmup", "-ctk", "f32",
                            "-ctv", "f32", "-fa", "off"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health")
            break
        except OSError:
            time.sleep(0.25)
    for prompt in PROMPTS:
        ids = json.loads(lathe(program, "tokenize", "-m", model, "--json", prompt))["ids"]
        steps = ask(prompt)
        whole, at = ids + [s["id"] for s in steps], len(ids) - 1
        print(f"'{prompt}', {len(steps)} tokens: lathe's margin and llama.cpp's where the likeliest tokens differ")
        compare("lathe to llama.cpp", scores(program, model, whole)[at:], steps)
        if plain:
            compare("f32 weights to llama.cpp", scores(program, plain[0], whole)[at:], steps)
finally:
    process.terminate()
    process.wait()
