"""No network for an interpreter: only addresses of this machine are let through.

Python imports a module of this name as it starts, so this folder on PYTHONPATH holds for programs
that tests start as well.
"""

from __future__ import annotations

import sys
from typing import Any

# event of CPython's socket module -> which of its arguments has the host
_HOST = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}


def refuse_other_machines(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise where a socket is to reach another machine; an audit hook."""
    if event not in _HOST:
        return
    host = arguments[_HOST[event]]
    host = host[0] if isinstance(host, tuple) else host if event.startswith("socket.get") else None
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    # what isn't a text is no address of a machine: pipes between processes, lists of networks
    if isinstance(host, str) and host not in ("", "localhost", "::1", "0.0.0.0"):
        if not host.startswith("127."):
            # no OSError, which a program takes for a network that is out of order
            raise RuntimeError(f"a test reaches for {host}; tests do without a network")


sys.addaudithook(refuse_other_machines)
