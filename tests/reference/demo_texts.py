"""Texts of models/: python tests/reference/demo_texts.py SHARED_DATA_TEXT OUT_FOLDER

Writes train.txt (documents separated by <|endoftext|>, shuffled once with a fixed seed; stories and tales
twice, learning.md G.b) and held-<file>.txt: the last 5 % of each source (of the stories, the last 100).
Novels are cut into chapters where headings say so, else into pieces of 2,000 lines.
"""
import random
import re
import sys
from pathlib import Path

SEP = "<|endoftext|>"
source, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)

TWICE = ["tinystories_2MiB.txt", "grimm.txt"]
ONCE = ["tinyshakespeare.txt", "plrabn12.txt", "botchan.txt", "alice29.txt", "austen-emma.txt", "austen-persuasion.txt",
        "austen-sense.txt", "chesterton-brown.txt", "chesterton-thursday.txt", "melville-moby_dick.txt"]
CHAPTER = re.compile(r"(?m)^(?=\s*(?:CHAPTER|Chapter|BOOK|Book|VOLUME)\s+[IVXLC\d]+)")


def pieces(text):
    """Documents of one file: by separator, by chapter, or every 2,000 lines."""
    if SEP in text:
        parts = text.split(SEP)
    else:
        parts = CHAPTER.split(text)
        if len(parts) < 5:
            lines = text.splitlines(keepends=True)
            parts = ["".join(lines[i:i + 2000]) for i in range(0, len(lines), 2000)]
    return [p.strip() for p in parts if p.strip()]


train = []
for name in TWICE + ONCE:
    text = (source / name).read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    if name == TWICE[0]:
        docs = pieces(text)
        kept, held = docs[:-100], docs[-100:]
    else:  # by size, so that files of few documents give 5 % too
        cut = int(len(text) * 0.95)
        kept, held = pieces(text[:cut]), pieces(text[cut:])
    train += kept * (2 if name in TWICE else 1)
    (out / f"held-{name}").write_text(SEP.join(held), encoding="utf-8")
random.Random(1).shuffle(train)
(out / "train.txt").write_text(SEP.join(train), encoding="utf-8")
print(len(train), "documents,", sum(map(len, train)), "characters")
