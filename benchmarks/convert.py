"""How fast `carrara export --to gguf` writes, in millions of parameters a second, for each number format.

    .venv/bin/python benchmarks/convert.py

The embedded model, stored in float32, goes from its folder into a whole GGUF file on the disk, tokenizer and all. Each
format is written several times in turn with the others; the best time counts, since other programs only add to it.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from carrara.export.gguf import QUANTIZATIONS, write_gguf
from carrara.models import resolve_model
from carrara.models.shape import shape_in
from carrara.progress import Silent
from carrara.workspace import open_workspace

AT_LEAST, AIM = 100, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--times", type=int, default=5, help="how often each format is written")
    parser.add_argument("--workspace", type=Path, help="where the model is kept")
    arguments = parser.parse_args()
    folder = resolve_model(open_workspace(arguments.workspace), arguments.model, Silent()).path
    _, parameters = shape_in(folder)
    seconds: dict[str, list[float]] = {quantization: [] for quantization in QUANTIZATIONS}
    with tempfile.TemporaryDirectory() as place:
        for _ in range(arguments.times + 1):
            for quantization in QUANTIZATIONS:
                began = time.perf_counter()
                write_gguf(folder, Path(place) / "model.gguf", quantization)
                seconds[quantization].append(time.perf_counter() - began)
    rates = {name: parameters / min(times[1:]) / 1e6 for name, times in seconds.items()}  # the first loads libraries
    print(
        json.dumps(
            {
                "parameters": parameters,
                "million_parameters_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                "at_least": AT_LEAST,
                "aim": AIM,
                "holds": min(rates.values()) >= AT_LEAST,
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
