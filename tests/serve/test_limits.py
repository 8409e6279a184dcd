"""Limits by key, and wrong keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from carrara.serve.keys import FILE, KeyFile, add_key
from carrara.serve.limits import Limits, WrongKeys
from carrara.serve.protocol import ApiError

from .asking import CHAT, HELLO, KEY, client_of, error_of
from .scripted import Scripted


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(limits: Limits, who: str = "ann") -> int | None:
    """None if it was let in, else the seconds to wait."""
    try:
        with limits.turn(who):
            return None
    except ApiError as error:
        return wait_of(error)


def wait_of(error: ApiError) -> int:
    assert error.status == 429
    return int(error.headers["Retry-After"])


def test_a_key_may_ask_so_often_a_minute() -> None:
    clock = Clock()
    limits = Limits(3, None, clock)
    assert [ask(limits) for _ in range(5)] == [None, None, None, 20, 20]
    assert ask(limits, "bob") is None
    clock.now += 19
    assert ask(limits) == 1
    clock.now += 1
    assert [ask(limits), ask(limits)] == [None, 20]
    clock.now += 3600
    assert [ask(limits) for _ in range(4)] == [None, None, None, 20]


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_sees_more_than_twice_the_rate(rate: int, gaps: list[float]) -> None:
    clock = Clock()
    limits = Limits(rate, None, clock)
    let_in: list[float] = []
    for gap in gaps:
        clock.now += gap
        wait = ask(limits)
        if wait is None:
            let_in.append(clock.now)
        else:
            assert 1 <= wait <= 60
    for start in let_in:
        assert sum(start <= moment < start + 60 for moment in let_in) <= 2 * rate


def test_a_key_may_have_so_many_under_way() -> None:
    limits = Limits(None, 2)
    with limits.turn("ann"), limits.turn("ann"):
        assert ask(limits) == 1
        assert ask(limits, "bob") is None
    assert ask(limits) is None


def test_limits_over_http(tmp_path: Path) -> None:
    path = tmp_path / FILE
    ann, bob = ({"Authorization": add_key(path, name)} for name in ("ann", "bob"))
    client = client_of(keys=KeyFile(path), rate=2)
    assert [client.post(CHAT, json=HELLO, headers=ann).status_code for _ in range(2)] == [200, 200]
    refused = client.post(CHAT, json=HELLO, headers=ann)
    assert error_of(refused, 429)["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert client.get("/v1/models", headers=ann).status_code == 200  # costs nothing
    assert client.post(CHAT, json=HELLO, headers=bob).status_code == 200


def test_limits_at_once_over_http() -> None:
    engine = Scripted()
    engine.gate.clear()
    client = client_of(engine, each=1)
    with client, ThreadPoolExecutor(1) as thread:
        first = thread.submit(client.post, CHAT, json=HELLO)
        while not engine.asked:
            pass
        assert error_of(client.post(CHAT, json=HELLO), 429)["code"] == "too_many_at_once"
        engine.gate.set()
        assert first.result().status_code == 200
        assert client.post(CHAT, json=HELLO).status_code == 200


def tries(wrong: WrongKeys, address: str, who: str | None, count: int = 1) -> list[bool | int]:
    found: list[bool | int] = []
    for _ in range(count):
        try:
            found.append(wrong.check(address, who))
        except ApiError as error:
            found.append(wait_of(error))
    return found


def test_an_address_that_tries_keys_is_kept_out_for_a_while() -> None:
    clock = Clock()
    wrong = WrongKeys(clock)
    assert tries(wrong, "10.0.0.1", "ann") == [True]
    assert tries(wrong, "10.0.0.1", None, 31) == [False] * 30 + [60]
    assert tries(wrong, "10.0.0.1", "bob") == [60]  # found by trying, perhaps
    assert tries(wrong, "10.0.0.1", "ann") == [True]  # was right before
    assert tries(wrong, "10.0.0.2", "bob") == [True]
    clock.now += 59
    assert tries(wrong, "10.0.0.1", "bob") == [1]
    clock.now += 1
    assert tries(wrong, "10.0.0.1", "bob") == [True]
    assert tries(wrong, "10.0.0.1", None) == [False]


def test_an_ipv6_network_is_one_address() -> None:
    wrong = WrongKeys(Clock())
    for last in range(30):
        assert tries(wrong, f"2001:db8::{last:x}", None) == [False]
    assert tries(wrong, "2001:db8::ffff:1:2", None) == [60]
    assert tries(wrong, "2001:db8:0:1::1", None) == [False]
    tries(wrong, "::ffff:10.0.0.1", None, 30)
    assert tries(wrong, "10.0.0.1", None) == [60]


def test_addresses_are_not_remembered_without_end() -> None:
    wrong = WrongKeys(Clock())
    for number in range(10_500):
        tries(wrong, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", None)
    assert len(wrong._tried) == 10_000


def test_a_thousand_wrong_keys_over_http() -> None:
    client = client_of()
    assert client.get("/v1/models").status_code == 200
    answers = [client.get("/v1/models", headers={"Authorization": f"wrong-{number}"}) for number in range(1000)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429] * 970
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert error_of(answers[-1], 429)["code"] == "too_many_wrong_keys"
    assert client.post(CHAT, json=HELLO).status_code == 200
    newcomer = TestClient(client.app, base_url="http://127.0.0.1", client=("10.0.0.9", 5))
    assert newcomer.get("/v1/models", headers={"Authorization": KEY.encode()}).status_code == 200  # type: ignore[dict-item]
    assert client.get("/v1/models", headers={"Authorization": ""}).status_code in (401, 429)
