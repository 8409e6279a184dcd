"""Text that grows token by token is the text of all tokens, and ends where a stop string begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from carrara.serve.engine import Piece, TextRequest, TokenLogprob
from carrara.serve.reader import Reader
from carrara.serve.writer import Detokenizer, StopFilter, Writer, text_of

from .tiny import make_tokenizer

TEXTS = ["plain words", "Grüße, 日本語 and 🙂🏔️!", "  two  spaces\n\nand\ttabs ", "naïve café — “quoted”", " leading"]


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerFast:
    """Built as LLaMA 2's: a space is part of the token after it, and rare characters are bytes."""
    words = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz", "▁▁"]
    raw = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[("▁", "▁")], byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="<unk>")


def write(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> tuple[list[str], str]:
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.add(token) for token in ids]
    return pieces, "".join(pieces) + detokenizer.rest()


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_up_the_text(kind: str, text: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces, whole = write(tokenizer, ids)
    assert whole == tokenizer.decode(ids)
    assert whole.strip() == text.strip()
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_a_special_token_in_between_costs_no_space(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids = tokenizer.encode("one two", add_special_tokens=False)
    with_special = [*ids[:3], tokenizer.eos_token_id, *ids[3:]]
    assert write(tokenizer, with_special)[1] == "one two"


def test_half_a_character_at_the_end_is_left_out(byte_level: PreTrainedTokenizerFast) -> None:
    ids = byte_level.encode("ab🙂", add_special_tokens=False)
    assert write(byte_level, ids[:-1])[1] == "ab"


def test_bytes_that_are_no_character_are_shown_once_that_is_certain(byte_level: PreTrainedTokenizerFast) -> None:
    smile = byte_level.encode("🙂", add_special_tokens=False)
    ids = [*smile[:1], *byte_level.encode("ab", add_special_tokens=False)]
    assert write(byte_level, ids)[1] == "\ufffdab"


def test_stop_string_across_pieces_and_false_beginnings() -> None:
    stops = StopFilter(["\nUser:"])
    assert [stops.add(piece) for piece in ["Hi", "\nUs", "eful\n", "User", ": more", "x"]] == [
        "Hi",
        "",
        "\nUseful",
        "",
        "",
        "",
    ]
    assert stops.stopped
    assert stops.rest() == ""


def test_what_was_held_back_is_given_at_the_end() -> None:
    stops = StopFilter(["END"])
    assert stops.add("the EN") == "the "
    assert stops.rest() == "EN"


def expected(text: str, stops: list[str]) -> str:
    """The text up to the stop string that is complete first."""
    for end in range(len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, found))]
    return text


@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_the_way_text_is_cut_does_not_matter(pieces: list[str], stops: list[str]) -> None:
    stop_filter = StopFilter(stops)
    shown = "".join([stop_filter.add(piece) for piece in pieces]) + stop_filter.rest()
    assert shown == expected("".join(pieces), stops)


def pieces_of(tokenizer: PreTrainedTokenizerFast, ids: list[int], stop: tuple[str, ...] = ()) -> list[Piece]:
    """The pieces of an answer of at most these tokens; each token's log-probability is its place."""
    reader = Reader(tokenizer, 100, frozenset({1}))
    writer = Writer(reader, TextRequest(model="m", prompt="", stop=stop), 7, len(ids))
    pieces: list[Piece] = []
    for place, token in enumerate(ids):
        piece = writer.add(token, TokenLogprob(text_of(tokenizer, token), -float(place)))
        pieces += [piece] if piece else []
        if piece and piece.finish_reason:
            break
    return pieces


def told(pieces: list[Piece]) -> list[list[float]]:
    return [[-each.logprob for each in piece.logprobs] for piece in pieces]


def test_logprobs_come_with_the_text_of_their_tokens(byte_level: PreTrainedTokenizerFast) -> None:
    ids = byte_level.encode("ab\N{SLIGHTLY SMILING FACE}c")
    assert len(ids) == 7
    pieces = pieces_of(byte_level, ids)
    assert [piece.text for piece in pieces] == ["a", "b", "\N{SLIGHTLY SMILING FACE}", "c"]
    assert told(pieces) == [[0], [1], [2, 3, 4, 5], [6]]
    assert (pieces[-1].finish_reason, pieces[-1].prompt_tokens, pieces[-1].completion_tokens) == ("length", 7, 7)


def test_the_end_token_is_counted_and_not_shown(byte_level: PreTrainedTokenizerFast) -> None:
    pieces = pieces_of(byte_level, [*byte_level.encode("ab"), 1, *byte_level.encode("c")])
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("a", None), ("b", None), ("", "stop")]
    assert told(pieces) == [[0], [1], []]
    assert pieces[-1].completion_tokens == 3


def test_logprobs_end_where_a_stop_string_begins(byte_level: PreTrainedTokenizerFast) -> None:
    ids = [token for letter in "abxyc" for token in byte_level.encode(letter)]
    pieces = pieces_of(byte_level, ids, stop=("xy",))
    assert [piece.text for piece in pieces] == ["a", "b", ""]
    assert told(pieces) == [[0], [1], []]
    held = pieces_of(byte_level, ids, stop=("xz",))
    assert [piece.text for piece in held] == ["a", "b", "xy", "c"]
    assert told(held) == [[0], [1], [2, 3], [4]]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_a_tokens_own_text_keeps_its_space(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids = tokenizer.encode("a b", add_special_tokens=False)
    assert "".join(text_of(tokenizer, token) for token in ids).lstrip() == "a b"
