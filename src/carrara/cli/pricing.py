"""Options of the verbs that weigh and price: `choose` and `scorecard`."""

from __future__ import annotations

from typing import Annotated

import typer

WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="What counts how much, such as accuracy=3,cost=1 (the others 1).")
]
PerHourOption = Annotated[float, typer.Option("--per-hour", help="Price of an hour of the machine.")]
PerKwhOption = Annotated[float, typer.Option("--per-kwh", help="Price of a kilowatt-hour.")]
WattsOption = Annotated[
    float | None, typer.Option("--watts", min=0.1, help="Power of the machine at work (default: assumed).")
]
CurrencyOption = Annotated[str, typer.Option("--currency", help="Of all prices, such as EUR.")]
