"""The rate of bfloat16 matrix products on this machine's GPU or processor, in operations a second; prints JSON.

Square products of three sizes and one of a network's own (1,024 places of SmolLM2-135M; on a GPU 4,096 of an
8B LLaMA), each repeated for half a second. A shape's rate is the median of its repetitions and the machine's is the
best shape's, so a share of it is the lowest that one could state.
"""

from __future__ import annotations

import json
import statistics
import time

import torch

SHAPES = {
    "cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 4096), (1024, 576, 1536)),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 16384, 16384), (4096, 4096, 14336)),
}
SECONDS = 0.5


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates = {"x".join(map(str, shape)): rate(device, *shape) for shape in SHAPES[device]}
    print(json.dumps({"rate": max(rates.values()), "rates": rates}))


def rate(device: str, rows: int, inner: int, columns: int) -> float:
    """Operations a second of products `(rows, inner) @ (inner, columns)`."""
    left = torch.randn(rows, inner, device=device).bfloat16()
    right = torch.randn(inner, columns, device=device).bfloat16()
    _seconds(left, right)  # the first also loads the library
    times: list[float] = []
    while sum(times) < SECONDS:
        times.append(_seconds(left, right))
    return 2 * rows * inner * columns / statistics.median(times)


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    began = time.perf_counter()
    torch.mm(left, right)
    if left.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
