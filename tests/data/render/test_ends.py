"""Which tokens end an answer."""

from __future__ import annotations

from carrara.data.render.ends import end_tokens
from carrara.models import Model
from carrara.models.load import load_model


def test_tokenizer_settings_and_template_each_name_an_end(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    assert end_tokens(loaded) == {2}
    loaded.network.generation_config.eos_token_id = [7, 9]
    assert end_tokens(loaded) == {2, 7, 9}
    loaded.tokenizer.eos_token = "<|endoftext|>"
    assert end_tokens(loaded) == {0, 2, 7, 9}  # the template ends a turn with <|im_end|> all the same


def test_a_model_may_name_none(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    loaded.network.generation_config.eos_token_id = None
    loaded.tokenizer.eos_token = None
    loaded.tokenizer.chat_template = None
    assert end_tokens(loaded) == frozenset()
