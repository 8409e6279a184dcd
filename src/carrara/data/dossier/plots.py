"""A histogram as a small SVG without scripts; its colours are classes of the page's style sheet."""

from __future__ import annotations

from markupsafe import Markup

from carrara.data.dossier.content import Lengths

_LEFT, _RIGHT, _TOP, _FLOOR = 44, 392, 10, 150
_LABELS = 6  # at most, under the axis


def histogram(lengths: Lengths, unit: str) -> Markup:
    """How many rows have how many `unit`s; empty where there is no row."""
    bins = lengths["bins"]
    most = max((part["count"] for part in bins), default=0)
    if not most:
        return Markup("")
    width = (_RIGHT - _LEFT) / len(bins)
    top = _round_up(most)
    parts = [_rule(top * step / 2, top) for step in (0, 1, 2)]
    parts += [_bar(_LEFT + index * width, width, part["count"] / top) for index, part in enumerate(bins)]
    every = -(-len(bins) // _LABELS)
    edges = [(index, bins[index]["from"]) for index in range(0, len(bins), every)]
    parts += [_label(_LEFT + index * width, f"{edge:,}") for index, edge in edges]
    if len(bins) - edges[-1][0] >= every:  # the end, where it has room
        parts.append(_label(_RIGHT, f"{bins[-1]['to']:,}"))
    parts.append(Markup('<text class="middle" x="{}" y="186">{}s in a row</text>').format((_LEFT + _RIGHT) / 2, unit))
    figures = f"median {lengths['median']:,.0f}, 95 % up to {lengths['p95']:,.0f}, longest {lengths['longest']:,}"
    shape = '<svg role="img" viewBox="0 0 400 190" aria-label="{0}"><title>{0}</title>{1}</svg>'
    return Markup(shape).format(f"{unit.capitalize()}s in a row: {figures}", Markup("").join(parts))


def _bar(x: float, width: float, height: float) -> Markup:
    tall = height * (_FLOOR - _TOP)
    shape = '<rect class="bin" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    return Markup(shape).format(x + 0.5, _FLOOR - tall, max(width - 1, 0.5), tall)


def _rule(count: float, top: int) -> Markup:
    y = _FLOOR - count / top * (_FLOOR - _TOP)
    shape = '<path class="rule" d="M{0} {1:.1f}H{2}"/><text class="right" x="{3}" y="{4:.1f}">{5}</text>'
    return Markup(shape).format(_LEFT, y, _RIGHT, _LEFT - 6, y + 4, f"{count:,.0f}")


def _label(x: float, text: str) -> Markup:
    return Markup('<text class="middle" x="{:.1f}" y="167">{}</text>').format(x, text)


def _round_up(number: int) -> int:
    """The next even number of the form 2, 4, 6, 8 or 10 times a power of ten, so that its half is whole too."""
    power = 1
    while 10 * power < number:
        power *= 10
    return next(factor * power for factor in (2, 4, 6, 8, 10) if factor * power >= number)
