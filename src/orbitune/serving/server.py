"""The server of the app: its sockets, its settings, and its end."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from orbitune.errors import OrbituneError
from orbitune.serving.app import make_app
from orbitune.serving.security.allowed_hosts import Hosts, url_host
from orbitune.serving.security.connection_limits import CONNECTIONS, bounded_protocol
from orbitune.serving.service import PredictionService

HEAD_BYTES = 32 * 1024


def serve(
    desk: PredictionService,
    host: str,
    port: int,
    login: tuple[str, str] | None = None,
    hosts: Hosts | None = None,
    root_path: str = "",
    say: Callable[[str], None] = lambda where: None,
) -> None:
    """Serve until interrupted.

    Args:
        login: user and password that every request must bring; None asks for none.
        hosts: the names that the app answers to; by default those of `host`.
        root_path: the path that a proxy in front serves the app below.
        say: is called with the address once the server listens there.

    Raises:
        OrbituneError: the port is taken, or the address is none of this machine.
    """
    import uvicorn

    hosts = hosts or Hosts.of(host)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in _listen(host, port)]
        stack.enter_context(_ended_by_exit())
        _raise_file_limit()
        config = uvicorn.Config(
            make_app(desk, login, hosts, root_path),
            http=bounded_protocol(),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            # Only then is there a proxy, whose word is taken for the client's address and for https.
            proxy_headers=bool(hosts.public or root_path),
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=5,
            backlog=256,
            # A page that is open keeps a connection, and must not keep the app from ending.
            timeout_graceful_shutdown=2,
        )
        say(f"http://{url_host(host)}:{sockets[0].getsockname()[1]}")
        uvicorn.Server(config).run(sockets)


def _listen(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of a host: a name may have one of IPv4 and one of IPv6."""
    where = f"{url_host(host)}:{port}"
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            both = host == "::" and socket.has_dualstack_ipv6()
            opened.append(socket.create_server(address, family=family, dualstack_ipv6=both))
    except OSError as error:
        for each in opened:
            each.close()
        if isinstance(error, socket.gaierror):
            raise OrbituneError(
                f"Cannot listen on {where}: --host is no address or name of this machine."
            ) from None
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OrbituneError(f"Cannot listen on {where}: {reason}. Choose another --port.") from None
    return opened


@contextlib.contextmanager
def _ended_by_exit() -> Iterator[None]:
    """Have SIGTERM end the process by an exception, so that its files are deleted."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_file_limit() -> None:
    """Have as many file descriptors as all connections and uploads may need, where the system grants them."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
