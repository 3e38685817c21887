#!/usr/bin/env python3
"""Speculation by text and arm: tokens a second over plain decoding (1.00), on pieces of texts as prompts.

spec_texts.py LATHE TARGET.gguf DRAFT.gguf DATA TEMPERATURE TEXT... [--prompts N] [--prompt-chars N] [-n N] [--arms LIST] [--llama DIR]
LATHE: the program. DATA: a folder with text/ and code/. TEXT: tinystories, shakespeare, book, code, mixed.
All arms answer the same prompts, interleaved: one prompt goes through all arms before the next. With --llama DIR the
server of llama.cpp in DIR answers the same prompts plain and with each of its speculative settings.
Prints one JSON line a text.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time, urllib.request

FILES = {
    "tinystories": "text/tinystories_2MiB.txt",
    "shakespeare": "text/tinyshakespeare.txt",
    "book": "text/alice29.txt",
    "code": "code/sqlite_shell.c",
}
ARMS = []  # names of --arms; empty: all
LLAMA = [
    ["none"],
    ["draft 2", "--spec-type", "draft-simple", "--spec-draft-n-max", "2"],
    ["draft 4", "--spec-type", "draft-simple", "--spec-draft-n-max", "4"],
    ["draft 8", "--spec-type", "draft-simple", "--spec-draft-n-max", "8", "--spec-draft-p-min", "0.5"],
    ["ngram-simple", "--spec-type", "ngram-simple"],
    ["ngram-map-k", "--spec-type", "ngram-map-k"],
    ["ngram-mod", "--spec-type", "ngram-mod"],
    ["ngram-cache", "--spec-type", "ngram-cache"],
]


def pieces(data, text, n, chars):
    names = list(FILES) if text == "mixed" else [text]
    out = []
    for i in range(n):
        name = names[i % len(names)]
        body = open(os.path.join(data, FILES[name]), encoding="utf-8", errors="replace").read().replace("<|endoftext|>", " ")
        at = (i + 1) * len(body) // (n + 2)
        out.append(body[at : at + chars])
    return out


def arms(draft):
    d = "draft:" + draft
    a = [["none", "--spec", "none"]]
    for k in (4, 10):
        a.append([f"lookup {k}", "--spec", "lookup", "--spec-len", str(k)])
    a.append(["suffix 16", "--spec", "suffix", "--spec-len", "16"])
    a.append(["recycle 8", "--spec", "recycle", "--spec-len", "8"])
    for k in (1, 2, 4, 8):
        a.append([f"draft {k}", "--spec", d, "--spec-len", str(k)])
    a.append(["auto", "--spec", "auto"])
    a.append(["auto+draft", "--spec", "auto+" + d])
    return [arm for arm in a if not ARMS or arm[0] in ARMS]


def one(lathe, model, arm, prompt_file, args):
    command = [lathe, "run", "-m", model, "-f", prompt_file, "-n", str(args.n), "-t", str(args.t), "--temp", args.temp,
               "--seed", "1", "--ignore-eos", "--json", "-q"] + arm[1:]
    return json.loads(subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)


def measure_lathe(args, prompts):
    speeds = {arm[0]: [] for arm in arms(args.draft)}
    time_of = {arm[0]: 0.0 for arm in arms(args.draft)}
    detail = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, prompt in enumerate(prompts):
            path = os.path.join(folder, "prompt")
            open(path, "w").write(prompt)
            for arm in arms(args.draft):
                answer = one(args.lathe, args.target, arm, path, args)
                speeds[arm[0]].append(answer["tokens_per_s"])
                time_of[arm[0]] += answer["decode_s"]
                detail[arm[0]] = answer.get("spec", {}).get("mean_accepted")
    plain = time_of["none"]
    return {name: {"x": round(plain / time_of[name], 3), "tokens_per_s": round(statistics.median(speeds[name]), 1),
                   "kept": detail[name] and round(detail[name], 2)} for name in speeds}


def measure_llama(args, prompts):
    out, plain = {}, None
    for setting in LLAMA:
        port = 18080
        command = [os.path.join(args.llama, "llama-server"), "-m", args.target, "-t", str(args.t), "-tb", str(args.t), "-c", "512", "-np", "1",
                   "--port", str(port), "--no-webui", "-lv", "0"] + setting[1:]
        if setting[0].startswith("draft"):
            command += ["-md", args.draft, "-td", str(args.t)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                    break
                except Exception:
                    time.sleep(0.1)
            total, speeds = 0.0, []
            for prompt in prompts[:1] + prompts:  # the first warms up
                body = json.dumps({"prompt": prompt, "n_predict": args.n, "temperature": float(args.temp), "top_k": 40, "top_p": 0.95,
                                   "min_p": 0.05, "seed": 1, "ignore_eos": True, "cache_prompt": False}).encode()
                request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", body, {"Content-Type": "application/json"})
                timings = json.loads(urllib.request.urlopen(request, timeout=120).read())["timings"]
                speeds.append(timings["predicted_per_second"])
                total += timings["predicted_ms"] / 1e3
            total -= args.n / speeds[0]
            plain = plain or total
            out["llama.cpp " + setting[0]] = {"x": round(plain / total, 3), "tokens_per_s": round(statistics.median(speeds[1:]), 1)}
        except Exception as e:
            out["llama.cpp " + setting[0]] = {"error": str(e)[:80]}
        finally:
            server.terminate()
            server.wait()
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("lathe"), p.add_argument("target"), p.add_argument("draft"), p.add_argument("data"), p.add_argument("temp")
    p.add_argument("texts", nargs="+")
    p.add_argument("--prompts", type=int, default=3), p.add_argument("--prompt-chars", type=int, default=500)
    p.add_argument("--arms", help="names joined by commas, none among them"), p.add_argument("-n", type=int, default=128), p.add_argument("-t", type=int, default=1), p.add_argument("--llama")
    args = p.parse_args()
    ARMS.extend(args.arms.split(",") if args.arms else [])
    for text in args.texts:
        prompts = pieces(args.data, text, args.prompts, args.prompt_chars)
        result = measure_lathe(args, prompts)
        if args.llama:
            result.update(measure_llama(args, prompts))
        print(json.dumps({"text": text, "temp": args.temp, "target": os.path.basename(args.target), "arms": result}), flush=True)


main()
