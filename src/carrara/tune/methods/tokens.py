"""New special tokens: into the tokenizer, and as rows of embedding and head that learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from carrara.errors import Refusal
from carrara.models.load import Loaded, make_room


def add_tokens(loaded: Loaded, tokens: Sequence[str]) -> list[int]:
    """Make the tokens special ones of the tokenizer, with room in the network; gives their ids.

    A token that the tokenizer did not have begins as the mean of all others. Raises Refusal for a blank one.
    """
    import torch

    if not tokens:
        return []
    if any(not token.strip() for token in tokens):
        raise Refusal("tune.new_tokens holds a blank token; give it a name such as '<|tool|>'.")
    tokenizer: Any = loaded.tokenizer
    before = len(tokenizer)
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(dict.fromkeys(tokens)))
    make_room(loaded.network, len(tokenizer))
    new = [index for index in ids if index >= before]
    with torch.no_grad():
        for module in _tables(loaded.network).values():
            module.weight[new] = module.weight[:before].mean(dim=0)
    return ids


def where_learned(network: Any, ids: list[int]) -> dict[str, list[int]] | None:
    """The rows that learn, by the name of the module that holds them, as PEFT asks for them."""
    return dict.fromkeys(_tables(network), ids) if ids else None


def _tables(network: Any) -> dict[str, Any]:
    """Embedding and, where it is not the same, head, by the last part of their names."""
    found = {network.get_input_embeddings(): "", network.get_output_embeddings(): ""}
    names = {module: name.rpartition(".")[2] for name, module in network.named_modules() if module in found}
    embedding, head = found
    tied = head.weight is embedding.weight
    return {names[module]: module for module in ([embedding] if tied else [embedding, head])}
