"""Connections of the app, within bounds, so that nobody keeps others out by holding many of them."""

from collections import Counter
from typing import Any

from orbitune.serving.security.allowed_hosts import network_of

CONNECTIONS = 512  # open at once
HEAD_SECONDS = 10.0  # that the first line and the headers of a request may take
UNREAD_SECONDS = 60.0  # that a client may read nothing of an answer which waits for it


def bounded_protocol(
    connections: int = CONNECTIONS, head: float = HEAD_SECONDS, unread: float = UNREAD_SECONDS
) -> Any:
    """Return uvicorn's protocol of HTTP/1.1 with bounds that it has no settings for.

    Where one connection too many is opened, the client that has most of them gives up the one on which it
    has sent and read nothing for longest. It does not matter what that one is open for: no request, half of
    one, or an answer that never ends. A whole request that is being answered goes last.

    Args:
        connections: that may be open at once.
        head: seconds that the head of a request may take.
        unread: seconds that a client may read nothing of an answer which waits for it.
    """
    import asyncio

    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.network = network_of(self.client[0]) if self.client else ""
            self._moves()
            self._abort_after(head)
            if len(self.connections) > connections:
                self._make_room()

        def data_received(self, data: bytes) -> None:
            self._moves()
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._is_in_time()
            elif self._deadline is None:  # a further request on the same connection
                self._abort_after(head)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._abort_after(unread)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._moves()
            self._is_in_time()

        def connection_lost(self, exc: Exception | None) -> None:
            self._is_in_time()
            super().connection_lost(exc)

        @property
        def is_worked_on(self) -> bool:
            """Whether the request is whole and its answer has not begun: the client can only wait."""
            whole = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
            return whole and self.conn.our_state is h11.SEND_RESPONSE

        def _make_room(self) -> None:
            opened: set[Any] = self.connections
            held = Counter(each.network for each in opened)
            most = max(held.values())
            others = [each for each in opened if each is not self and held[each.network] == most]
            stalled = min(others, key=lambda each: (each.is_worked_on, each.moved))
            opened.discard(stalled)
            stalled.transport.abort()

        def _moves(self) -> None:
            self.moved = self.loop.time()

        def _abort_after(self, seconds: float) -> None:
            self._is_in_time()
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def _is_in_time(self) -> None:
            if self._deadline:
                self._deadline.cancel()
                self._deadline = None

    return Bounded
