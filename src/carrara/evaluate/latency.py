"""Latency: how long a model makes one wait for its first token, and how fast it goes on, on this machine.

As in a chat: one text at a time, the prompt in chunks, then one token after another, the likeliest each time. An answer
has 64 tokens whatever the model says, so that models are timed at the same work.
"""

from __future__ import annotations

import hashlib
import platform
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.evaluate.metrics import Figure
from carrara.evaluate.scores import Record
from carrara.models.load import Loaded
from carrara.models.machine import inspect_machine
from carrara.models.stepper import CHUNK, Stepper
from carrara.progress import Progress
from carrara.tasks import LATENCY

_LENGTHS = (32, 256, 1024)  # tokens of the prompts
_WRITTEN = 64  # tokens of each answer
_REPEATS = 8  # of each length, behind one that warms up
_SEED = 0  # of the prompts


def latency_records(loaded: Loaded, progress: Progress) -> list[Record]:
    """The records of `latency`, one for each answer: `ttft` in seconds, and `tokens_per_second` behind the first token.

    `value` is the time to the first token. Prompts that the model cannot hold are left out; raises Refusal if that is
    all of them.
    """
    lengths = [length for length in _LENGTHS if length + _WRITTEN <= loaded.context]
    if not lengths:
        raise Refusal(
            f"{loaded.model.name} holds {loaded.context} tokens; a prompt of {_LENGTHS[0]} and an answer of {_WRITTEN} "
            "do not fit, so leave latency out."
        )
    if len(lengths) < len(_LENGTHS):
        progress.say(f"{LATENCY}: prompts of more than {lengths[-1]} tokens do not fit the model's context")
    records: list[Record] = []
    with progress.track(LATENCY, len(lengths) * _REPEATS, "answer") as advance:
        for length in lengths:
            prompt = _prompt(loaded, length)
            time_answer(loaded, prompt)
            for _ in range(_REPEATS):
                records.append(_record(len(records), length, *time_answer(loaded, prompt)))
                advance(1)
    return records


def latency_figures(records: Sequence[Record]) -> list[Figure]:
    """Median and p95 of both measures, over all answers and for each length of prompt.

    p95 is the bad end of either: 95 % of the answers begin sooner, and 95 % are written at least as fast.
    """
    lengths = dict.fromkeys(record.category for record in records)
    groups = {"": records} | {f"_at_{length}": [r for r in records if r.category == length] for length in lengths}
    return [figure for end, group in groups.items() for figure in _group_figures(group, end)]


def this_machine() -> dict[str, Any]:
    """What timings depend on beside the model: processor, cores, threads and accelerator."""
    import torch

    machine = inspect_machine()
    return {
        "processor": _processor(),
        "cores": machine.cores,
        "threads": torch.get_num_threads(),
        "accelerator": machine.accelerator,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:  # not on Linux
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _prompt(loaded: Loaded, length: int) -> list[int]:
    """So many of the model's own tokens, the same each time, none of them special."""
    special = set(loaded.tokenizer.all_special_ids)
    known = min(len(loaded.tokenizer), len(loaded.network.get_input_embeddings().weight))
    ordinary = [token for token in range(known) if token not in special]
    return random.Random(_SEED).choices(ordinary, k=length)


def time_answer(loaded: Loaded, prompt: Sequence[int], written: int = _WRITTEN) -> tuple[float, float]:
    """The seconds to the first token of an answer of `written`, and the seconds that the others took."""
    began = time.perf_counter()
    step = Stepper(loaded)
    logits = [step(prompt[start : start + CHUNK]) for start in range(0, len(prompt), CHUNK)]
    token = int(logits[-1].argmax())
    first = time.perf_counter()
    for _ in range(written - 1):
        token = int(step([token]).argmax())
    return first - began, time.perf_counter() - first


def _record(item: int, length: int, first: float, others: float) -> Record:
    asked = f"a prompt of {length} tokens"
    return Record(
        task=LATENCY,
        item=item,
        id=str(item),
        question=asked,
        choices=[],
        prompt_sha256=hashlib.sha256(asked.encode()).hexdigest(),
        value=first,
        tokens=_WRITTEN,
        bytes=0,
        seconds=first + others,
        category=str(length),
        measures={"ttft": first, "tokens_per_second": (_WRITTEN - 1) / others},
    )


def _group_figures(records: Sequence[Record], end: str) -> list[Figure]:
    import numpy as np

    seconds = sum(record.seconds for record in records)
    found = []
    for metric, bad_end in (("ttft", 95), ("tokens_per_second", 5)):
        values = [record.measures[metric] for record in records]
        for name, percentile in (("p50", 50), ("p95", bad_end)):
            value = float(np.percentile(values, percentile))
            found.append(Figure(LATENCY, f"{metric}_{name}{end}", value, None, len(records), seconds))
    return found
