"""A web server on this machine that sends one file, badly if asked to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Server:
    """What is sent, and how.

    Attributes:
        url: of the file.
        data: the file.
        tag: its ETag; empty for none.
        cuts: for the next answers, after how many bytes the connection is cut.
        statuses: for the next answers, a status to send instead of the file.
        ranges: whether it can send a part.
        length: whether it says how long its answer is.
        kind: media type.
        asked: the Range of every request, "" for none.
    """

    def __init__(self, url: str, data: bytes) -> None:
        self.url = url
        self.data = data
        self.tag = '"one"'
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges = True
        self.length = True
        self.kind = "application/octet-stream"
        self.asked: list[str] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"] or ""
        self.asked.append(asked)
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        same = handler.headers["If-Range"] in (None, self.tag)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        start = start if self.ranges and same else 0
        if start >= len(self.data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.data)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = self.data[start:]
        handler.send_response(206 if start else 200)
        if start:
            last, size = len(self.data) - 1, len(self.data)
            handler.send_header("Content-Range", f"bytes {start}-{last}/{size}")
        if self.length:
            handler.send_header("Content-Length", str(len(body)))
        if self.tag:
            handler.send_header("ETag", self.tag)
        handler.send_header("Content-Type", self.kind)
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@contextmanager
def serving(data: bytes) -> Iterator[Server]:
    """Serve a file for a while; requests go to it without any proxy."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http, pytest.MonkeyPatch.context() as p:
        p.setenv("no_proxy", "*")
        server = Server(f"http://127.0.0.1:{http.server_address[1]}/file.bin", data)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
