"""A uvicorn server that answers the requests in flight before it ends."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from orbitune.serving.security.request_checks import EVENT_STREAM

SHUTDOWN_SECONDS = 30  # for requests in flight; what is not answered then is cut off
STREAM_SECONDS = 2.0  # for event streams, which an open page keeps as long as it is open


class GracefulServer(uvicorn.Server):
    """A server that, once stopped, takes no new connection and answers the requests that it has.

    Event streams of open pages are ended early. A second interrupt ends the server at once.

    Args:
        config: uvicorn's settings.
        on_ready: called once requests are answered and interrupts are the server's.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sockets, and wait for the requests in flight."""
        ending = asyncio.get_running_loop().call_later(STREAM_SECONDS, self._end_streams)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def _end_streams(self) -> None:
        for task in list(self.server_state.tasks):
            if task.get_name() == EVENT_STREAM:
                task.cancel()
