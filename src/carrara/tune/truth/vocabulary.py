"""Do tokenizer and network speak of the same tokens?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from carrara.data.render.template import control_tokens
from carrara.tune.truth.finding import Finding
from carrara.tune.truth.subject import Subject

if TYPE_CHECKING:
    import torch

# Texts that look like control tokens: <|name|>, <｜name｜>, <start_of_turn>, <s>, </s>, [INST] and the like.
_CONTROL = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?[a-z]+(?:_[a-z]+)*>|\[/?[A-Z_]{3,20}\]")
_LEAST_USED = 0.9  # of the embeddings' rows; models pad their vocabulary by a few per cent
_LEAST_NORM = 0.01  # of the median embedding's


def check_vocabulary(subject: Subject) -> Iterator[Finding]:
    """The tokenizer's size, the template's control tokens, and the embeddings of those that rows use."""
    tokenizer: Any = subject.tokenizer
    weight = subject.training.network.get_input_embeddings().weight
    size, known = weight.shape[0], len(tokenizer)
    highest = max((max(row.ids) for row in subject.training.rows), default=0)
    if highest >= size:
        yield Finding(
            "vocabulary",
            f"the rows hold token {highest} ({subject.token(highest)}), but the model embeds only {size:,}; the "
            "tokenizer belongs to another model, or its new tokens go into tune.new_tokens.",
        )
        return
    if known < _LEAST_USED * size and not weight.is_quantized:
        yield Finding(
            "vocabulary",
            f"the tokenizer knows {known:,} tokens and the model embeds {size:,}; it belongs to another model. Use the "
            "tokenizer the model came with.",
        )
    yield from _split_controls(subject)
    yield from _untrained(subject, weight)


def _split_controls(subject: Subject) -> Iterator[Finding]:
    """Control tokens of the template that the vocabulary lacks, although it has others written like them.

    Some models write their roles as plain text that looks like a control token; their vocabularies have no such style.
    """
    tokenizer: Any = subject.tokenizer
    template = tokenizer.chat_template
    if subject.dataset.render != "chat" or not isinstance(template, str):
        return
    known = set(control_tokens(tokenizer))
    general = {tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token, tokenizer.unk_token}
    general.update(subject.training.recipe.new_tokens)  # which tell nothing of the model's own style
    styles = {_style(token) for token in known - general if _CONTROL.fullmatch(token)}
    vocabulary = tokenizer.get_vocab()
    for name in dict.fromkeys(_CONTROL.findall(template)):
        if name not in known and name not in vocabulary and _style(name) in styles:
            pieces = len(tokenizer.encode(name, add_special_tokens=False))
            yield Finding(
                "control-tokens",
                f"the chat template writes {name}, which this tokenizer does not know and cuts into {pieces} tokens; "
                "the template is another model's or misspells it. Mend chat_template, or add it to tune.new_tokens.",
            )
            return


def _style(token: str) -> str:
    """How a control token is written, without its name."""
    return re.sub(r"\w+", "", token)


def _untrained(subject: Subject, weight: torch.Tensor) -> Iterator[Finding]:
    """Control tokens in use whose embeddings are zeros or copies of another's, unless they are to be trained."""
    import torch

    if subject.training.recipe.method == "full" or not weight.is_floating_point():
        return
    tokenizer: Any = subject.tokenizer
    learned = {tokenizer.convert_tokens_to_ids(token) for token in subject.training.recipe.new_tokens}
    controls = {tokenizer.convert_tokens_to_ids(token) for token in control_tokens(tokenizer)}
    used = {number for row in subject.sampled_rows[:512] for number in row.ids}
    norms = weight.detach().norm(dim=1, dtype=torch.float32)
    least = _LEAST_NORM * norms.median()
    for number in sorted(used & controls - learned):
        alike = torch.nonzero(norms == norms[number]).flatten().tolist()
        twins = [other for other in alike if other != number and torch.equal(weight[other], weight[number])]
        if norms[number] <= least or twins:
            state = f"the same as that of {subject.token(twins[0])}" if twins else "next to nothing"
            yield Finding(
                "untrained-tokens",
                f"rows use the control token {subject.token(number)} (id {number}), whose embedding is {state}: it was "
                f"never trained and method {subject.training.recipe.method} leaves it so. Name it in tune.new_tokens, "
                "use method full, or the instruct model.",
            )
            return
