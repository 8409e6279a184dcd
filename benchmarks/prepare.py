"""How long `carrara prepare` takes, and how much memory, as files grow: everything it does, on rows of 100 words.

    .venv/bin/python benchmarks/prepare.py DATA --rows 10000,100000

The rows are sentences of real texts in DATA, put together anew with a seed; 1 % are copied, 1 % nearly copied, and 1 %
hold personal data. Memory is the sum over all processes, sampled twice a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

WORDS = 100
PERSONAL = ("Write to {}@example.org.", "Call +44 20 7946 0{:03d} today.", "Pay to DE89 3704 0044 0532 0130 00.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of benchmark files")
    parser.add_argument("--rows", default="10000,100000", help="sizes, by commas")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--against", default="arc_easy,arc_challenge,hellaswag,truthfulqa")
    arguments = parser.parse_args()
    sentences = real_sentences(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        carrara("models", "pull", arguments.model, "--workspace", workspace)
        print("rows      seconds  ms/row  peak MB   train/valid./test        exact  near  personal")
        for size in map(int, arguments.rows.split(",")):
            path = write_rows(Path(folder) / f"{size}.jsonl", size, sentences)
            seconds, peak, result = carrara(
                "prepare", path, "--json", "--model", arguments.model, "--workspace", workspace,
                "--benchmarks", arguments.data.resolve(), "--against", arguments.against, "--contamination", "report",
            )  # fmt: skip
            splits = "/".join(f"{count:,}" for count in result["splits"].values())
            duplicates, personal = result["duplicates"], sum(result["personal_data"].values())
            print(f"{size:<9,} {seconds:7.1f} {1e3 * seconds / size:7.3f} {peak:8,.0f}   {splits:<22} "
                  f"{duplicates['exact']:7,} {duplicates['near']:5,} {personal:9,}", flush=True)  # fmt: skip
            path.unlink()


def real_sentences(data: Path) -> list[str]:
    """Sentences of 5 to 40 words from the texts of a folder of benchmark files."""
    texts = [row["output"] for row in read(data / "alpaca/alpaca_data_5k.jsonl")]
    texts += [row["question"] for row in read(data / "gsm8k/train.jsonl")]
    texts += [row["ctx"] for row in read(data / "hellaswag/hellaswag_val.jsonl")]
    texts += (data / "wikitext-2/test.txt").read_text(encoding="utf-8").splitlines()
    parts = (part.strip() for text in texts for part in re.split(r"(?<=[.!?])\s+", text))
    return [part for part in parts if 5 <= len(part.split()) <= 40]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, size: int, sentences: list[str]) -> Path:
    """A file of prompt/completion rows of about 100 words together."""
    chance = random.Random(size)
    earlier: list[list[str]] = []
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            kind = chance.random()
            if earlier and kind < 0.02:
                parts = list(chance.choice(earlier))
                if kind < 0.01:
                    words = parts[-1].split()
                    words[chance.randrange(len(words))] = "certainly"
                    parts[-1] = " ".join(words)
            else:
                parts = []
                while sum(len(part.split()) for part in parts) < WORDS - 10:
                    parts.append(chance.choice(sentences))
                if kind < 0.03:
                    parts.append(chance.choice(PERSONAL).format(number % 1000))
                if len(earlier) < 20_000:
                    earlier.append(parts)
            half = len(parts) // 3
            row = {"prompt": " ".join(parts[: half + 1]), "completion": " ".join(parts[half + 1 :]) or "None."}
            file.write(json.dumps(row) + "\n")
    return path


def carrara(*arguments: object) -> tuple[float, float, dict[str, Any]]:
    """Seconds, peak MB of all processes together, and the JSON result of a command."""
    began = time.monotonic()
    command = [str(Path(sys.executable).with_name("carrara")), *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ})
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.5)
        output = process.stdout.read() if process.stdout else ""
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command[:3])} failed:\n{errors.read()[-2000:]}")
    seconds = time.monotonic() - began
    line = output.strip().splitlines()[-1] if output.strip() else ""
    return seconds, peak / 1e6, json.loads(line) if line.startswith("{") else {}


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children, pages that they share counted once for each."""
    try:
        process = psutil.Process(pid)
        return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main()
