#!/usr/bin/env python3
"""A sampler for `lathe tree active`: a chain a - b - c - d whose neighbours differ in one reading of ten.

    lathe tree active --oracle 'cmd:python3 examples/sampler.py' --nodes a,b,c,d --budget 4000
"""
import json
import random
import sys

CHAIN = ["a", "b", "c", "d"]
random.seed(1)
for line in sys.stdin:
    request = json.loads(line)
    rows = []
    for _ in range(request["n"]):
        value = random.random() < 0.5
        reading = {}
        for name in CHAIN:
            value ^= name != CHAIN[0] and random.random() < 0.1
            reading[name] = int(value)
        rows.append([reading[name] for name in request["nodes"]])
    print(json.dumps({"rows": rows}), flush=True)
