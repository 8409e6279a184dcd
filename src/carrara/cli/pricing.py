"""Options of the verbs that weigh and price: `choose` and `scorecard`."""

from __future__ import annotations

from typing import Annotated, Any

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


def cost_section(per_hour: float, per_kwh: float, watts: float | None, currency: str) -> dict[str, Any]:
    """The section `cost` of a recipe, as these options give it."""
    return {"per_hour": per_hour, "per_kwh": per_kwh, "currency": currency.upper(), "watts": watts}
