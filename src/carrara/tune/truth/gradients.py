"""Does a step learn what it should, of the rows it is given and of nothing else?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from carrara.data.render.batches import collate, common_opening
from carrara.data.render.example import Rendered
from carrara.tune.loop import held_out_loss
from carrara.tune.training import Training
from carrara.tune.truth.finding import Finding
from carrara.tune.truth.passes import Pass, differing, plain_pass, step_pass, wake
from carrara.tune.truth.subject import Subject

_ROWS = 8
_LONGEST = 20  # tokens of the longest, behind the opening; the others are shorter by two each
_OPENING = 4  # tokens of what all rows begin with that stay, so that a pass computes them once for all
_END = 2  # tokens of an answer's end that stay
_ALL = 1 << 20  # places: more than the rows have


def check_gradients(subject: Subject) -> Iterator[Finding]:
    """A few of the user's rows, shortened to unequal lengths, go through the step in several ways."""
    training = subject.training
    rows = short_rows(training.rows)
    if not rows:
        return
    wake(training)
    plain = plain_pass(training, rows)
    if all(places is None for places in plain.gradient.values()):
        yield Finding("trained", "nothing that should learn is connected to the loss; no step would change it.")
        return
    yield from _compared(subject, rows, plain)
    yield from _trained(training, step_pass(training, rows, 1, packed=False))
    yield from _neighbours(subject, rows)
    yield from _positions(training, rows)
    yield from _measured(subject, rows, plain)


def short_rows(rows: Sequence[Rendered]) -> list[Rendered]:
    """Up to eight rows of unequal lengths, cut out of those of the user."""
    step = max(1, len(rows) // _ROWS)
    chosen = sorted(rows[::step][:_ROWS], key=lambda row: len(row.ids))
    opening = min(_OPENING, common_opening(chosen), *(row.supervised.index(True) for row in chosen)) if chosen else 0
    return [_shortened(row, _LONGEST - 2 * place, opening) for place, row in enumerate(reversed(chosen))]


def _shortened(row: Rendered, length: int, opening: int) -> Rendered:
    """How it begins, where the first answer begins, and how it ends: a fault may well be about nothing but the end."""
    mask = (*row.supervised, False)
    first = mask.index(True)
    end, half = mask.index(False, first), length // 2
    begins = range(max(opening, first - half), min(end, first + half - _END))
    places = [*range(opening), *begins, *range(max(begins.stop, end - _END), end)]
    ids, learned = ([sequence[place] for place in places] for sequence in (row.ids, row.supervised))
    return replace(row, ids=tuple(ids), supervised=(False, *learned[1:]))


def _compared(subject: Subject, rows: Sequence[Rendered], plain: Pass) -> Iterator[Finding]:
    training, two = subject.training, 2 * max(len(row.ids) for row in rows)
    ways = (
        ("loss", 1, False, "one row at a time, a training step"),
        ("accumulation", _ALL, False, f"a step of all {len(rows)} rows at once"),
        ("accumulation", two, False, "a step of two rows at a time"),
        ("packing", _ALL, True, f"a step of all {len(rows)} rows in one window"),
    )
    for check, tokens, packed, way in ways:
        step = partial(step_pass, training, rows, tokens, packed)
        if apart := differing(training, rows, plain, step, subject.dtype):
            found, right = apart
            yield Finding(
                check,
                f"{way} gives a loss of {found.loss:.4f}, and the model's own logits give {right.loss:.4f} on the same "
                f"tokens; their gradients differ by {found.gap(right):.1%}. This is a fault in training itself; report "
                "it.",
            )


def _neighbours(subject: Subject, rows: Sequence[Rendered]) -> Iterator[Finding]:
    """Other tokens in a row's neighbours, at the same places, must not move its loss at all.

    The shapes are the same, so that not even rounding differs, and the smallest leak shows in any precision.
    """
    if len(rows) < 3:
        return
    probe = rows[-2]
    beside = [replace(row, supervised=(False,) * len(row.ids)) for row in (rows[-3], rows[-1])]
    opening = subject.training.opening([probe, *beside])
    others = [replace(row, ids=_other_ids(row.ids, probe.ids, opening)) for row in beside]
    one, other = (
        step_pass(subject.training, [first, probe, last], _ALL, subject.training.packed)
        for first, last in (beside, others)
    )
    if abs(one.loss - other.loss) > 1e-6 * abs(one.loss) or one.gap(other) > 1e-4:
        yield Finding(
            "neighbours",
            f"the loss of row {probe.row} moves from {one.loss:.5f} to {other.loss:.5f} when the rows beside it in a "
            "pass change, so rows read each other. This is a fault in training itself; report it.",
        )


def _other_ids(ids: tuple[int, ...], probe: tuple[int, ...], opening: int) -> tuple[int, ...]:
    """Other ids behind the opening that is shared with the probe, as many, and what is shared grows no longer."""
    others = sorted(ids[opening:], key=lambda each: (each == probe[opening], -each))
    return (*ids[:opening], *others)


def _positions(training: Training, rows: Sequence[Rendered]) -> Iterator[Finding]:
    tensors = collate(rows, training.device, packed=True)
    wanted = [place for row in rows for place in range(len(row.ids))]
    if len(rows) > 1 and (tensors.places is None or tensors.places[0].tolist() != wanted):
        yield Finding(
            "positions",
            "rows that share a window do not each count their positions from 0, so they would run on past the model's "
            "context. This is a fault in training itself; report it.",
        )


def _trained(training: Training, found: Pass) -> Iterator[Finding]:
    """A gradient on everything that the optimizer holds, and on nothing else."""
    still = found.gradient.keys() - found.moved
    still = sorted(name for name in still if "trainable_tokens" not in name)  # these need their tokens among the rows
    if still:
        yield Finding(
            "trained",
            f"{len(still)} of {len(found.gradient)} parameters that should learn get no gradient, so {still[0]}; they "
            "are not connected to the loss.",
        )
    held = {id(parameter) for parameter in training.optimizer.parameters.values()}
    stray = [
        name for name, each in training.network.named_parameters() if each.grad is not None and id(each) not in held
    ]
    if stray:
        yield Finding("trained", f"{len(stray)} parameters outside the optimizer get a gradient, so {stray[0]}.")


def _measured(subject: Subject, rows: Sequence[Rendered], plain: Pass) -> Iterator[Finding]:
    """Held-out loss is the model's own, the same each time, whatever mode training left the network in."""
    training = subject.training

    def measured() -> Pass:
        training.network.train()
        loss = held_out_loss(training, rows, _ALL)
        training.network.eval()
        return Pass(loss, {})

    found, again = measured(), measured()
    apart = differing(training, rows, plain, measured, subject.dtype)
    if found != again or apart:
        right = apart[1] if apart else plain
        yield Finding(
            "dropout",
            f"the held-out loss is measured as {found.loss:.6f} and then as {again.loss:.6f}, where the model's own "
            f"logits give {right.loss:.6f}; something is dropped out or left out. This is a fault in training itself; "
            "report it.",
        )
