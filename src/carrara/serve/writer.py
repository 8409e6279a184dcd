"""From tokens, one at a time, to text that never has to be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from carrara.serve.engine import FinishReason, Piece, Request, TokenLogprob, ToolCall
from carrara.serve.reader import Reader

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a decoder writes for bytes that are no whole character


class Detokenizer:
    """Gives the text that each token adds; holds back a character until its last byte is there."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # Tokens from `_start` to `_done` are written already. They are decoded again before what is new,
        # because a decoder drops the space in front of the first token that it sees.
        self._start = 0
        self._done = 0

    def add(self, token: int) -> str:
        """The text that is finished with this token, perhaps empty."""
        self._ids.append(token)
        text = self._new()
        if not text or text.endswith(_UNFINISHED):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return text

    def rest(self) -> str:
        """What was held back, without an unfinished character at its end."""
        return self._new().rstrip(_UNFINISHED)

    def _new(self) -> str:
        return self._decode(self._ids[self._start :])[len(self._decode(self._ids[self._start : self._done])) :]

    def _decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


class Writer:
    """Makes the pieces of one answer from its tokens, the same whoever computed them.

    The completion's count includes the token that ended it; its log-probability, and those of tokens that a stop
    string took away whole, are not told.
    """

    def __init__(self, reader: Reader, request: Request, prompt_tokens: int, budget: int) -> None:
        self._detokenizer, self._stops = Detokenizer(reader.tokenizer), StopFilter(request.stop)
        self._calls = reader.calls(request)
        self._ends, self._prompt_tokens, self._budget = reader.ends, prompt_tokens, budget
        self._count = 0
        self._decoded, self._shown = 0, 0  # characters
        self._untold: list[tuple[int, int, TokenLogprob]] = []  # where the token's text begins and ends

    def add(self, token: int, logprob: TokenLogprob | None = None) -> Piece | None:
        """The piece that is finished with this token, if one is; nothing may be added after the last one."""
        self._count += 1
        ended = token in self._ends
        text = "" if ended else self._show(self._detokenizer.add(token), logprob)
        reason: FinishReason | None = "stop" if ended or self._stops.stopped else None
        if reason is None and self._count == self._budget:
            reason = "length"
        if reason is None:
            self._shown += len(text)
            said, calls = self._calls.add(text)
            if self._calls.full:
                return self._last(said, calls, "stop", self._tell(end_only=True))
            return self._piece(said, None, self._tell(end_only=True), calls) if said or calls else None
        text += self._show(self._detokenizer.rest(), None)
        cut = self._stops.stopped
        text += self._stops.rest()
        self._shown += len(text)
        logprobs = self._tell(end_only=False) if cut else tuple(each for _, _, each in self._untold)
        (said, calls), (rest, more) = self._calls.add(text), self._calls.rest()
        return self._last(said + rest, calls + more, "stop" if cut else reason, logprobs)

    def _last(
        self, text: str, calls: tuple[ToolCall, ...], reason: FinishReason, logprobs: tuple[TokenLogprob, ...]
    ) -> Piece:
        if reason == "stop" and self._calls.called:
            reason = "tool_calls"
        return self._piece(text, reason, logprobs, calls)

    def _piece(
        self,
        text: str,
        reason: FinishReason | None,
        logprobs: tuple[TokenLogprob, ...],
        calls: tuple[ToolCall, ...],
    ) -> Piece:
        return Piece(text, reason, self._prompt_tokens, self._count, logprobs, calls)

    def _show(self, text: str, logprob: TokenLogprob | None) -> str:
        if logprob is not None:
            self._untold.append((self._decoded, self._decoded + len(text), logprob))
        self._decoded += len(text)
        return self._stops.add(text)

    def _tell(self, end_only: bool) -> tuple[TokenLogprob, ...]:
        """Those whose text is shown: to its end, or at least its beginning."""
        told = [each for begin, end, each in self._untold if (end <= self._shown if end_only else begin < self._shown)]
        self._untold = self._untold[len(told) :]
        return tuple(told)


def text_of(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """A token's own text, with the space in front that a decoder drops at the beginning."""
    once, twice = (tokenizer.decode([token] * n, clean_up_tokenization_spaces=False) for n in (1, 2))
    assert isinstance(once, str)
    assert isinstance(twice, str)
    return twice[len(once) :]


class StopFilter:
    """Passes text on up to the first stop string, holding back what could be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The text that may be shown now; nothing more after `stopped`."""
        if self.stopped:
            return ""
        self._held += text
        found = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            # The one that is complete first, so that the way the text was cut into tokens doesn't matter.
            self.stopped = True
            shown, self._held = self._held[: min(found)[1]], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def rest(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
