"""Many clients at once: whether any answer is lost, and whether any model answers for another.

    .venv/bin/python benchmarks/clients.py MODEL RUN... [--clients 32] [--seconds 600] [--workspace DIR]
`carrara serve` listens in a process of its own. First each model is asked each question alone, at temperature 0; then
all clients ask at once, each time another model and question, half of them streamed. A client that is told to come back
later does. An answer is *of another* if it is what another model said alone and not what its own did; it is *another
one* if it is neither, as happens where two words are nearly equally likely and others are computed beside.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2

QUESTIONS = (
    "Which planet is the largest?",
    "Why is the sky blue?",
    "What do plants need to grow?",
    "Name a use of marble.",
    "How does a lever help?",
    "What is the boiling point of water?",
    "Which gas do people breathe out?",
    "What causes the tides?",
)
TOKENS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    place = ["--workspace", str(arguments.workspace)] if arguments.workspace else []
    command = [sys.executable, "-m", "carrara", "serve", *arguments.models, "--port", "0", "--key", "k", *place]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next(line for line in server.stderr if line.startswith("serving")).split()[-1]
        threading.Thread(target=server.stderr.read, daemon=True).start()
        pairs = [(model, question) for model in arguments.models for question in QUESTIONS]
        with _client(url) as client:
            alone = {pair: _ask(client, *pair, streamed=False)[0] for pair in pairs}
        found = _storm(url, alone, arguments.clients, arguments.seconds)
    finally:
        server.terminate()
        server.wait()
    _report(found, arguments.clients, arguments.seconds)


def _client(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers={"Authorization": "Bearer k"}, timeout=120)


def _storm(url: str, alone: dict[tuple[str, str], str], clients: int, seconds: float) -> Counter[str]:
    found: Counter[str] = Counter()
    lock, end = threading.Lock(), time.monotonic() + seconds

    def one(number: int) -> None:
        draw = random.Random(number)
        with _client(url) as client:
            while time.monotonic() < end:
                pair = draw.choice([*alone])
                try:
                    text, later = _ask(client, *pair, streamed=draw.random() < 0.5)
                except (httpx2.HTTPError, ValueError, KeyError) as error:
                    told = f"lost: {type(error).__name__}"
                else:
                    told = _judged(pair, text, alone)
                    with lock:
                        found["told to come back later"] += later
                with lock:
                    found[told] += 1

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _judged(pair: tuple[str, str], text: str, alone: dict[tuple[str, str], str]) -> str:
    if text == alone[pair]:
        return "as alone"
    others = {said for (model, question), said in alone.items() if question == pair[1] and model != pair[0]}
    return "of another" if text in others else "another one"


def _ask(client: httpx2.Client, model: str, question: str, streamed: bool) -> tuple[str, int]:
    """The whole answer, and how often it was put off; raises what HTTP raises, ValueError for an unfinished answer."""
    messages = [{"role": "user", "content": question}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": TOKENS, "stream": streamed}
    later = 0
    while (response := client.post("/chat/completions", json=body)).status_code == 429:
        later += 1
        time.sleep(float(response.headers["Retry-After"]))
    response.raise_for_status()
    if not streamed:
        return response.json()["choices"][0]["message"]["content"], later
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    if events[-1] != "[DONE]":
        raise ValueError("the stream ended early")
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    return "".join(delta.get("content", "") for delta in deltas), later


def _report(found: Counter[str], clients: int, seconds: float) -> None:
    answers = sum(count for told, count in found.items() if told != "told to come back later")
    print(f"{clients} clients, {seconds:.0f} seconds, {answers:,} answers\n\n| | |\n|---|---|")
    for told in ("as alone", "another one", "of another"):
        print(f"| {told} | {found[told]:,} |")
    print(f"| lost | {sum(count for told, count in found.items() if told.startswith('lost')):,} |")
    print(f"| told to come back later | {found['told to come back later']:,} |")
    if lost := [f"{told} ({count})" for told, count in found.items() if told.startswith("lost")]:
        print("\n" + ", ".join(lost))


if __name__ == "__main__":
    main()
