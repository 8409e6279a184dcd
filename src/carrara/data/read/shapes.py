"""Shapes of records: which fields hold which parts of an example, found from a file's first rows or said by a map."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carrara.data.example import Example, Message
from carrara.data.read.bad import BadField, kind_of, named
from carrara.data.read.conversation import check_text, read_messages, read_tools
from carrara.errors import Refusal

PARTS = ("prompt", "completion", "system", "label", "text", "sentence1", "sentence2", "score", "messages",
         "instruction", "input", "output")  # fmt: skip
EXPECTED = "prompt and completion, messages, instruction and output, text and label, two sentences and a score, or text"


@dataclass(frozen=True)
class Form:
    """A known shape: the parts it must have, those it may have, and under which names (the first is its own)."""

    name: str
    required: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Shape:
    """The shape of a file's rows: its name, the field that holds each part, and the field of the group."""

    name: str
    fields: Mapping[str, str]
    group: str | None = None

    @property
    def renamed(self) -> dict[str, str]:
        """The parts whose fields have other names than the part."""
        return {part: field for part, field in self.fields.items() if part != field}


_SYSTEM = {"system": ("system", "system_prompt")}
_LABEL = {"label": ()}  # only where a map names it
_QUESTIONS = ("question", "query")
_ANSWERS = ("response", "answer", "completion")
_FORMS = (
    Form("messages", {"messages": ("messages", "conversations")}, {"tools": ("tools",), **_SYSTEM, **_LABEL}),
    Form("instruction", {"instruction": ("instruction", "prompt", *_QUESTIONS), "input": ("input", "context"),
         "output": ("output", *_ANSWERS)}, {**_SYSTEM, **_LABEL}),
    Form("prompt/completion", {"prompt": ("prompt", *_QUESTIONS, "input"), "completion": ("completion", "answer",
         "response", "output")}, {**_SYSTEM, **_LABEL}),
    Form("instruction", {"instruction": ("instruction",), "output": ("output", *_ANSWERS)},
         {"input": ("input", "context"), **_SYSTEM, **_LABEL}),
    Form("sentence pair", {"sentence1": ("sentence1",), "sentence2": ("sentence2",), "score": ("score",
         "similarity_score")}, _LABEL),
    Form("text and label", {"text": ("text", "sentence"), "label": ("label",)}, {}),
    Form("document", {"text": ("text",)}, _LABEL),
)  # fmt: skip
KNOWN_NAMES = frozenset(
    name for form in _FORMS for parts in (form.required, form.optional) for names in parts.values() for name in names
)
_PROMPTS = ("prompt", "question", "query", "instruction", "problem", "input", "user", "title")
_COMPLETIONS = ("completion", "answer", "response", "output", "target", "solution", "assistant", "summary", "body")
_ABSENT = object()


def check_map(mapping: Mapping[str, str]) -> None:
    """Refuse a map with a part that no shape has."""
    for part, field in mapping.items():
        if part not in PARTS or not field:
            what = f"names the part '{part}'" if part not in PARTS else f"gives no field for '{part}'"
            raise Refusal(f"the map {what}; write --map part=field with the parts {', '.join(PARTS)}.")


def look_up(record: Mapping[str, Any], field: str) -> Any:
    """The value of a field, or of a dotted path into objects and lists; `_ABSENT` where there is none."""
    if field in record:
        return record[field]
    value: Any = record if "." in field else _ABSENT
    for step in field.split(".") if "." in field else ():
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and len(step) < 10 and int(step) < len(value):
            value = value[int(step)]
        else:
            return _ABSENT
    return value


def has_field(record: Mapping[str, Any], field: str) -> bool:
    return look_up(record, field) is not _ABSENT


# ---- detection ----


def detect_shape(records: Sequence[Mapping[str, Any]], mapping: Mapping[str, str], group: str | None) -> Shape | None:
    """The shape that most records have, the first of equals; None if none has a known one."""
    found = [match for record in records if (match := _match(record, mapping))]
    if not found:
        return None
    votes = Counter((form.name, _key(form, fields)) for form, fields in found)
    best = votes.most_common(1)[0][0]
    chosen = [(form, fields) for form, fields in found if (form.name, _key(form, fields)) == best]
    fields = {part: field for _, match in chosen for part, field in match.items()}
    name = best[0]
    if name == "messages" and any(_is_sharegpt(record, fields["messages"]) for record in records):
        name = "ShareGPT"
    return Shape(name, fields, group)


def _key(form: Form, fields: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(fields[part] for part in form.required)


def _is_sharegpt(record: Mapping[str, Any], field: str) -> bool:
    turns = look_up(record, field)
    return isinstance(turns, list) and any(isinstance(turn, dict) and "from" in turn for turn in turns)


def _match(record: Mapping[str, Any], mapping: Mapping[str, str]) -> tuple[Form, dict[str, str]] | None:
    """The first form whose parts a record has by their own names, else by names that can only mean them."""
    forms = [form for form in _FORMS if set(mapping) <= {*form.required, *form.optional}]
    folded: dict[str, list[str]] = {}
    for key in record:
        folded.setdefault(str(key).strip().lower().replace(" ", "_"), []).append(key)
    for is_loose in (False, True):
        for form in forms:
            if form.name == "document" and not is_loose:  # text with anything better is no document
                continue
            required = {part: _resolve(record, folded, mapping.get(part), names if is_loose else names[:1])
                        for part, names in form.required.items()}  # fmt: skip
            if all(required.values()):
                optional = {part: _resolve(record, folded, mapping.get(part), names[:1])
                            or _resolve(record, folded, mapping.get(part), names)
                            for part, names in form.optional.items()}  # fmt: skip
                return form, {part: field for part, field in (required | optional).items() if field}
    return None


def _resolve(
    record: Mapping[str, Any], folded: Mapping[str, list[str]], mapped: str | None, names: Sequence[str]
) -> str | None:
    if mapped:
        return mapped if has_field(record, mapped) else None
    if names and names[0] in record and len(names) == 1:
        return names[0]
    found = [field for name in names for field in folded.get(name, ())]
    return found[0] if len(found) == 1 else None


def propose_map(record: Mapping[str, Any]) -> str | None:
    """The option that would most likely make prompt and completion out of the texts of a record."""
    names = [(path, path.rpartition(".")[2].lower()) for path in _text_paths(record, "", 3)]
    completion = next((path for word in _COMPLETIONS for path, name in names if word in name), None)
    rest = [(path, name) for path, name in names if path != completion]
    prompt = next((path for word in _PROMPTS for path, name in rest if word in name), rest[0][0] if rest else None)
    parent = str(prompt).rpartition(".")[0]
    beside = (path for path, _ in reversed(names) if path != prompt and path.rpartition(".")[0] == parent)
    completion = completion or next(beside, None)
    if prompt is None or completion is None:
        return None
    text = named(f"prompt={prompt},completion={completion}")
    return f'--map "{text}"' if " " in text else f"--map {text}"


def _text_paths(value: Any, path: str, depth: int) -> list[str]:
    """Where the texts in a value are, as a map can name them; of a list only the first."""
    if isinstance(value, str):
        return [path]
    inner = value.items() if isinstance(value, Mapping) else enumerate(value[:1]) if isinstance(value, list) else ()
    steps = [(str(key), part) for key, part in inner if depth and not any(mark in str(key) for mark in ",=.")]
    return [found for key, part in steps for found in _text_paths(part, f"{path}.{key}".lstrip("."), depth - 1)]


# ---- records as examples ----


def read_example(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    """The example that a record of a shape is; raises BadField."""
    try:
        return _READERS[shape.name](shape, record, row, file)
    except BadField as bad:
        other = detect_shape([record], {}, None) if bad.field in shape.fields.values() else None
        is_lesser = other is not None and other.name == "document" and "text" in shape.fields
        if other and other.name != shape.name and not is_lesser and not has_field(record, str(bad.field)):
            raise BadField(None, f"is of the shape {other.name}, but the rows of this file are {shape.name}") from bad
        raise


def _text(record: Mapping[str, Any], field: str) -> str:
    value = look_up(record, field)
    if value.__class__ is not str:
        if value is _ABSENT:
            raise BadField(field, "is missing")
        raise BadField(field, f"is {kind_of(value)}, not a text")
    check_text(field, value)
    return value


def _filled(record: Mapping[str, Any], field: str, why: str = "") -> str:
    value = _text(record, field)
    if not value or value.isspace():
        raise BadField(field, f"is empty{why}")
    return value


def _plain(record: Mapping[str, Any], field: str) -> str:
    """A class or score as text: numbers and truth values are allowed."""
    value = look_up(record, field)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return _filled(record, field).strip()


def _make(
    shape: Shape,
    record: Mapping[str, Any],
    messages: tuple[Message, ...],
    supervised: tuple[int, ...],
    row: int,
    file: str,
    **parts: Any,
) -> Example:
    if "label" in shape.fields and "label" not in parts:
        parts["label"] = _plain(record, shape.fields["label"])
    if shape.group:
        parts["group"] = _group(record, shape.group)
    if (field := shape.fields.get("system")) and messages[0].role != "system":
        system = look_up(record, field)
        if system is not _ABSENT and system is not None and (text := _text(record, field)).strip():
            messages = (Message("system", text), *messages)
            supervised = tuple(place + 1 for place in supervised)
    return Example(messages, supervised, row, file, **parts)


def _group(record: Mapping[str, Any], field: str) -> str | None:
    value = look_up(record, field)
    if value is _ABSENT or value is None or value == "" or value != value:
        return None
    if isinstance(value, str):
        check_text(field, value)
        return value
    if not isinstance(value, int | float):
        raise BadField(field, f"is {kind_of(value)}, which names no group")
    return _plain(record, field)


def _pair(shape: Shape, record: Mapping[str, Any], prompt: str, field: str, row: int, file: str) -> Example:
    completion = _filled(record, field, ", so there is nothing to learn")
    if _repeats(prompt, completion):
        raise BadField(field, "only repeats the prompt, so there is nothing to learn")
    return _make(shape, record, (Message("user", prompt), Message("assistant", completion)), (1,), row, file)


def _repeats(prompt: str, completion: str) -> bool:
    """Whether two texts differ in nothing but white space and case."""
    if prompt.lstrip()[:1].casefold() != completion.lstrip()[:1].casefold():
        return False
    return "".join(prompt.split()).casefold() == "".join(completion.split()).casefold()


def _from_prompt(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    fields = shape.fields
    return _pair(shape, record, _filled(record, fields["prompt"]), fields["completion"], row, file)


def _from_instruction(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    fields = shape.fields
    instruction = _filled(record, fields["instruction"])
    field = fields.get("input")
    given = look_up(record, field) if field else None
    context = _text(record, field) if field and given is not None and given is not _ABSENT else ""
    prompt = f"{instruction}\n\n{context}" if context.strip() else instruction
    return _pair(shape, record, prompt, fields["output"], row, file)


def _from_messages(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    field = shape.fields["messages"]
    value = look_up(record, field)
    if value is _ABSENT:
        raise BadField(field, "is missing")
    messages, supervised = read_messages(field, value)
    if len(supervised) == 1:
        answer, before = messages[supervised[0]], messages[supervised[0] - 1]
        if not answer.extra and before.role == "user" and _repeats(before.content, answer.content):
            raise BadField(f"{field}[{supervised[0]}].content", "only repeats the prompt, so there is nothing to learn")
    tools = shape.fields.get("tools")
    declared = look_up(record, tools) if tools else None
    parts = {"tools": read_tools(tools, declared)} if tools and declared is not None and declared is not _ABSENT else {}
    return _make(shape, record, messages, supervised, row, file, **parts)


def _from_sentences(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    first, second = (_filled(record, shape.fields[part]) for part in ("sentence1", "sentence2"))
    text = _plain(record, shape.fields["score"])
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadField(shape.fields["score"], "is no number")
    prompt = f"Sentence 1: {first}\nSentence 2: {second}\nHow similar are the two sentences? Answer with a number."
    messages = (Message("user", prompt), Message("assistant", text))
    return _make(shape, record, messages, (1,), row, file, pair=(first, second), score=score)


def _from_label(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    text, label = _filled(record, shape.fields["text"]), _plain(record, shape.fields["label"])
    return _make(shape, record, (Message("user", text), Message("assistant", label)), (1,), row, file, label=label)


def _from_document(shape: Shape, record: Mapping[str, Any], row: int, file: str) -> Example:
    text = _filled(record, shape.fields["text"], ", so there is nothing to learn")
    return _make(shape, record, (Message("assistant", text),), (0,), row, file)


_READERS: Mapping[str, Callable[[Shape, Mapping[str, Any], int, str], Example]] = {
    "messages": _from_messages,
    "ShareGPT": _from_messages,
    "prompt/completion": _from_prompt,
    "instruction": _from_instruction,
    "sentence pair": _from_sentences,
    "text and label": _from_label,
    "document": _from_document,
}
