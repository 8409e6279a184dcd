"""Watching a process for whatever would reach beyond this machine. Nothing but the standard library is loaded."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Reach = Literal["outbound", "loopback", "local socket", "program"]

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # unshare(2)
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)
_SENDS = {"socket.connect": "connect", "socket.sendto": "send", "socket.sendmsg": "send"}
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_STARTS = {"subprocess.Popen": 1, "os.posix_spawn": 1, "os.exec": 1, "os.spawn": 2, "os.system": 0}


@dataclass(frozen=True)
class Attempt:
    """Something that was tried: how far it reaches, the kind of call, and its aim."""

    reach: Reach
    call: str
    target: str


class Watch:
    """Counts what Python code of this process tries to reach, by audit hooks (PEP 578), and refuses what leads out.

    It stays until the process ends. It does not see what compiled code or another program does.
    """

    def __init__(self) -> None:
        self.seen: Counter[Attempt] = Counter()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        attempt = _attempt(event, arguments)
        if attempt is None:
            return
        self.seen[attempt] += 1
        if attempt.reach == "outbound":
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing may leave this machine ({attempt.target})")


def cut_off_network() -> str | None:
    """Give this process and all it starts a network of its own without a way out; returns why not, None if done.

    To be called before any thread is started. Root or unprivileged user namespaces are needed, on Linux.
    """
    if sys.platform != "linux":
        return "only Linux can do that"
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET):
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            return os.strerror(ctypes.get_errno()).lower()
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with suppress(OSError):  # some systems give the network, and no names in it
                Path("/proc/self", name).write_text(content, encoding="utf-8")
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        import fcntl

        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))  # loopback begins switched off
    return None


def count_unrouted() -> int:
    """How often the system had no way for what was to be sent, from whichever program in this process's network."""
    names, values = (line.split() for line in _lines("snmp") if line.startswith("Ip:"))
    found = int(values[names.index("OutNoRoutes")])
    return found + sum(int(line.split()[1]) for line in _lines("snmp6") if line.startswith("Ip6OutNoRoutes"))


def _lines(name: str) -> Sequence[str]:
    path = Path("/proc/self/net", name)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else ()


def _attempt(event: str, arguments: tuple[Any, ...]) -> Attempt | None:
    if event in _SENDS:
        return _sent(_SENDS[event], arguments[0], arguments[1])
    if event in _LOOKUPS:
        host = _text(arguments[0] or "")
        asks = event == "socket.gethostbyaddr" or not _is_address(host)  # the address of an address is known
        return Attempt(_reach(host), "look up", host) if host and asks else None
    if event in _STARTS:
        command = arguments[_STARTS[event]]
        words = [command] if isinstance(command, str | bytes | os.PathLike) else list(command or ())
        return Attempt("program", "start", " ".join(map(_text, words)))
    return None


def _sent(call: str, origin: socket.socket, address: Any) -> Attempt | None:
    if address is None:  # on a connection that was made before
        return None
    if origin.family in (socket.AF_INET, socket.AF_INET6):
        host, port = _text(address[0]), address[1]
        return Attempt(_reach(host), call, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    within = origin.family in (socket.AF_UNIX, getattr(socket, "AF_NETLINK", None))
    target = _text(address) if isinstance(address, str | bytes) else repr(address)
    return Attempt("local socket" if within else "outbound", call, target)


def _reach(host: str) -> Reach:
    """How far a host name or address is away; a name that must be asked for is outside."""
    if not _is_address(host):
        return "loopback" if host.lower() in ("", "localhost") else "outbound"
    address = ipaddress.ip_address(host.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    return "loopback" if plain.is_loopback or plain.is_unspecified else "outbound"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
