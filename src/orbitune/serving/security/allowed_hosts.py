"""Allowed hosts and origins, as a defence against DNS rebinding."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from orbitune.errors import OrbituneError

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ALL = ("0.0.0.0", "::")


@dataclass(frozen=True)
class AllowedHosts:
    """The host names that a server accepts.

    In a DNS rebinding attack another site points its own name to this machine, and the browser treats the
    server as part of that site. The Host header still has the foreign name, so such requests are refused.

    Attributes:
        names: lower case, without port or brackets.
        public: the subset under which a proxy is reached.
        addresses: accept every IP address; an address cannot be rebound.
    """

    names: frozenset[str] = _LOOPBACK
    public: frozenset[str] = frozenset()
    addresses: bool = False

    @classmethod
    def for_address(cls, host: str, allowed: tuple[str, ...] = ()) -> "AllowedHosts":
        """Return the accepted names of a server that listens on `host`.

        Args:
            host: an address or a name; 0.0.0.0 and :: stand for all addresses of this machine and its name.
            allowed: further names, such as that of a proxy.

        Raises:
            OrbituneError: one of `allowed` is not a host name.
        """
        names = {host_name(name) for name in allowed}
        if None in names:
            raise OrbituneError(
                "--allow-host takes a host name such as maps.example.org, without http:// or a path."
            )
        public = frozenset(name for name in names if name)
        own = {host.lower()}
        if host in _ALL:
            own = {socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(_LOOPBACK | own | public, public, host in _ALL)

    def allows_host(self, host: str) -> bool:
        """Return whether a request with this Host header is accepted."""
        name = host_name(host)
        return name is not None and (name in self.names or (self.addresses and _is_address(name)))

    def allows_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of this origin may call the server under the name `host`.

        Args:
            origin: Origin header.
            host: Host header, already allowed.

        Returns:
            Whether the request comes from the app's own pages.
        """
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        return parts.netloc.lower() == host.lower() or host_name(parts.netloc) in self.public


def host_name(host: str) -> str | None:
    """Return the host of a Host header in lower case, without port; None if invalid."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.hostname is None:
        return None
    name = parts.hostname.rstrip(".")
    return name if _NAME.fullmatch(name) or _is_address(name) else None


def parse_root_path(text: str) -> str:
    """Return a proxy's path without a closing slash; empty for none.

    Raises:
        OrbituneError: not a plain path.
    """
    path = text.rstrip("/")
    if (path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII)) or "/.." in path:
        raise OrbituneError("--root-path takes a path such as /tiles, without http:// or a host name.")
    return path


def url_host(host: str) -> str:
    """Return a host for use in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def network_of(client: str) -> str:
    """Return a client's IPv4 address or IPv6 /64 network, which has one owner."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4 or address.ipv4_mapped:
        return client
    return str(ipaddress.ip_network((address, 64), strict=False))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
