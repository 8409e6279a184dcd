"""LoRA fine-tuning of the embedded model, Carrara beside TRL, as it comes and at its best settings.

128 GSM8K questions rendered with the model's chat template, rank 16 on all linear layers, one epoch, batch 8.
    .venv/bin/python benchmarks/train.py DATA [--repeat 3]
DATA is a folder of benchmark files with gsm8k/train.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import ALLOCATOR, PEERS, ROOT, ratio, require_peers, run_json

RECIPE = """
data: {rows}
prepare: {{test: 0, validation: 0}}
tune: {{method: lora, rank: 16, epochs: 1, batch_size: 8, learning_rate: 2e-4}}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    require_peers()
    found: dict[str, list[dict[str, Any]]] = {"Carrara": [], "TRL 1.16 as it comes": [], "TRL 1.16 at its best": []}
    with tempfile.TemporaryDirectory() as name:
        rows, recipe = _write_work(Path(name), arguments.data)
        for number in range(arguments.repeat):
            carrara = [sys.executable, "-m", "carrara"]
            rest = ["--json", "--workspace", Path(name) / str(number)]
            model = run_json([*carrara, "models", "pull", "smollm2-135m-instruct", *rest])
            tuned = run_json([*carrara, "tune", recipe, *rest])
            found["Carrara"].append({**tuned, "peak_mb": tuned["peak_memory_mb"]})
            trl = [PEERS, ROOT / "peers" / "trl_lora.py", model["path"], rows]
            found["TRL 1.16 as it comes"].append(run_json(trl))
            found["TRL 1.16 at its best"].append(run_json([*trl, "--best"], ALLOCATOR))
    _report(found)


def _write_work(folder: Path, data: Path) -> tuple[Path, Path]:
    lines = (data / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:128]
    pairs = [{"prompt": row["question"], "completion": row["answer"]} for row in map(json.loads, lines)]
    rows, recipe = folder / "rows.jsonl", folder / "recipe.yaml"
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    recipe.write_text(RECIPE.format(rows=rows), encoding="utf-8")
    return rows, recipe


def _report(found: dict[str, list[dict[str, Any]]]) -> None:
    rates = {name: [run["tokens"] / run["seconds"] for run in runs] for name, runs in found.items()}
    print("| trainer | tokens/s (median, range) | peak MB | Carrara is |\n|---|---|---|---|")
    for name, values in rates.items():
        peak = max(run["peak_mb"] for run in found[name])
        spread = f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"
        faster = "–" if name == "Carrara" else f"{ratio(rates['Carrara'], values)} faster"
        print(f"| {name} | {spread} | {peak:,.0f} | {faster} |")


if __name__ == "__main__":
    main()
