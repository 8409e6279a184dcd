"""How much one key may ask for, and how often an address may try wrong keys."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from carrara.serve.protocol import ApiError

_MOST_WRONG = 30  # keys in a window
_WINDOW = 60.0  # seconds
_MOST_ADDRESSES = 10_000  # that are remembered


class Limits:
    """Of each key: `rate` requests a minute, saved up to a minute's worth, `at_once` under way; None for no limit.

    For one thread, that of the event loop.
    """

    def __init__(self, rate: int | None, at_once: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._at_once = at_once
        self._clock = clock
        self._taken_until: dict[str, float] = {}  # by key, the moment
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def turn(self, who: str) -> Iterator[None]:
        """Count a request of `who` while it lasts; raises ApiError 429 when it is one too many."""
        if self._at_once is not None and self._under_way[who] >= self._at_once:
            message = f"{self._at_once} requests with this key are under way, as many as may be; wait for one."
            raise ApiError(429, "too_many_at_once", message, headers={"Retry-After": "1"})
        if self._rate is not None:
            self._spend(who, self._rate)
        self._under_way[who] += 1
        try:
            yield
        finally:
            self._under_way[who] -= 1

    def _spend(self, who: str, rate: int) -> None:
        """Each request takes its share of a minute, and nobody may have taken more than a minute in advance."""
        now, share = self._clock(), 60 / rate
        taken = max(now, self._taken_until.get(who, now)) + share
        wait = math.ceil(taken - now - 60 - 1e-6)  # less what floats are off by
        if wait > 0:
            message = f"this key may ask {rate} times a minute; try again in {wait} seconds."
            raise ApiError(429, "rate_limit_exceeded", message, headers={"Retry-After": str(wait)})
        self._taken_until[who] = taken


class WrongKeys:
    """Remembers which addresses try keys. An IPv6 network of 64 bits counts as one address: it is one customer's.

    A key that was right from an address stays so, so that a neighbour's old script locks nobody else out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, since when
        self._right: set[tuple[str, str]] = set()

    def check(self, address: str, who: str | None) -> bool:
        """Whether `who`, the owner of the key that was sent, may come in; None owns no key.

        Raises ApiError 429 once an address has sent too many wrong keys.
        """
        place = _network(address)
        tried, since = self._tried.get(place, (0, self._clock()))
        left = since + _WINDOW - self._clock()
        if left <= 0:
            tried, since = 0, self._clock()
        if who is not None and (tried < _MOST_WRONG or (place, who) in self._right):
            self._right.add((place, who))
            return True
        if tried >= _MOST_WRONG:
            message = f"too many wrong keys came from this address; try again in {math.ceil(left)} seconds."
            raise ApiError(429, "too_many_wrong_keys", message, headers={"Retry-After": str(math.ceil(left))})
        self._tried[place] = tried + 1, since
        self._tried.move_to_end(place)
        if len(self._tried) > _MOST_ADDRESSES:
            self._tried.popitem(last=False)
        return False


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
