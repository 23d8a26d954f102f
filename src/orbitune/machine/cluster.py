"""A connection to Ray (Moritz et al. 2018, arXiv:1712.05889)."""

import logging
import os
import socket
from typing import Any

from orbitune.errors import RunError, first_line
from orbitune.extras import require

CONNECT_SECONDS = 10.0
_STORE_BYTES = 80 * 2**20  # the least Ray takes; what is sent is small


def connect(cores: int) -> Any:
    """Connect to the Ray cluster of RAY_ADDRESS, else to a local one.

    Args:
        cores: what those may use of this machine.

    Raises:
        RunError: Ray is not installed or does not start, or there is no cluster there.
    """
    # Nothing is reported to anybody, and threads that no task of ours needs are left out.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    require("ray", purpose="running on a Ray cluster")
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS"):
        _check_address(address)
        options |= {"address": "auto"}
    else:
        options |= {"address": "local"}  # not one that `ray start` left on this machine
        options |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"Ray cannot start: {first_line(error)}.") from None
    return ray


def _check_address(address: str) -> None:
    """Check that the address answers: Ray would wait minutes and end the process."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto` and the like
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        raise RunError(f"There is no Ray cluster at {address} ({reason}); see RAY_ADDRESS.") from None
