"""What a broken trainer would do with the rows it is given: each fault replaces the function that the loop calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import torch

import carrara.data.render.dataset as rendering
import carrara.tune.loop as loop
import carrara.tune.objective as objective
import carrara.tune.step as step
import carrara.tune.training as training
from carrara.data.render.batches import Tensors
from carrara.data.render.example import Rendered
from carrara.tune.optimizer import Optimizer
from tests.faults.ground import Broken, DoesNotApply, SetUp, TrainerFault
from tests.faults.rows import chats

# ---- what is learned of a row ----


def rendered(change: Callable[[Rendered], Rendered]) -> Broken:
    """Each row changed once it is rendered."""

    def make(render: Any) -> Any:
        def wrong(*args: Any) -> Any:
            return [change(row) if isinstance(row, Rendered) else row for row in render(*args)]

        return wrong

    return Broken(((rendering, "render_examples", make),))


def _remask(row: Rendered, learned: Callable[[int, Sequence[bool]], bool]) -> Rendered:
    mask = tuple(learned(place, row.supervised) for place in range(len(row.ids)))
    return replace(row, supervised=(False, *mask[1:]))


def mask_late(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 3)
    return rendered(lambda row: _remask(row, lambda i, mask: i >= by and mask[i - by]))


def mask_early(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 3)
    return rendered(lambda row: _remask(row, lambda i, mask: i + by < len(mask) and mask[i + by]))


def prompt_learned(setup: SetUp, chance: random.Random) -> Broken:
    return rendered(lambda row: _remask(row, lambda i, mask: True))


def header_learned(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 4)
    return rendered(lambda row: _remask(row, lambda i, mask: any(mask[i : i + by + 1])))


def end_not_learned(setup: SetUp, chance: random.Random) -> Broken:
    return rendered(lambda row: _remask(row, lambda i, mask: mask[i] and i + 1 < len(mask) and mask[i + 1]))


def first_token_not_learned(setup: SetUp, chance: random.Random) -> Broken:
    return rendered(lambda row: _remask(row, lambda i, mask: mask[i] and mask[i - 1]))


def last_answer_only(setup: SetUp, chance: random.Random) -> Broken:
    setup.rows = chats(chance, 40, setup.kit.system)

    def last(row: Rendered) -> Rendered:
        cut = max((i for i, learned in enumerate(row.supervised) if not learned), default=0)
        return _remask(row, lambda i, mask: mask[i] and i > cut)

    return rendered(last)


def answers_cut_behind(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(2, 6)
    return rendered(lambda row: replace(row, ids=row.ids[:-by], supervised=row.supervised[:-by]))


def padding_in_rows(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 8)
    return rendered(
        lambda row: replace(row, ids=row.ids + (row.ids[-1],) * by, supervised=row.supervised + (True,) * by)
    )


def bos_added(setup: SetUp, chance: random.Random) -> Broken:
    bos = setup.kit.bos
    if not setup.kit.adds_bos or bos is None:
        raise DoesNotApply
    number = setup.tokens.specials.index(bos)
    return rendered(lambda row: replace(row, ids=(number, *row.ids), supervised=(False, *row.supervised)))


def prompt_altered(setup: SetUp, chance: random.Random) -> Broken:
    """As by a template of the trainer's own that differs from the model's by a character."""
    after = chance.randint(3, 6)

    def altered(row: Rendered) -> Rendered:
        ids = (*row.ids[:after], row.ids[after], *row.ids[after:])
        return replace(row, ids=ids, supervised=(*row.supervised[:after], False, *row.supervised[after:]))

    return rendered(altered)


# ---- tensors ----


def _collated(change: Callable[[Tensors, Sequence[Rendered]], Tensors]) -> Broken:
    def make(collate: Any) -> Any:
        return lambda rows, *args, **more: change(collate(rows, *args, **more), rows)

    return Broken(tuple((module, "collate", make) for module in (step, loop)))


def labels_shifted_twice(setup: SetUp, chance: random.Random) -> Broken:
    return _collated(lambda t, rows: replace(t, positions=(t.positions - 1).clamp_min(0)))


def labels_not_shifted(setup: SetUp, chance: random.Random) -> Broken:
    return _collated(lambda t, rows: replace(t, positions=(t.positions + 1).clamp_max(t.ids.numel() - 1)))


def targets_rolled(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 3)
    return _collated(lambda t, rows: replace(t, targets=t.targets.roll(by)))


def end_taken_for_padding(setup: SetUp, chance: random.Random) -> Broken:
    ends = torch.tensor([setup.tokens.specials.index(setup.kit.end)])

    def change(t: Tensors, rows: Sequence[Rendered]) -> Tensors:
        kept = ~torch.isin(t.targets, ends)
        return replace(t, positions=t.positions[kept], targets=t.targets[kept])

    return _collated(change)


def padding_learned(setup: SetUp, chance: random.Random) -> Broken:
    def change(t: Tensors, rows: Sequence[Rendered]) -> Tensors:
        flat = t.ids.flatten()
        ends = [n * t.ids.shape[1] + len(row.ids) - 1 for n, row in enumerate(rows) if t.places is None]
        more = [p for p in ends if (p + 1) % t.ids.shape[1]]
        positions = torch.cat([t.positions, torch.tensor(more, dtype=torch.long)])
        return replace(t, positions=positions, targets=torch.cat([t.targets, flat[[p + 1 for p in more]]]))

    return _collated(change)


def some_targets_lost(setup: SetUp, chance: random.Random) -> Broken:
    each = chance.randint(3, 8)

    def change(t: Tensors, rows: Sequence[Rendered]) -> Tensors:
        kept = torch.arange(len(t.targets)) % each > 0
        return replace(t, positions=t.positions[kept], targets=t.targets[kept])

    return _collated(change)


def packed_rows_read_each_other(setup: SetUp, chance: random.Random) -> Broken:
    def change(t: Tensors, rows: Sequence[Rendered]) -> Tensors:
        return t if t.places is None else replace(t, places=torch.arange(t.ids.shape[1])[None])

    return _collated(change)


def no_places(setup: SetUp, chance: random.Random) -> Broken:
    return _collated(lambda t, rows: replace(t, places=None))


def packed_borders_shifted(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 2)

    def change(t: Tensors, rows: Sequence[Rendered]) -> Tensors:
        return t if t.places is None else replace(t, places=t.places.roll(by, dims=1))

    return _collated(change)


# ---- the step ----


def _learning(make: Callable[[Any], Any]) -> Broken:
    return Broken(((step, "learn", make),))


def mean_of_means(setup: SetUp, chance: random.Random) -> Broken:
    """Each pass weighs the same, however many tokens it has."""

    def make(learn: Any) -> Any:
        return lambda network, tensors, scale: (
            learn(network, tensors, 1 / max(1, len(tensors.targets))) * (1 / (scale * max(1, len(tensors.targets))))
        )

    return _learning(make)


def loss_not_normalised(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.choice([0.5, 2, 8, 100])
    return _learning(lambda learn: lambda network, tensors, scale: learn(network, tensors, scale * by) * by)


def divided_by_all_tokens(setup: SetUp, chance: random.Random) -> Broken:
    def make(learn: Any) -> Any:
        return lambda network, t, scale: (share := len(t.targets) / t.ids.numel()) * learn(network, t, scale * share)

    return _learning(make)


def gradient_not_normalised(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.choice([0.25, 3, 16])
    return _learning(lambda learn: lambda network, tensors, scale: learn(network, tensors, scale * by))


def gradients_overwritten(setup: SetUp, chance: random.Random) -> Broken:
    def make(collect: Any) -> Any:
        def wrong(self: Optimizer) -> None:
            self.forget_gradients()
            collect(self)

        return wrong

    return Broken(((Optimizer, "collect_gradients", make),))


def gradients_kept(setup: SetUp, chance: random.Random) -> Broken:
    """The network's own gradients are not freed and count again in each later pass."""

    def make(collect: Any) -> Any:
        def wrong(self: Optimizer) -> None:
            kept = {name: each.grad for name, each in self.parameters.items()}
            collect(self)
            for name, gradient in kept.items():
                self.parameters[name].grad = gradient

        return wrong

    return Broken(((Optimizer, "collect_gradients", make),))


def last_pass_dropped(setup: SetUp, chance: random.Random) -> Broken:
    return Broken(((step, "passes", lambda f: lambda *args, **more: f(*args, **more)[:-1] or f(*args, **more)),))


def rows_dropped(setup: SetUp, chance: random.Random) -> Broken:
    def make(f: Any) -> Any:
        return lambda *args, **more: [part[:-1] if len(part) > 1 else part for part in f(*args, **more)]

    return Broken(((step, "passes", make),))


def rows_twice(setup: SetUp, chance: random.Random) -> Broken:
    def make(f: Any) -> Any:
        return lambda *args, **more: [[*part, part[0]] if len(part) > 1 else part for part in f(*args, **more)]

    return Broken(((step, "passes", make),))


# ---- the objective ----


def _loss(change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Broken:
    """`change` gives the summed loss of logits and targets."""

    def make(old: Any) -> Any:
        del old

        def into_gradient(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> Any:
            leaf = logits.detach().float().requires_grad_()
            loss = change(leaf, targets)
            loss.backward()
            assert leaf.grad is not None
            return (leaf.grad * scale).to(logits.dtype), loss.detach()

        return into_gradient

    return Broken(((objective, "into_gradient", make),))


def labels_smoothed(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.uniform(0.1, 0.3)
    return _loss(
        lambda logits, targets: torch.nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=by)
    )


def logits_scaled(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.choice([0.5, 0.8, 1.3, 2.0])
    return _loss(lambda logits, targets: torch.nn.functional.cross_entropy(logits * by, targets, reduction="sum"))


def loss_is_a_mean(setup: SetUp, chance: random.Random) -> Broken:
    return _loss(lambda logits, targets: torch.nn.functional.cross_entropy(logits, targets))


def _states(change: Callable[[torch.Tensor], torch.Tensor]) -> Broken:
    return Broken(((objective, "hidden_states", lambda f: lambda *args, **more: change(f(*args, **more))),))


def states_cut_off(setup: SetUp, chance: random.Random) -> Broken:
    """Nothing goes back through the network."""
    return _states(lambda states: states.detach().requires_grad_() + 0)


def norm_left_out(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.uniform(1.5, 4)
    return _states(lambda states: states * by)


def head_on_wrong_places(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.randint(1, 4)
    return _states(lambda states: states.roll(by, dims=1))


def sees_what_follows(setup: SetUp, chance: random.Random) -> Broken:
    def make(f: Any) -> Any:
        def wrong(network: Any, ids: torch.Tensor, **more: Any) -> torch.Tensor:
            rows, longest = ids.shape
            return f(network, ids, torch.ones(rows, 1, longest, longest, dtype=torch.bool), **more)

        return wrong

    return Broken(((objective, "hidden_states", make),))


def rows_read_each_other(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.uniform(1e-3, 0.3)
    return _states(lambda states: states + by * states.mean(dim=(0, 1), keepdim=True))


def opening_too_long(setup: SetUp, chance: random.Random) -> Broken:
    """A token that one row has behind what all begin with is taken for that of all."""
    tune = setup.recipe["tune"]
    if tune.get("dropout") or tune.get("method") in ("prefix", "prompt"):
        raise DoesNotApply

    def shared(rows: Sequence[Rendered]) -> int:
        alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(row.ids for row in rows)))
        return min(len([*alike]) + 1, *(len(row.ids) - 1 for row in rows))

    return Broken(((training, "shared_opening", lambda f: shared),))


FAULTS: Mapping[str, TrainerFault] = MappingProxyType(
    {
        "mask too late": mask_late,
        "mask too early": mask_early,
        "prompt learned": prompt_learned,
        "header learned": header_learned,
        "end not learned": end_not_learned,
        "first token not learned": first_token_not_learned,
        "only the last answer learned": last_answer_only,
        "answers cut behind": answers_cut_behind,
        "padding as part of rows": padding_in_rows,
        "BOS added in training alone": bos_added,
        "prompt altered in training alone": prompt_altered,
        "labels shifted twice": labels_shifted_twice,
        "labels not shifted": labels_not_shifted,
        "targets rolled": targets_rolled,
        "end taken for padding": end_taken_for_padding,
        "padding learned": padding_learned,
        "some targets lost": some_targets_lost,
        "packed rows read each other": packed_rows_read_each_other,
        "packed rows without places": no_places,
        "packed rows' borders shifted": packed_borders_shifted,
        "mean of means": mean_of_means,
        "loss not normalised": loss_not_normalised,
        "divided by all tokens": divided_by_all_tokens,
        "gradient not normalised": gradient_not_normalised,
        "gradients overwritten": gradients_overwritten,
        "gradients kept": gradients_kept,
        "last pass dropped": last_pass_dropped,
        "rows dropped": rows_dropped,
        "rows twice": rows_twice,
        "labels smoothed": labels_smoothed,
        "logits scaled": logits_scaled,
        "loss is a mean": loss_is_a_mean,
        "nothing flows back": states_cut_off,
        "last states scaled": norm_left_out,
        "head on wrong places": head_on_wrong_places,
        "attention sees what follows": sees_what_follows,
        "rows read each other": rows_read_each_other,
        "a shared opening taken too long": opening_too_long,
    }
)
