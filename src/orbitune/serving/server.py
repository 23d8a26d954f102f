"""The HTTP server of the app: sockets, uvicorn settings and shutdown."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from orbitune.errors import OrbituneError
from orbitune.serving.app import create_app
from orbitune.serving.security.allowed_hosts import AllowedHosts, url_host
from orbitune.serving.service import PredictionService
from orbitune.sources.decode import strict_decoding

MAX_HEAD_BYTES = 32 * 1024


def serve(
    service: PredictionService,
    sockets: list[socket.socket],
    *,
    host: str,
    login: tuple[str, str] | None = None,
    hosts: AllowedHosts | None = None,
    root_path: str = "",
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the app until interrupted; requests in flight are answered then, see `GracefulServer`.

    Args:
        service: the models to serve.
        sockets: of `listening`: open before the models are loaded, so that a taken port is told at once.
        host: address or name that they listen on.
        login: user and password that every request must bring; None for none.
        hosts: host names to answer to; those of `host` by default.
        root_path: path under which a proxy serves the app.
        on_ready: called with the app's address once requests are answered.
    """
    import uvicorn

    from orbitune.serving.graceful_server import SHUTDOWN_SECONDS, GracefulServer
    from orbitune.serving.security.connection_limits import LimitedProtocol

    hosts = hosts or AllowedHosts.for_address(host)
    with contextlib.ExitStack() as stack:
        stack.callback(service.close)
        stack.enter_context(_exit_on_sigterm())
        # Around all threads that decode: warning filters apply to the whole process.
        stack.enter_context(strict_decoding())
        _raise_file_limit(4 * LimitedProtocol.max_connections)
        config = uvicorn.Config(
            create_app(service, login=login, hosts=hosts, root_path=root_path),
            http=LimitedProtocol,
            ws="none",
            log_config=None,  # uvicorn would replace handlers, see `log_requests_as_json`
            log_level="warning",
            access_log=False,
            server_header=False,
            # X-Forwarded-* headers are trusted only if a proxy is declared by --allow-host or --root-path.
            proxy_headers=bool(hosts.public or root_path),
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_keep_alive=5,
            backlog=256,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        address = f"http://{url_host(host)}:{sockets[0].getsockname()[1]}"
        GracefulServer(config, lambda: on_ready(address)).run(sockets)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Yield the sockets of `open_sockets`, and close them at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each) for each in open_sockets(host, port)]


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket per address of a host (IPv4 and IPv6).

    Args:
        host: host name or IP address.
        port: TCP port.

    Returns:
        Bound sockets.

    Raises:
        OrbituneError: the port is taken, or the address does not belong to this machine.
    """
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
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that temporary files are deleted."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_file_limit(needed: int) -> None:
    """Raise the limit of open files to `needed`, as far as the system allows."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
