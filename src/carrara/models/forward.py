"""Running a causal model up to its last hidden state, and projecting only the positions that are needed.

Prompt and prefix tuning put virtual tokens in front of what the model reads. Here they are keys and values in a cache,
so that training, scoring and chatting see them alike, and they are computed once for all rows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

# What exists at once, whatever a pass holds; the planner counts with it.
LOGITS_AT_ONCE = MappingProxyType({"cpu": 96 << 20, "cuda": 512 << 20})  # bytes in float32; a GPU needs many to be busy
# At most so many queries attend at once, which bounds the scores. A row of at most so many places keeps its attention
# weights for the way back; those of a longer row are computed again.
QUERIES_AT_ONCE = 512

_UNKNOWN_SCALES = ("logit_scale", "logits_scaling")


@dataclass(frozen=True)
class Shared:
    """How texts that begin alike lie in one row: their opening once, then the rest of each, padded to one length."""

    opening: int  # places
    texts: int


def decoder_of(network: Any) -> Any:
    """The stack below the head, with adapters in place; `network` is a causal model or a PEFT wrapper of one."""
    causal = network.get_base_model() if hasattr(network, "get_base_model") else network
    return causal.get_decoder()


def virtual_tokens(network: Any) -> int:
    """How many virtual tokens stand before the first token of a text: 0 but for prompt and prefix tuning."""
    config = getattr(network, "active_peft_config", None)
    return config.num_virtual_tokens if config is not None and config.is_prompt_learning else 0


def hidden_states(
    network: Any,
    ids: torch.Tensor,
    mask: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    before: DynamicCache | None = None,
    shared: Shared | None = None,
) -> torch.Tensor:
    """The last hidden states `(rows, longest, width)` of `ids` `(rows, longest)`, without those of virtual tokens.

    `positions` `(rows, longest)` count from 0, anew for each text of a row. `mask` `(rows, 1, longest, longest)`,
    boolean or additive as transformers takes it, tells which token sees which; without one a token sees those before
    it in its text. Both are about `ids` alone. `before` is what `opening` and `read_on` left for these rows, for texts
    that go on; every token sees all of it, and it is used up. With `shared`, which only layers written by hand know
    (`tune/fused.py`), `ids` is one row, and a text sees the opening and itself.
    """
    cache = before if before is not None or not virtual_tokens(network) else opening(network, len(ids))
    if cache is not None and positions is not None:
        read = cache.get_seq_length()
        mask = _seeing_all(_within_texts(positions) if mask is None else mask, read)
        positions = positions + read
    more = {"shared": shared} if shared else {}
    return decoder_of(network)(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        **more,
    ).last_hidden_state


def read_on(network: Any, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """The last hidden states `(rows, longest, width)` of `ids` that follow what `cache` holds; it holds them after."""
    return decoder_of(network)(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state


def opening(network: Any, rows: int) -> DynamicCache:
    """A cache for a number of rows that holds the network's virtual tokens, if it has any, and nothing else."""
    from transformers import DynamicCache

    if not virtual_tokens(network):
        return DynamicCache(config=network.config)
    prompt = network.get_prompt(batch_size=1)
    if isinstance(prompt, DynamicCache):  # prefix tuning learns keys and values
        cache = prompt
    else:  # prompt tuning learns embeddings
        cache = DynamicCache()
        decoder_of(network)(inputs_embeds=prompt.to(network.dtype), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(rows)
    return cache


def _within_texts(positions: torch.Tensor) -> torch.Tensor:
    """The mask under which a token sees those before it in its text, `(rows, 1, longest, longest)`."""
    text = (positions == 0).cumsum(dim=1)
    return (text[:, None, :, None] == text[:, None, None, :]).tril()


def _seeing_all(mask: torch.Tensor, read: int) -> torch.Tensor:
    """The mask with `read` columns in front that every token sees."""
    import torch

    return torch.nn.functional.pad(mask, (read, 0), value=mask.dtype == torch.bool)


def check_head(network: Any) -> None:
    """Refuse a model that scales its logits in a way `project` does not know."""
    for name in _UNKNOWN_SCALES:
        if getattr(network.config, name, None) not in (None, 1, 1.0):
            raise Refusal(f"the model scales its logits by '{name}', which is not supported; choose another model.")


def project(network: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of hidden states `(n, width)`: `(n, vocabulary)`, in the network's precision."""
    import torch

    logits = network.get_output_embeddings()(hidden)
    cap = getattr(network.config, "final_logit_softcapping", None)
    return torch.tanh(logits.float() / cap) * cap if cap else logits
