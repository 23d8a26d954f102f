"""Signing in: one user and password, for the pages by a cookie, for the JSON endpoint with each request."""

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
from orbitune.serving.security.request_checks import App, Message, Receive, Scope, Send, log, refuse

FREE = 5  # wrong passwords that a client may send before it has to wait
LONGEST = 300  # seconds that it waits at most; each further one doubles them, from 1
FORGOTTEN = 3600  # seconds after which a client's wrong passwords are forgotten
_CLIENTS = 10_000  # that are remembered; beyond that, the one that has been quiet for longest is forgotten

_OPEN = ("/gradio_api/theme.css", "/gradio_api/user", "/gradio_api/login_check")  # for the page that asks

_asking: ContextVar[str] = ContextVar("asking", default="")


class TooManyGuessesError(Exception):
    """A client has to wait, `seconds` long, before its password is looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many wrong passwords: try again in {seconds} s.")
        self.seconds = seconds


@dataclass
class _Wrong:
    count: int = 0
    latest: float = 0.0


class Guesses:
    """Wrong passwords of each client; an IPv6 client is its /64, as it has all addresses of it."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()

    def wait(self, client: str) -> int:
        """Return the number of seconds for which a client's attempts are refused."""
        wrong = self._wrong.get(network_of(client))
        if wrong is None or wrong.count < FREE or time.monotonic() - wrong.latest > FORGOTTEN:
            return 0
        pause = min(2 ** min(wrong.count - FREE, 20), LONGEST)
        return max(0, round(wrong.latest + pause - time.monotonic() + 0.5))

    def add(self, client: str) -> None:
        """Note a wrong password, and log it."""
        network = network_of(client)
        wrong = self._wrong.pop(network, None)
        if wrong is None or time.monotonic() - wrong.latest > FORGOTTEN:
            wrong = _Wrong()
        self._wrong[network] = _Wrong(wrong.count + 1, time.monotonic())
        log.warning("wrong user or password from %s, %d in a row", client, wrong.count + 1)
        while len(self._wrong) > _CLIENTS:
            self._wrong.popitem(last=False)

    def forget(self, client: str) -> None:
        """Forget a client's wrong passwords: it knows the right one."""
        self._wrong.pop(network_of(client), None)


class SignIn:
    """The user and password of a server.

    Attributes:
        pages: Gradio's app, which keeps who has signed in; set once it is made.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._guesses = Guesses()
        self.pages: Any = None

    def check(self, user: str, password: str) -> bool:
        """Return whether user and password are the right ones.

        Raises:
            TooManyGuessesError: the client that asks has to wait first.
        """
        client = _asking.get()
        if seconds := self._guesses.wait(client):
            raise TooManyGuessesError(seconds)
        right = _same(user, self._user) & _same(password, self._password)
        (self._guesses.forget if right else self._guesses.add)(client)
        return right

    def check_form(self, user: str, password: str) -> bool:
        """Check the user and password typed into Gradio's page."""
        from starlette.exceptions import HTTPException

        try:
            return self.check(user, password)
        except TooManyGuessesError as error:
            raise HTTPException(429, str(error), {"Retry-After": str(error.seconds)}) from None

    def has_signed_in(self, scope: Scope) -> bool:
        """Return whether a request brings the cookie of someone who has signed in."""
        from starlette.requests import Request

        cookies = Request(scope).cookies
        names = (f"access-token-{self.pages.cookie_id}", f"access-token-unsecure-{self.pages.cookie_id}")
        return any(cookies.get(name) in self.pages.tokens for name in names)


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


class SignedIn:
    """An ASGI middleware: without the password, only the page that asks for it is answered."""

    def __init__(self, app: App, sign_in: SignIn) -> None:
        self._app, self._sign_in = app, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _asking.set((scope.get("client") or ("unknown",))[0])
        path = scope["path"]
        if path.startswith("/api/"):
            try:
                if not self._brings_password(scope):
                    basic = {"WWW_Authenticate": "Basic"}
                    await refuse(401, "User and password are needed.", scope, receive, send, **basic)
                    return
            except TooManyGuessesError as error:
                await refuse(429, str(error), scope, receive, send, Retry_After=str(error.seconds))
                return
        elif path.startswith("/gradio_api/") and not (path in _OPEN or self._sign_in.has_signed_in(scope)):
            await refuse(401, "Sign in first.", scope, receive, send)
            return
        await self._app(scope, receive, _CookieSender(scope, send) if path.startswith("/login") else send)

    def _brings_password(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        found = re.fullmatch(rb"basic +([\w+/=-]+) *", given, re.IGNORECASE)
        if not found:
            return False
        try:
            user, colon, password = base64.b64decode(found[1]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return bool(colon) and self._sign_in.check(user, password)


class _CookieSender:
    """Sends Gradio's answer to a sign-in on, with one cookie of its two, which fits the connection.

    Behind https that is the one marked Secure; over http browsers refuse it, and it is the other.
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
