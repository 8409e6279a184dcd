"""While one engine takes over from another, nobody's answer breaks off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from carrara.data.example import Message
from carrara.serve.engine import ChatRequest, Piece, Unavailable
from carrara.serve.engines import Reopened
from carrara.serve.relay import Relay

from .scripted import Scripted

HELLO = ChatRequest(model="m", messages=(Message("user", "hello"),))


def ask(engine: Any) -> Iterator[Piece]:
    return engine.answer(HELLO, lambda: False)


def text_of(pieces: Iterator[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_an_answer_ends_where_it_began_and_then_its_engine_is_closed() -> None:
    first, second = Scripted(("a", "b")), Scripted(("c", "d"))
    relay = Relay(first)
    under_way, not_begun = ask(relay), ask(relay)
    assert next(under_way).text == "a"
    relay.replace(lambda _: second)
    assert text_of(ask(relay)) == "cd"
    assert not first.closed
    assert text_of(under_way) == "b"
    assert not first.closed
    assert text_of(not_begun) == "ab"
    assert (first.closed, second.closed) == (True, False)
    relay.close()
    assert second.closed


def test_answers_that_nobody_takes_hold_no_engine() -> None:
    first = Scripted()
    relay = Relay(first)
    begun, not_begun = ask(relay), ask(relay)
    next(begun)
    relay.replace(lambda _: Scripted())
    del begun
    assert not first.closed
    del not_begun
    assert first.closed


def test_an_engine_that_refuses_a_request_is_not_held() -> None:
    first = Scripted(context=1)
    relay = Relay(first)
    with pytest.raises(Exception, match="the model holds 1"):
        relay.answer(ChatRequest(model="m", messages=(), max_tokens=5), lambda: False)
    relay.replace(lambda _: Scripted())
    assert first.closed


def test_vectors_under_way_hold_their_engine() -> None:
    first = Scripted()
    first.gate.clear()
    relay = Relay(first)
    thread = threading.Thread(target=relay.embed, args=("m", ["hello"], lambda: False))
    thread.start()
    relay.replace(lambda _: Scripted())
    first.gate.set()
    thread.join()
    assert relay.engine.embedded == []


def test_closing_closes_all_and_takes_no_other() -> None:
    first, second = Scripted(), Scripted()
    relay = Relay(first)
    under_way = ask(relay)
    relay.replace(lambda _: second)
    relay.close()
    assert (first.closed, second.closed) == (True, True)
    assert under_way is not None
    with pytest.raises(Unavailable, match="being stopped"):
        relay.replace(lambda _: Scripted())


def test_closing_does_not_wait_for_an_engine_that_is_being_made() -> None:
    first, second = Scripted(), Scripted()
    relay = Relay(first)
    making, made = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def make(_: Scripted) -> Scripted:
        making.set()
        assert made.wait(10)
        return second

    def replace() -> None:
        try:
            relay.replace(make)
        except Unavailable as error:
            failures.append(error)

    thread = threading.Thread(target=replace)
    thread.start()
    assert making.wait(10)
    relay.close()
    assert first.closed
    assert thread.is_alive()
    made.set()
    thread.join()
    assert second.closed
    assert "being stopped" in str(failures[0])


def test_what_cannot_be_opened_changes_nothing() -> None:
    opened: list[list[str]] = []

    def open_all(models: Any) -> Scripted:
        opened.append(list(models))
        if "bad" in models:
            raise Unavailable("no")
        return Scripted()

    engine = Reopened({"m": 1}, open_all)
    with pytest.raises(Unavailable, match="no"):
        engine.add({"bad": 2})
    assert text_of(ask(engine)) == "Hello wörld"
    engine.add({"good": 3})
    assert opened == [["m"], ["m", "bad"], ["m", "good"]]
