"""`carrara scorecard`: what models are like, criterion by criterion, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.cli.pricing import CurrencyOption, PerHourOption, PerKwhOption, WattsOption, WeightsOption, cost_section

if TYPE_CHECKING:
    from carrara.progress import Progress
    from carrara.scorecard.card import Card
    from carrara.scorecard.sides import Row, Side
    from carrara.scorecard.standings import Standings
    from carrara.workspace import Workspace


_LONGEST = 60  # characters of a value that is a text


def scorecard_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL|RUN…", help="Whose cards, side by side.")],
    data: Annotated[
        str | None, typer.Option(help="Rows or a prepared dataset (default: what it was tuned on).")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write the cards to this HTML file, too.")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Tune on 100, 300 and 1,000 rows to tell what more would bring; minutes.")
    ] = False,
    weights: WeightsOption = None,
    label_rate: Annotated[float | None, typer.Option(min=0.01, help="Rows that somebody labels in an hour.")] = None,
    label_wage: Annotated[float | None, typer.Option(min=0.0, help="Price of an hour of labelling.")] = None,
    api_price: Annotated[float | None, typer.Option(min=0.0, help="Price of an API's million tokens.")] = None,
    per_hour: PerHourOption = 0.0,
    per_kwh: PerKwhOption = 0.30,
    watts: WattsOption = None,
    currency: CurrencyOption = "EUR",
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Measure the five criteria of models that are here; of the others show what is published. Kept once measured."""
    from carrara.errors import Refusal
    from carrara.recipe import make_recipe
    from carrara.scorecard.card import find_card
    from carrara.scorecard.cost import Prices
    from carrara.scorecard.page import write_page
    from carrara.scorecard.standings import stand
    from carrara.scorecard.weigh import read_weights
    from carrara.workspace import open_workspace, user_path

    recipe = make_recipe({"cost": cost_section(per_hour, per_kwh, watts, currency)}, where="the options")
    for option, number in (("--label-rate", label_rate), ("--label-wage", label_wage), ("--api-price", api_price)):
        if number is not None and not math.isfinite(number):
            raise Refusal(f"{option} has to be a number that ends, not {number}.")
    prices = Prices(recipe.cost, label_rate, label_wage, api_price)
    weighed = read_weights(weights)
    if page and not user_path(str(page)).absolute().parent.is_dir():
        raise Refusal(f"the folder of --page {page} does not exist; make it, or name another place.")
    store, progress = open_workspace(workspace), make_progress()
    found = [find_card(store, model, data, prices, probe, progress) for model in dict.fromkeys(models)]
    cards = [*{card.source or card.model: card for card in found}.values()]  # a model may be named in two ways
    standings = stand(store, cards, weighed, progress) if len(cards) > 1 else None
    if weights and standings is None:
        progress.say("--weights does nothing: it weighs models against each other, and there are not two to weigh")
    _say_unused([card.model for card in cards if card.source is None], store, data, probe, progress)
    if page:
        write_page(user_path(str(page)), cards, standings)
    if json:
        told = [card.to_json() | (standings.of(card) if standings else {}) for card in cards]
        print_json(told if len(models) > 1 else told[0])
        return
    _print(cards, standings)
    if page:
        print_line(f"page      {page}")


def _say_unused(models: Sequence[str], store: Workspace, data: str | None, probe: bool, progress: Progress) -> None:
    """Say of models that are not here which options do nothing; raises Refusal for rows that cannot be read."""
    from carrara.data.dataset import existing_dataset
    from carrara.data.read import open_source
    from carrara.data.read.hub import SCHEME
    from carrara.progress import Silent

    if not models:
        return
    if data and not data.startswith(SCHEME) and existing_dataset(store, data) is None:
        open_source(data, {}, None, store, Silent())
    for option in [name for name, is_given in (("--data", data), ("--probe", probe)) if is_given]:
        progress.say(f"{option} does nothing for {', '.join(models)}: only a model that is here is measured")


def _print(cards: Sequence[Card], standings: Standings | None) -> None:
    from carrara.scorecard.accuracy.outlook import NAME
    from carrara.scorecard.sides import all_rows, sides_of
    from carrara.wording import line

    sides = sides_of(cards)
    for criterion, rows in all_rows(sides).items():
        print_table([criterion.replace("_", " "), *(line(side.name) for side in sides)], [_cells(row) for row in rows])
        _print_reasons(rows, sides)
        print_line("")
    for sentence in standings.sentences() if standings else ():
        print_line(f"weights   {sentence}")
    curves = [(card.model, told) for card in cards for told in card.criteria["accuracy"] if told.measure == NAME]
    for model, told in curves:
        if told.value is not None:
            print_line(f"rows      {line(model)}: {told.meaning}")
    apart = ", the learning curve apart" if curves else ""
    print_line(f"measured  in {sum(card.seconds for card in cards):,.0f} s{apart}, and kept")


def _cells(row: Row) -> list[str]:
    from carrara.scorecard.sides import shown
    from carrara.wording import line

    label = f"{row.measure}, {row.unit}" if row.unit else row.measure
    kinds = [(f"{line(shown(cell), _LONGEST)} {cell.kind}" if cell.value is not None else "unknown") if cell else "–"
             for cell in row.cells]  # fmt: skip
    return [label, *kinds]


def _print_reasons(rows: Sequence[Row], sides: Sequence[Side]) -> None:
    """Why a figure is unknown, once for each reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for cell, side in zip(row.cells, sides, strict=True):
            if cell and cell.kind == "unknown":
                reasons.setdefault(f"{side.name}: {cell.source}", []).append(row.measure)
    for reason, measures in reasons.items():
        print_line(f"  unknown {', '.join(measures)}; {reason}")
