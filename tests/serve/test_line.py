"""A line lets people in by the order of coming, as many as there are places."""

from __future__ import annotations

import threading
import time

from carrara.serve.line import Line


def never() -> bool:
    return False


def test_as_many_are_inside_as_there_are_places() -> None:
    line = Line(2)
    with line.turn(never) as first, line.turn(never) as second:
        assert {first, second} == {0, 1}
        with line.turn(lambda: True) as third:
            assert third is None
    with line.turn(never) as again:
        assert again is not None


def test_a_place_can_be_chosen_among_the_free() -> None:
    line = Line(3)
    with line.turn(never, lambda free: free[-1]) as place:
        assert place == 2
        with line.turn(never, lambda free: sum(free)) as other:
            assert other == 1  # of 0 and 1
    with line.turn(never) as longest_free:
        assert longest_free == 0


def test_who_came_first_goes_first_and_who_gives_up_holds_nobody_up() -> None:
    line = Line()
    entered: list[str] = []
    gone = threading.Event()

    def wait(name: str) -> None:
        with line.turn(gone.is_set if name == "b" else never) as place:
            if place is not None:
                entered.append(name)

    with line.turn(never):
        threads = [threading.Thread(target=wait, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
            time.sleep(0.03)
        gone.set()
        threads[1].join(1)
        assert not threads[1].is_alive()
    for thread in threads:
        thread.join(1)
    assert entered == ["a", "c", "d"]
