"""Two processes train what one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tiny import write_pairs

RECIPE = """
model: {model}
data: {data}
prepare: {{render: plain, test: 0.1, validation: 0.1}}
tune: {{method: lora, rank: 4, epochs: 2, batch_size: 5, learning_rate: 0.003, dtype: float32}}
"""


@pytest.mark.slow
def test_two_processes_equal_one(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=tiny_folder, data=write_pairs(tmp_path / "pairs.jsonl", 41)))
    paths = []
    for count in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        command = [sys.executable, *launcher, "-m", "carrara", "tune", str(recipe), "--json"]
        command += ["--workspace", str(tmp_path / str(count))]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=env)
        assert result.returncode == 0, result.stderr
        (line,) = {line for line in result.stdout.splitlines() if line.startswith("{")}
        paths.append(Path(json.loads(line)["path"]))
    one, two = (load_file(path / "adapter_model.safetensors") for path in paths)
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-4
