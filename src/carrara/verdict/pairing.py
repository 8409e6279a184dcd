"""Two score files side by side: the same items, asked alike, under the same rules, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carrara.errors import Refusal
from carrara.evaluate.scores import Record

Pairs = list[tuple[Record, Record]]

_OF_WRITING = ("chat_template", "max_tokens", "stops", "signatures")  # rules in the receipt of a task that is written
_ALIKE = ("choices", "gold", "labels", "cluster")  # fields of an item that no model changes


def require_same_rules(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> None:
    """Raise Refusal where two receipts name unlike protocols, number formats or versions of the scorer."""
    unlike = {
        key for key in ("protocol", "dtype", "format") if key in base and key in tuned and base[key] != tuned[key]
    }
    if "protocol" in unlike:
        raise Refusal(
            f"the two were evaluated under different protocols ({_protocols(base, tuned)}); "
            "evaluate one of them again with the other's --protocol."
        )
    if "dtype" in unlike:
        raise Refusal(
            f"the base was evaluated in {base['dtype']} and the tuned model in {tuned['dtype']}, which alone moves "
            f"scores; evaluate the tuned model with --dtype {base['dtype']} or the base with --dtype {tuned['dtype']}."
        )
    if "format" in unlike:
        raise Refusal(
            f"the two were scored by different versions of the scorer (format {base['format']} and "
            f"{tuned['format']}); evaluate both again."
        )
    _require_same_writing(base.get("tasks") or {}, tuned.get("tasks") or {})


def _require_same_writing(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> None:
    """Prompts do not tell how long an answer may be, what ends it and what judges it."""
    for task in base.keys() & tuned.keys():
        before, after = base[task], tuned[task]
        is_written = "max_tokens" in before or "max_tokens" in after
        keys = (*_OF_WRITING, "sha256") if is_written else ()
        if unlike := [key for key in keys if before.get(key) != after.get(key)]:
            raise Refusal(
                f"task {task} was answered under other rules by one model than by the other ({', '.join(unlike)}); "
                "evaluate both again."
            )


def pair(task: str, base: Sequence[Record], tuned: Sequence[Record]) -> Pairs:
    """The same items side by side, in the base's order; raises Refusal if items, prompts or answers differ."""
    left, right = {record.item: record for record in base}, {record.item: record for record in tuned}
    if len(left) < len(base) or len(right) < len(tuned):
        twice = len(base) - len(left) + len(tuned) - len(right)
        raise Refusal(f"task {task}: {twice} items were scored more than once; evaluate the models again.")
    both = len(left.keys() & right.keys())
    if both < len(left) or both < len(right):
        raise Refusal(
            f"task {task}: {len(left) - both} items were scored only for the base and {len(right) - both} only for "
            f"the tuned model, {both} for both; evaluate both with the same limit and the same files."
        )
    pairs = [(record, right[item]) for item, record in left.items()]
    different = sum(before.prompt_sha256 != after.prompt_sha256 for before, after in pairs)
    if different:
        raise Refusal(
            f"task {task}: {different} of {both} items were asked with different prompts; "
            "evaluate both models with the same protocol, shots and template."
        )
    _require_same_answers(task, pairs)
    return pairs


def _require_same_answers(task: str, pairs: Pairs) -> None:
    """Equal prompts do not tell that the answers to choose from, or the right one, are equal."""
    unlike = [[field for field in _ALIKE if getattr(base, field) != getattr(tuned, field)] for base, tuned in pairs]
    fields = sorted({field for found in unlike for field in found}, key=_ALIKE.index)
    if fields:
        raise Refusal(
            f"task {task}: {sum(map(bool, unlike))} of {len(pairs)} items do not have the same {' and '.join(fields)} "
            "in both files; evaluate both models again with the same benchmark files."
        )


def _protocols(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> str:
    """The names of two protocols; of two by one name, what differs in them."""
    before, after = _fields(base["protocol"]), _fields(tuned["protocol"])
    if before.get("name") != after.get("name"):
        return f"{before.get('name')} for the base, {after.get('name')} for the tuned model"
    unlike = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return f"both named {before.get('name')}, with another {', '.join(unlike)}"


def _fields(protocol: Any) -> Mapping[str, Any]:
    return protocol if isinstance(protocol, Mapping) else {"name": protocol}
