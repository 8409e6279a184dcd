"""Questions with choices, scored by lm-eval's Hugging Face backend; prints log-likelihoods, seconds and peak memory.

Rows of QUESTIONS and POOL are {"context", "choices", "gold"}. lm-eval draws the examples from POOL and renders,
tokenizes and scores by itself. Which split asks matters: with a validation split alone it draws one example more.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peak import peak_mb


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("questions", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    task: dict[str, Any] = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": str(arguments.pool), arguments.split: str(arguments.questions)}},
        "output_type": "multiple_choice",
        "training_split": "train",
        f"{arguments.split}_split": arguments.split,
        "doc_to_text": "context",
        "doc_to_target": "gold",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    model = HFLM(pretrained=arguments.model, dtype=arguments.dtype, batch_size=arguments.batch, device="cpu")
    began = time.monotonic()
    found = simple_evaluate(
        model=model, tasks=[task], num_fewshot=arguments.shots, limit=arguments.limit, task_manager=TaskManager()
    )
    seconds = time.monotonic() - began
    assert found is not None
    samples = found["samples"]["local"]
    values = {str(s["doc_id"]): [response[0] for response in s["filtered_resps"]] for s in samples}
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "loglikelihoods": values}, default=float))


if __name__ == "__main__":
    main()
