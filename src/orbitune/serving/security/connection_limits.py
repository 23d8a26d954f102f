"""Limits on connections, so that no client keeps others out."""

import asyncio
import socket
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from orbitune.serving.security.allowed_hosts import network_of


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with limits on connections.

    If a connection exceeds the limit, the client with the most connections loses the one that has been idle
    for longest, whatever its state: no request, half of one, or an endless response. Connections with a
    complete request that is being answered are closed last.

    Attributes:
        max_connections: maximum number of open connections.
        head_seconds: time for the request line and headers.
        unread_seconds: time without reading a pending response.
    """

    max_connections = 512
    head_seconds = 10.0
    unread_seconds = 60.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Register a connection; close another one if there are too many."""
        super().connection_made(transport)
        # Headers and body are sent one after the other: with Nagle's algorithm, which asyncio leaves on for
        # sockets made by `create_server`, the body waits for the client's delayed acknowledgement: 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.network = network_of(self.client[0]) if self.client else ""
        self._note_activity()
        self._set_deadline(self.head_seconds)
        if len(self.connections) > self.max_connections:
            self._close_most_idle()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes; start or clear the deadline of the headers."""
        self._note_activity()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._clear_deadline()
        elif self._deadline is None:  # a further request on the same connection
            self._set_deadline(self.head_seconds)

    def pause_writing(self) -> None:
        """Set a deadline for the client to read the pending response."""
        super().pause_writing()
        self._set_deadline(self.unread_seconds)

    def resume_writing(self) -> None:
        """Clear the deadline: the client reads again."""
        super().resume_writing()
        self._note_activity()
        self._clear_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clear the deadline of a closed connection."""
        self._clear_deadline()
        super().connection_lost(exc)

    @property
    def is_being_answered(self) -> bool:
        """Return whether the request is complete and no response has begun."""
        complete = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
        return complete and self.conn.our_state is h11.SEND_RESPONSE

    def _close_most_idle(self) -> None:
        opened: set[Any] = self.connections
        held = Counter(each.network for each in opened)
        most = max(held.values())
        others = [each for each in opened if each is not self and held[each.network] == most]
        stalled = min(others, key=lambda each: (each.is_being_answered, each.last_activity))
        opened.discard(stalled)
        stalled.transport.abort()

    def _note_activity(self) -> None:
        self.last_activity = self.loop.time()

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _clear_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
