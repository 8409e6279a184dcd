"""ARC-Challenge with lm-eval's Hugging Face backend on local files; prints every log-likelihood and the seconds."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("--shots", type=int, default=25)
    parser.add_argument("--limit", type=int, default=12)
    arguments = parser.parse_args()
    folder = arguments.benchmarks / "arc" / "ARC-Challenge"
    task: dict[str, Any] = {
        "task": "arc_challenge_local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {s: str(folder / f"{s}.jsonl") for s in ("train", "test")}},
        "output_type": "multiple_choice",
        "training_split": "train",
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{choices.label.index(answerKey)}}",
        "doc_to_choice": "{{choices.text}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    model = HFLM(pretrained=arguments.model, dtype="float32", batch_size=1, device="cpu")
    began = time.monotonic()
    found = simple_evaluate(
        model=model, tasks=[task], num_fewshot=arguments.shots, limit=arguments.limit, task_manager=TaskManager()
    )
    seconds = time.monotonic() - began
    assert found is not None
    samples = found["samples"]["arc_challenge_local"]
    values = {str(s["doc_id"]): [response[0] for response in s["filtered_resps"]] for s in samples}
    print(json.dumps({"seconds": seconds, "loglikelihoods": values}, default=float))


if __name__ == "__main__":
    main()
