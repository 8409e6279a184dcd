"""`carrara choose`: which model for a task, and how to tune it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.cli.pricing import CurrencyOption, PerHourOption, PerKwhOption, WattsOption, WeightsOption, cost_section
from carrara.wording import duration, line

if TYPE_CHECKING:
    from carrara.models.plan import Plan
    from carrara.scorecard.choose import Choice, Ranked

_SHOWN = 15  # of those that fit
_MARKS = {"measured": "m", "published": "p", "derived": "d", "unknown": "?"}


def choose_command(
    task: Annotated[str, typer.Option(help="What it is for: classify, generate, similarity or chat.")] = "chat",
    data: Annotated[str | None, typer.Option(help="Rows or a prepared dataset that it is to be tuned on.")] = None,
    memory: Annotated[str | None, typer.Option(help="The most memory, such as 16GB (default: what is free).")] = None,
    budget: Annotated[str | None, typer.Option(help="The most that tuning may cost, such as 5EUR.")] = None,
    licence: Annotated[str | None, typer.Option(help="commercial, or any (default).")] = None,
    context: Annotated[str | None, typer.Option(help="Tokens that it must hold, such as 8k.")] = None,
    language: Annotated[str | None, typer.Option(help="A language it must know, such as de.")] = None,
    weights: WeightsOption = None,
    per_hour: PerHourOption = 0.0,
    per_kwh: PerKwhOption = 0.30,
    watts: WattsOption = None,
    currency: CurrencyOption = "EUR",
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Filter and rank the catalogue and the models that are here; recommend one, and how to tune it."""
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.errors import Refusal
    from carrara.recipe import make_recipe
    from carrara.scorecard.choose import choose_model
    from carrara.scorecard.needs import read_needs
    from carrara.scorecard.weigh import read_weights
    from carrara.workspace import open_workspace

    prices = cost_section(per_hour, per_kwh, watts, currency)
    recipe = make_recipe({"data": data, "cost": prices, "prepare": {"against": []}}, where="the options")
    needs = read_needs(task, memory, budget, licence, context, language, recipe.cost.currency)
    weighed = read_weights(weights)
    store, progress = open_workspace(workspace), make_progress()
    dataset = prepare_dataset(store, recipe, progress) if data else None
    choice = choose_model(store, needs, dataset, weighed, recipe.cost, progress)
    if budget is not None and per_hour == 0:
        note = "Only energy counts towards --budget, since an hour of the machine costs nothing; --per-hour prices it."
        choice = replace(choice, notes=(*choice.notes, note))
    if json:
        print_json(choice.to_json())
    else:
        _print(choice)
    if choice.winner is None:
        raise Refusal(choice.refusal())


def _print(choice: Choice) -> None:
    if choice.fitting:
        names = [name.replace("_of_use", "") for name in choice.weights]
        columns = ["model", "rank", "score (95 %)", *names, "method", "memory GB", "time", "money"]
        print_table(columns, [_row(each) for each in choice.fitting[:_SHOWN]])
    if (more := len(choice.fitting) - _SHOWN) > 0:
        print_line(f"and {more} more that fit; --json has them all")
    if choice.fitting:
        print_line(f"told from {', '.join(f'{mark} {kind}' for kind, mark in _MARKS.items())} figures; 1 is best")
    fallen = [each for each in choice.field if each.misses]
    print_line(f"{len(fallen)} of {len(choice.field)} do not fit")
    for each in fallen:
        print_line(f"  {line(each.candidate.name, 40):<26} {' '.join(miss.sentence for miss in each.misses)}")
    if choice.winner:
        _print_recommendation(choice, choice.winner)
    for note in choice.notes:
        print_line(f"note      {note}")


def _row(each: Ranked) -> list[str]:
    scores = [
        f"{score.likely:.2f} ±{(score.high - score.low) / 2:.2f}{_MARKS[score.kind]}" for score in each.scores.values()
    ]
    plan = each.plan
    taken = (
        [f"{plan.memory.likely / 1e9:.1f}", duration(plan.seconds.likely), f"{plan.money.likely:.2g}"] if plan else []
    )
    score = each.score.shown("{:.2f}".format)
    return [line(each.candidate.name, 40), str(each.rank), score, *scores, each.method or "–", *(taken or "–––")]


def _print_recommendation(choice: Choice, winner: Ranked) -> None:
    """Who, how, at what price, how sure, and what would change it."""
    from carrara.scorecard.weigh import told_switches

    how = f"tuned by {winner.method}" if winner.method else "as it is, since an embedder is not tuned"
    if winner.candidate.is_run:
        how = f"as it is, or tuned on by {winner.method}"
    print_line(f"take      {line(winner.candidate.name)}, {how}")
    if winner.plan and winner.method:
        print_line(f"plan      {_planned(winner.plan)}")
        print_line(f"basis     {winner.plan.basis}")
    if winner.licence:
        print_line(f"licence   {winner.licence.name}; commercial use: {winner.licence.commercial}")
        for duty in winner.licence.duties:
            print_line(f"          - {duty}")
    if choice.close:
        names = ", ".join(choice.close[:5]) + (f" and {len(choice.close) - 5} more" if len(choice.close) > 5 else "")
        print_line(f"close     the intervals of these reach its score: {names}")
    for sentence in told_switches(choice.switches, [each.candidate.name for each in choice.field]):
        print_line(f"weight    {sentence}")


def _planned(plan: Plan) -> str:
    memory, money = plan.memory.times(1e-9).shown("{:.1f}".format), plan.money.shown("{:.2g}".format)
    return f"memory {memory} GB, time {plan.seconds.shown(duration)}, money {money} {plan.currency}"
