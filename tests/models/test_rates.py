"""The probe of the machine: quick, plausible, and taken once."""

from __future__ import annotations

import time

import pytest
import torch

from carrara.models import read_catalogue
from carrara.models.rates import measure_rates

SIDES = tuple(read_catalogue()["smollm2-135m-instruct"].shape.linears().values())
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rates_are_measured_in_a_moment_and_once(dtype: torch.dtype) -> None:
    rates = measure_rates(CPU, dtype, SIDES, 128)
    assert rates.dtype == str(dtype).removeprefix("torch.")
    assert 1e8 < rates.products < 1e14
    assert 1e8 < rates.memory < 1e12
    assert 1e-8 < rates.call < 1e-3
    began = time.monotonic()
    assert measure_rates(CPU, dtype, SIDES, 128) is rates
    assert time.monotonic() - began < 0.01
