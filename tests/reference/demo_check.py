"""Acceptance of models/: python tests/reference/demo_check.py LATHE MODEL.gguf DATA_FOLDER [SAMPLES]

DATA_FOLDER is what demo_texts.py wrote. Prints, as Markdown: bits a byte and perplexity a token of each held-out
file, the share of distinct 4-grams in SAMPLES texts of 120 tokens (temperature 0.8), and the share of their
50-character pieces that stand in the training text (memorised).
"""
import json
import subprocess
import sys
from pathlib import Path

lathe, model, data = sys.argv[1], sys.argv[2], Path(sys.argv[3])
samples = int(sys.argv[4]) if len(sys.argv) > 4 else 30
CONTEXT = "512"


def run(*args):
    return json.loads(subprocess.run([lathe, *args, "--json", "-q"], capture_output=True, check=True, text=True).stdout)


print("| held-out text | perplexity a token | bits a byte |\n|---|---|---|")
for path in sorted(data.glob("held-*.txt")):
    r = run("eval", "-m", model, "-f", str(path), "--special", "-c", CONTEXT)
    print(f"| {path.stem[5:]} | {r['perplexity']:.2f} | {r['bits_per_byte']:.3f} |")

train = (data / "train.txt").read_text(encoding="utf-8")
pieces = {train[i:i + 50] for i in range(len(train) - 50)}
seen, total, copied, checked = set(), 0, 0, 0
prompts = ["Once upon a time", "The king said to his daughter", "It was a dark night and", "One day, a little boy", "She opened the door"]
for i in range(samples):
    prompt = prompts[i % len(prompts)]
    text = run("run", model, "-p", prompt, "-n", "120", "--temp", "0.8", "--seed", str(i), "--spec", "none")["text"]
    words = text.split()
    grams = [tuple(words[j:j + 4]) for j in range(len(words) - 3)]
    seen.update((i, g) for g in grams)
    total += len(grams)
    for j in range(0, max(0, len(text) - 50), 10):
        checked += 1
        copied += text[j:j + 50] in pieces
print(f"\ndistinct 4-grams within a text: {len(seen) / max(1, total):.3f}; 50-character pieces copied from training: {copied / max(1, checked):.3f}")
