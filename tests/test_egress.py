"""The watch over a process: what leads out is seen and refused, what stays on the machine is told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from carrara.egress import cut_off_network

WATCHED = """
import json, socket, subprocess, sys, urllib.request
from dataclasses import astuple
from carrara.egress import Watch, count_unrouted, cut_off_network

def go():
    {code}

closed = {cut} and cut_off_network() is None
before = count_unrouted()
watch = {watch} and Watch()
error = None
try:
    go()
except OSError as raised:
    error = str(raised)
seen = [[*astuple(attempt), count] for attempt, count in watch.seen.items()] if watch else []
print(json.dumps({{"closed": closed, "unrouted": count_unrouted() - before, "seen": seen, "error": error}}))
"""


def watched(code: str, cut: bool = False, watch: bool = True) -> dict[str, Any]:
    program = WATCHED.format(code=code, cut=cut, watch=watch)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("code", "call", "target"),
    [
        ("urllib.request.urlopen('http://192.0.2.1')", "connect", "192.0.2.1:80"),
        ("urllib.request.urlopen('https://example.org/x')", "look up", "example.org"),
        ("socket.gethostbyname('example.org')", "look up", "example.org"),
        ("socket.gethostbyaddr('192.0.2.1')", "look up", "192.0.2.1"),
        ("socket.socket().connect_ex(('192.0.2.7', 443))", "connect", "192.0.2.7:443"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", "send", "192.0.2.1:53"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 53))", "send", "192.0.2.1:53"),
        ("socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))", "connect", "[2001:db8::1]:80"),
        ("socket.socket(socket.AF_INET6).connect(('::ffff:192.0.2.1', 80))", "connect", "[::ffff:192.0.2.1]:80"),
    ],
)
def test_what_leads_out_is_seen_and_refused(code: str, call: str, target: str) -> None:
    found = watched(code)
    assert ["outbound", call, target, 1] in found["seen"]
    assert "nothing may leave this machine" in found["error"]


def test_what_stays_here_is_told_apart_and_works() -> None:
    found = watched(
        "server = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(('localhost', server.getsockname()[1])).close(); "
        "a, b = socket.socketpair(); a.sendmsg([b'x']); "
        "subprocess.run([sys.executable, '-c', 'pass'], check=True); "
        "socket.socket(socket.AF_UNIX).connect('/no/such')"
    )
    reaches = {(reach, call) for reach, call, *_ in found["seen"]}
    assert ("loopback", "connect") in reaches
    assert ("program", "start") in reaches
    assert ["local socket", "connect", "/no/such", 1] in found["seen"]
    assert "outbound" not in {reach for reach, _ in reaches}
    assert "No such file" in found["error"]


def test_the_system_counts_what_another_program_tries() -> None:
    code = "subprocess.run([sys.executable, '-c', {!r}])".format(
        "import socket\nfor _ in range(3): socket.socket().connect_ex(('192.0.2.1', 80))"
    )
    found = watched(code, cut=True)
    if not found["closed"]:
        pytest.skip("this system gives no process a network of its own")
    assert found["unrouted"] == 3
    assert {reach for reach, *_ in found["seen"]} == {"program"}


def test_without_a_network_loopback_works_and_nothing_else() -> None:
    code = (
        "server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname()).close(); "
        "urllib.request.urlopen('http://192.0.2.1')"
    )
    found = watched(code, cut=True, watch=False)
    if not found["closed"]:
        pytest.skip("this system gives no process a network of its own")
    assert found["unrouted"] == 1
    assert "unreachable" in found["error"]


def test_where_the_system_cannot_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cut_off_network() == "only Linux can do that"
