"""A network between a driver and a board: a relay on loopback that can stop passing bytes on, or break."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class Link:
    """Relays connections to ``port``; ``down`` passes nothing on and says nothing, ``cut`` breaks what there is."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # it takes no more when it is down
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._up = threading.Event()
        self._up.set()
        self._closed = False
        self.passed_bytes = 0
        self.cut_after_bytes: int | None = None
        self.down_after_bytes: int | None = None
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    def down(self) -> None:
        self._up.clear()

    def up(self) -> None:
        self._up.set()

    def cut(self) -> None:
        for one in list(self._pairs):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self.up()
        self.cut()
        self._thread.join(5)
        self._server.close()
        for one in list(self._pairs):
            one.close()

    def _relay(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            while not self._closed:
                ready = selector.select(0.05)
                self._up.wait()
                for key, _ in ready:
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self._server:
                        self._join(selector)
                    elif one in self._pairs:
                        self._pass(selector, one)

    def _join(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._server.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 60)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            selector.register(one, selectors.EVENT_READ)

    def _pass(self, selector: selectors.BaseSelector, one: socket.socket) -> None:
        other = self._pairs[one]
        piece = b""
        with suppress(OSError):
            piece = one.recv(1 << 16)
        self.passed_bytes += len(piece)
        if self.cut_after_bytes is not None and self.passed_bytes > self.cut_after_bytes:
            self.cut_after_bytes, piece = None, b""
        if self.down_after_bytes is not None and self.passed_bytes > self.down_after_bytes:
            self.down_after_bytes = None
            self.down()
            self._up.wait()
        try:
            if piece:
                other.sendall(piece)
        except OSError:
            piece = b""
        if not piece:
            for end in (one, other):
                selector.unregister(end)
                del self._pairs[end]
                end.close()
