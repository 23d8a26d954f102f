"""`serve`."""

import socket

from commands import orbitune


def test_serving_on_a_port_that_is_taken_is_one_line(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = orbitune("serve", place / "run", "--port", port)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --port."
    )


def test_a_login_without_a_password_is_one_line(place):
    done = orbitune("serve", place / "run", "--login", "ann")
    assert (done.returncode, done.stderr.strip()) == (2, "error: --login takes USER:PASSWORD.")
