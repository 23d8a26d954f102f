"""The names that a server answers to, and the pages that may call it: what stops DNS rebinding."""

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
class Hosts:
    """The host names of one server.

    A page of another site can have its own name point to this machine, and the browser then takes the
    server for a part of that site. It still sends that name, which identifies such a request.

    Attributes:
        names: lower case, without port or brackets.
        public: those of them that a proxy in front is reached by.
        addresses: whether every IP address is answered to; an address cannot be made to point elsewhere.
    """

    names: frozenset[str] = _LOOPBACK
    public: frozenset[str] = frozenset()
    addresses: bool = False

    @classmethod
    def of(cls, host: str, allowed: tuple[str, ...] = ()) -> "Hosts":
        """Return the names of a server that listens on `host`.

        Args:
            host: an address or a name; of 0.0.0.0 and ::, every address of this machine and its name count.
            allowed: further names, such as the one that a proxy is reached by.

        Raises:
            OrbituneError: one of `allowed` is no host name.
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

    def answer_to(self, host: str) -> bool:
        """Return whether a request with this Host header is answered."""
        name = host_name(host)
        return name is not None and (name in self.names or (self.addresses and _is_address(name)))

    def accept_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of this origin may call the server, which was asked for as `host`."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        return parts.netloc.lower() == host.lower() or host_name(parts.netloc) in self.public


def host_name(host: str) -> str | None:
    """Return the name in a Host header, lower case, without port and brackets; None where there is none."""
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
    """Return the path that a proxy serves the app below, without a closing slash; empty for none.

    Raises:
        OrbituneError: it is no plain path.
    """
    path = text.rstrip("/")
    if (path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII)) or "/.." in path:
        raise OrbituneError("--root-path takes a path such as /tiles, without http:// or a host name.")
    return path


def url_host(host: str) -> str:
    """Return a host as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def network_of(client: str) -> str:
    """Return the address of a client; of IPv6 its /64, as one client has all addresses of that."""
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
