"""Authentication: the cookie of a session, and for the JSON API also HTTP Basic."""

import base64
import binascii
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from orbitune.serving.security.allowed_hosts import network_of
from orbitune.serving.security.request_checks import App, Message, Receive, Scope, Send, error_response, log

MAX_FAILURES = 5  # wrong passwords before a client has to wait
MAX_WAIT = 300  # seconds; each further failure doubles the wait, from 1
FORGET_AFTER = 3600  # seconds without a failure, after which the count restarts
MAX_CLIENTS = 10_000  # remembered; beyond that, the one with the oldest failure is dropped

# Need no session: Gradio's clients ask them whether there is one.
_PUBLIC_PATHS = ("/gradio_api/user", "/gradio_api/login_check")
_SESSION_PATHS = ("/gradio_api/", "/map/", "/app/example", "/app/card")  # and /app/examples

_client: ContextVar[str] = ContextVar("client", default="")


class TooManyAttemptsError(Exception):
    """A client has to wait `seconds` before its password is checked."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many wrong passwords: try again in {seconds} s.")
        self.seconds = seconds


@dataclass
class _Failures:
    """Failures in a row of one client, and the time of the latest."""

    count: int = 0
    latest: float = 0.0


class FailedLogins:
    """Count of wrong passwords per client, see `network_of`."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, _Failures] = OrderedDict()

    def seconds_to_wait(self, client: str) -> int:
        """Return the seconds until a client may try again; 0 for now."""
        wrong = self._wrong.get(network_of(client))
        if wrong is None or wrong.count < MAX_FAILURES or time.monotonic() - wrong.latest > FORGET_AFTER:
            return 0
        pause = min(2 ** min(wrong.count - MAX_FAILURES, 20), MAX_WAIT)
        return max(0, round(wrong.latest + pause - time.monotonic() + 0.5))

    def record(self, client: str) -> None:
        """Count a wrong password, and log it."""
        network = network_of(client)
        wrong = self._wrong.pop(network, None)
        if wrong is None or time.monotonic() - wrong.latest > FORGET_AFTER:
            wrong = _Failures()
        self._wrong[network] = _Failures(wrong.count + 1, time.monotonic())
        log.warning("wrong user or password from %s, %d in a row", client, wrong.count + 1)
        while len(self._wrong) > MAX_CLIENTS:
            self._wrong.popitem(last=False)

    def clear(self, client: str) -> None:
        """Reset the count of a client that has sent the right password."""
        self._wrong.pop(network_of(client), None)


class Authenticator:
    """Check of user and password, with a wait after repeated failures.

    Attributes:
        pages: Gradio's app, which keeps the sessions; set once it is mounted.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._failed_logins = FailedLogins()
        self.pages: Any = None

    def check(self, user: str, password: str) -> bool:
        """Return whether user and password are correct.

        Args:
            user: name that was entered.
            password: password that was entered.

        Returns:
            Whether both are correct.

        Raises:
            TooManyAttemptsError: the client has to wait first.
        """
        client = _client.get()
        if seconds := self._failed_logins.seconds_to_wait(client):
            raise TooManyAttemptsError(seconds)
        correct = _equal(user, self._user) & _equal(password, self._password)
        (self._failed_logins.clear if correct else self._failed_logins.record)(client)
        return correct

    def check_form(self, user: str, password: str) -> bool:
        """Check the user and password of the sign-in form.

        Raises:
            HTTPException: status 429, if the client has to wait first.
        """
        from starlette.exceptions import HTTPException

        try:
            return self.check(user, password)
        except TooManyAttemptsError as error:
            raise HTTPException(429, str(error), {"Retry-After": str(error.seconds)}) from None

    def has_signed_in(self, scope: Scope) -> bool:
        """Return whether a request has the cookie of a valid session."""
        from starlette.requests import Request

        cookies = Request(scope).cookies
        names = (f"access-token-{self.pages.cookie_id}", f"access-token-unsecure-{self.pages.cookie_id}")
        return any(cookies.get(name) in self.pages.tokens for name in names)


def _equal(one: str, other: str) -> bool:
    """Compare in constant time."""
    return secrets.compare_digest(one.encode(), other.encode())


class AuthenticationMiddleware:
    """ASGI middleware that requires a sign-in, except for the page that has the form for it."""

    def __init__(self, app: App, authenticator: Authenticator) -> None:
        self._app, self._authenticator = app, authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _client.set((scope.get("client") or ("unknown",))[0])
        path = scope["path"]
        if path.startswith("/api/"):
            try:
                if not (self._authenticator.has_signed_in(scope) or self._has_basic_auth(scope)):
                    # The page has a form of its own: a browser would open a second one over it.
                    from_page = b"x-requested-with" in dict(scope["headers"])
                    challenge = {} if from_page else {"WWW-Authenticate": "Basic"}
                    refusal = error_response(401, "User and password are needed.", headers=challenge)
                    await refusal(scope, receive, send)
                    return
            except TooManyAttemptsError as error:
                refusal = error_response(429, str(error), headers={"Retry-After": str(error.seconds)})
                await refusal(scope, receive, send)
                return
        elif path.startswith(_SESSION_PATHS) and not self._may_open(scope):
            await error_response(401, "Sign in first.")(scope, receive, send)
            return
        await self._app(scope, receive, _CookieFilter(scope, send) if path.startswith("/login") else send)

    def _may_open(self, scope: Scope) -> bool:
        return scope["path"] in _PUBLIC_PATHS or self._authenticator.has_signed_in(scope)

    def _has_basic_auth(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        found = re.fullmatch(rb"basic +([\w+/=-]+) *", given, re.IGNORECASE)
        if not found:
            return False
        try:
            user, colon, password = base64.b64decode(found[1]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return bool(colon) and self._authenticator.check(user, password)


class _CookieFilter:
    """ASGI `send` that keeps one of the two cookies of Gradio's sign-in response.

    Behind https this is the cookie marked Secure. Over http it is the other one, as browsers refuse Secure
    cookies there.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        forwarded = dict(scope["headers"]).get(b"x-forwarded-proto", b"").split(b",")[0].strip()
        self._secure = scope["scheme"] == "https" or forwarded == b"https"
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(self._headers(message))}
        await self._send(message)

    def _headers(self, message: MutableMapping[str, Any]) -> Any:
        for name, value in message.get("headers", []):
            if name != b"set-cookie":
                yield name, value
            elif (b"-unsecure-" in value.split(b"=")[0]) != self._secure:
                parts = [part.strip() for part in value.split(b";")]
                kept = [
                    p for p in parts if p.lower().split(b"=")[0] not in (b"samesite", b"httponly", b"secure")
                ]
                marks = [b"HttpOnly", b"SameSite=Lax", *([b"Secure"] if self._secure else [])]
                yield name, b"; ".join(kept + marks)
