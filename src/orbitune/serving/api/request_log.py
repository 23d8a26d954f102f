"""Request ids, the log of requests, and their metrics."""

import json
import logging
import re
import time
import uuid
from contextvars import ContextVar
from datetime import datetime, timezone

from orbitune.serving.api.metrics import Metrics
from orbitune.serving.security.request_checks import App, Message, Receive, Scope, Send

log = logging.getLogger("orbitune.requests")
log.setLevel(logging.WARNING)  # requests are logged where it is asked for
_GIVEN_ID = re.compile(rb"[\w.:-]{1,128}")
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class RequestLogMiddleware:
    """ASGI middleware that sees a request first.

    Each response gets the header X-Request-ID: that of the request, or a new one. Requests of the API are
    logged on level INFO and counted; those of the pages are not, as their paths may name uploaded files.

    Args:
        app: the next ASGI app.
        metrics: count the requests.
        paths: the API's paths. Others are not there, and are not counted one by one.
    """

    def __init__(self, app: App, *, metrics: Metrics, paths: tuple[str, ...], root_path: str = "") -> None:
        self._app, self._metrics, self._paths, self._root_path = app, metrics, paths, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        identity = given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        _request_id.set(identity.decode())
        start, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (b"x-request-id", identity)]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            path = scope["path"].removeprefix(self._root_path)
            if path in self._paths:
                self._note(scope, path, status=status, seconds=time.perf_counter() - start)

    def _note(self, scope: Scope, path: str, *, status: int, seconds: float) -> None:
        """Count and log a request; status 0 stands for a client that hung up."""
        self._metrics.observe_request(path, status=status, seconds=seconds)
        client = (scope.get("client") or ("unknown",))[0]
        fields = {
            "client": client,
            "method": scope["method"],
            "path": path,
            "status": status,
            "seconds": round(seconds, 4),
        }
        log.info("%s %s %d", scope["method"], path, status, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Log records as one JSON object a line: time, level, message, request_id, and what a record adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "request_id": _request_id.get(),
            **getattr(record, "fields", {}),
            "traceback": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})


def log_requests_as_json() -> None:
    """Log requests, and the warnings of all libraries, to stderr as one JSON object a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.getLogger().handlers = [handler]
    ours = logging.getLogger("orbitune")
    ours.handlers, ours.propagate = [], True
    log.setLevel(logging.INFO)
