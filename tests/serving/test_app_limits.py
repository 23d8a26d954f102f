"""Who may use the app, and how much: hosts, origins, bodies and passwords."""

import logging
import re
import socket
import threading
import time

import httpx
import pytest
from reliability import script
from served_app import raw, serving

from orbitune.errors import OrbituneError
from orbitune.serving.security import authentication, body_limits
from orbitune.serving.security.allowed_hosts import AllowedHosts, parse_root_path
from orbitune.serving.security.authentication import FailedLogins
from orbitune.serving.server import open_sockets

slow = script("slow_bodies")


# Hosts and origins


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "a@localhost", ""]
)
def test_an_unknown_host_name_is_refused(address, host):
    for path in ("/", "/config", "/api/health", "/gradio_api/info"):
        done = httpx.get(address + path, headers={"host": host, "origin": "http://evil.example"})
        assert done.status_code in (400, 421)
        assert not [name for name in done.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:7860", "localhost."])
def test_names_of_this_machine_are_accepted_at_any_port(address, host):
    assert httpx.get(f"{address}/api/health", headers={"host": host}).status_code == 200


def test_a_forwarded_host_is_one_it_was_started_for_as_well(address):
    assert httpx.get(f"{address}/", headers={"x-forwarded-host": "evil.example"}).status_code == 421


def test_each_of_several_proxies_may_add_its_host_name(address):
    for forwarded, status in (
        ("localhost", 200),
        ("localhost, 127.0.0.1:7860", 200),
        ("localhost, evil.example", 421),
        ("localhost,", 421),
    ):
        asked = httpx.get(f"{address}/config", headers={"x-forwarded-host": forwarded})
        assert asked.status_code == status


def test_a_request_without_a_host_or_with_two_is_refused(address):
    for hosts in ("", "Host: localhost\r\nHost: evil.example\r\n"):
        answer = raw(address, f"GET /api/health HTTP/1.0\r\n{hosts}\r\n".encode())
        assert answer.split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "file://", "http://[::1"]
)
def test_a_page_of_another_site_may_not_call_it(address, origin, tile_bytes):
    done = httpx.post(f"{address}/api/predict", content=tile_bytes, headers={"origin": origin})
    assert done.status_code == 403
    asked = {"origin": origin, "access-control-request-method": "POST"}
    preflight = httpx.options(f"{address}/gradio_api/queue/join", headers=asked)
    for answer in (done, preflight):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_pages_may_and_need_no_allowance(address, tile_bytes):
    done = httpx.post(f"{address}/api/predict", content=tile_bytes, headers={"origin": address})
    assert done.status_code == 200
    answer = httpx.get(f"{address}/config", headers={"origin": address})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_cross_site_request_is_refused(address):
    other = {"sec-fetch-site": "cross-site"}
    assert httpx.get(f"{address}/gradio_api/info", headers=other).status_code == 403
    assert httpx.get(f"{address}/", headers=other).status_code == 200  # a link to the page


def test_a_proxys_host_name_is_accepted_once_allowed(service):
    hosts = AllowedHosts.for_address("127.0.0.1", ("Maps.Example.org",))
    with serving(service, hosts=hosts) as address:
        named = {"host": "maps.example.org", "origin": "https://maps.example.org"}
        assert httpx.get(f"{address}/config", headers=named).status_code == 200
        assert (
            httpx.get(f"{address}/config", headers={"origin": "https://maps.example.org"}).status_code == 200
        )
        assert httpx.get(f"{address}/config", headers={"host": "example.org"}).status_code == 421


def test_on_all_addresses_every_address_is_accepted_but_no_unknown_name():
    for host in ("0.0.0.0", "::"):
        hosts = AllowedHosts.for_address(host)
        assert all(
            map(hosts.allows_host, ("192.168.1.5:7860", "[fe80::1]:7860", "localhost", socket.gethostname()))
        )
        assert not hosts.allows_host("evil.example")
    assert not AllowedHosts.for_address("127.0.0.1").allows_host("192.168.1.5")
    assert AllowedHosts.for_address("tiles.local").allows_host("tiles.local:7860")


@pytest.mark.parametrize("name", ["http://a.example", "a.example/b", "", "a b"])
def test_an_invalid_host_name_cannot_be_allowed(name):
    with pytest.raises(OrbituneError, match="--allow-host takes a host name"):
        AllowedHosts.for_address("127.0.0.1", (name,))


# Headers


def test_every_response_has_the_security_headers(address):
    for path in ("/", "/config", "/api/health", "/app/index.js", "/nothing", "/gradio_api/file=/etc/passwd"):
        headers = httpx.get(address + path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "unsafe-eval" not in policy


def test_only_the_pages_own_scripts_run(address):
    done = httpx.get(f"{address}/")
    policy = dict(rule.split(" ", 1) for rule in done.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", done.text)


def test_behind_a_proxy_the_app_is_below_its_path_stripped_or_not(service, tile_bytes):
    with serving(service, root_path="/tiles") as address:
        for below in ("", "/tiles"):
            assert httpx.get(f"{address}{below}/config").json()["root"].endswith("/tiles")
            assert httpx.get(f"{address}{below}/").status_code == 200
            assert httpx.post(f"{address}{below}/api/predict", content=tile_bytes).status_code == 200
            assert httpx.get(f"{address}{below}/gradio_api/proxy=http://a/").status_code == 404


@pytest.mark.parametrize("path", ["tiles", "http://a.example/tiles", "/a/../b", "/a b", "//a"])
def test_an_invalid_path_is_refused(path):
    with pytest.raises(OrbituneError, match="--root-path takes a path"):
        parse_root_path(path)


# Bodies


def test_other_requests_are_answered_beside_64_bodies_that_never_end(address, tile_bytes):
    for path in ("/api/predict", "/gradio_api/queue/join"):
        with slow.slow_bodies(address, 64, path=path):
            taken = slow.response_times(address, tile_bytes, requests=7)
        assert sorted(taken)[3] < 1


def test_a_body_that_comes_too_slowly_is_cut_off(service, monkeypatch):
    monkeypatch.setattr(body_limits, "GRACE_SECONDS", 0.3)
    with serving(service) as address:
        for path in ("/api/predict", "/gradio_api/upload", "/gradio_api/queue/join", "/login"):
            form = "Content-Type: multipart/form-data; boundary=b\r\n"
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{form}Content-Length: 1000\r\n\r\n-"
            start = time.monotonic()
            answer = raw(address, head.encode())
            assert answer.startswith(b"HTTP/1.1 408") and time.monotonic() - start < 3
            chunked = head.replace("Content-Length: 1000", "Transfer-Encoding: chunked")[:-1] + "1\r\n-\r\n"
            assert raw(address, chunked.encode()).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("path", ["/api/predict", "/gradio_api/upload", "/gradio_api/queue/join", "/login"])
def test_a_request_whose_content_length_is_too_large_is_refused_unread(address, path):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    head += "Content-Length: 999999999\r\n\r\n"
    assert raw(address, head.encode()).startswith(b"HTTP/1.1 413")


def test_bodies_together_are_bounded_and_the_one_that_stalls_makes_room(service, tile_bytes, monkeypatch):
    monkeypatch.setattr(body_limits, "MAX_BYTES_IN_MEMORY", 2**20)
    with serving(service) as address:
        answers = []
        head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"
        stalled = threading.Thread(target=lambda: answers.append(raw(address, head + bytes(800_000))))
        stalled.start()
        time.sleep(0.3)
        assert httpx.post(f"{address}/api/predict", content=bytes(700_000)).status_code == 422
        stalled.join(8)
    assert answers[0].startswith(b"HTTP/1.1 503") and b"retry-after: 1" in answers[0]


def test_a_client_that_hangs_up_leaves_nothing(address, tile_bytes, caplog):
    for path in ("/api/predict", "/gradio_api/upload"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello"
        raw(address, head.encode(), wait=0.1)
    assert httpx.post(f"{address}/api/predict", content=tile_bytes).status_code == 200
    assert not caplog.messages


def test_a_form_with_one_file_is_an_image_and_another_form_is_told_how(address, tile_bytes):
    url = f"{address}/api/predict"
    plain = httpx.post(url, content=tile_bytes).json()["labels"]
    assert httpx.post(url, files={"file": ("tile.png", tile_bytes)}).json()["labels"] == plain
    for files in ({"a": tile_bytes, "b": tile_bytes}, [("a", (None, "text"))]):
        done = httpx.post(url, files=files)
        assert done.status_code == 400
    assert "--data-binary @tile.png" in done.json()["detail"]


@pytest.mark.parametrize("query", ["top_k=0", "top_k=-1", "top_k=x", "top_k=1e9"])
def test_a_number_of_labels_that_makes_no_sense_is_refused(address, tile_bytes, query):
    done = httpx.post(f"{address}/api/predict?{query}", content=tile_bytes)
    assert done.status_code == 422
    typed = query.partition("=")[2]
    wanted = "a whole number" if typed in ("x", "1e9") else "at least 1"
    sentence = f"top_k: must be {wanted}, not '{typed}'."
    assert done.json() == {"detail": sentence, "kind": "invalid_parameter"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"data": 1}',
        b'{"data": [], "fn_index": 9999, "session_hash": "a"}',
        b"\xff",
    ],
)
def test_an_invalid_call_is_an_error_and_at_most_a_line_in_the_log(address, body, caplog):
    for path in ("queue/join", "call/nothing", "call/v2/nothing", "cancel"):
        head = {"content-type": "application/json"}
        assert httpx.post(f"{address}/gradio_api/{path}", content=body, headers=head).status_code >= 400
    assert len(caplog.records) <= 4
    assert all("\n" not in record.getMessage() and not record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("call/_x/", {"data": []}, 404),
        ("call/v2/_x", {}, 404),
        ("queue/join", {"data": [], "fn_index": -1, "session_hash": "a"}, 404),
        ("queue/join", {"data": [], "fn_index": 9999, "session_hash": "a"}, 404),
        ("call/v2/predict", {"no_such_input": 1}, 422),
    ],
)
def test_an_unknown_function_is_an_error_in_json_and_leaves_no_line(address, path, body, status, caplog):
    done = httpx.post(f"{address}/gradio_api/{path}", json=body)
    assert done.status_code == status and "see /gradio_api/info" in done.json()["detail"]
    assert not caplog.messages


# Passwords


def log_in(address, password, **headers):
    form = {"username": "ann", "password": password}
    return httpx.post(f"{address}/login", data=form, headers=headers)


@pytest.fixture
def locked(service):
    with serving(service, ("ann", "secret")) as address:
        yield address


def test_after_five_wrong_passwords_a_client_waits_whichever_way_it_asks(locked, caplog):
    with caplog.at_level(logging.WARNING, "orbitune.app"):
        answers = [log_in(locked, f"guess{n}").status_code for n in range(3)]
        asked = [httpx.get(f"{locked}/api/health", auth=("ann", f"guess{n}")) for n in range(2)]
    assert answers == [400] * 3 and [each.status_code for each in asked] == [401] * 2
    assert (
        len(caplog.messages) == 5
        and caplog.messages[4] == "wrong user or password from 127.0.0.1, 5 in a row"
    )
    late = httpx.get(f"{locked}/api/health", auth=("ann", "secret"))
    assert late.status_code == log_in(locked, "secret").status_code == 429
    assert int(late.headers["retry-after"]) >= 1
    time.sleep(1.6)
    assert log_in(locked, "secret").status_code == 200
    assert log_in(locked, "guess").status_code == 400  # counted anew


def test_the_wait_doubles_up_to_five_minutes_and_clients_are_forgotten(monkeypatch):
    monkeypatch.setattr(authentication, "MAX_CLIENTS", 3)
    failures = FailedLogins()
    waits = []
    for _ in range(20):
        failures.record("10.0.0.1")
        waits.append(failures.seconds_to_wait("10.0.0.1"))
    assert waits[:4] == [0] * 4 and waits[4:8] == [1, 2, 4, 8] and waits[-1] == 300
    assert failures.seconds_to_wait("10.0.0.2") == 0
    for client in ("10.0.0.2", "10.0.0.3", "10.0.0.4"):
        failures.record(client)
    assert failures.seconds_to_wait("10.0.0.1") == 0


def test_all_addresses_of_one_ipv6_network_are_one_client():
    failures = FailedLogins()
    for number in range(9):
        failures.record(f"2001:db8::{number}")
    assert failures.seconds_to_wait("2001:db8::ffff") > 0 and failures.seconds_to_wait("2001:db8:0:1::1") == 0


def test_clients_of_ipv4_are_apart_on_a_socket_of_both_kinds():
    failures = FailedLogins()
    for _ in range(9):
        failures.record("::ffff:10.0.0.1")
    assert (
        failures.seconds_to_wait("::ffff:10.0.0.1") > 0 and failures.seconds_to_wait("::ffff:10.0.0.2") == 0
    )


def test_the_cookie_is_secure_behind_https_and_for_this_site_alone(locked):
    for proto, secure in (("https", True), ("http", False)):
        (cookie,) = log_in(locked, "secret", **{"x-forwarded-proto": proto}).headers.get_list("set-cookie")
        assert ("; Secure" in cookie) == secure and ("-unsecure-" in cookie) != secure
        assert "; HttpOnly" in cookie and "; SameSite=Lax" in cookie


def test_who_has_signed_in_calls_functions_and_who_signs_out_no_longer_does(locked):
    with httpx.Client(base_url=locked) as client:
        client.post("/login", data={"username": "ann", "password": "secret"})
        assert client.get("/gradio_api/info").status_code == 200
        client.get("/logout")
        assert client.get("/gradio_api/info").status_code == 401


# Listening


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_it_listens_on_addresses_of_both_kinds():
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "::1", "::"):
        try:
            opened = open_sockets(host, 0 if host != "localhost" else 17_861)
        except OrbituneError as error:
            assert ":" in host and "address" in str(error).lower()  # a machine without IPv6
            continue
        assert opened
        for each in opened:
            each.close()


def test_a_host_that_is_none_is_one_line():
    with pytest.raises(OrbituneError, match=r"Cannot listen on \[::zz\]:7860: --host is no address"):
        open_sockets("::zz", 7860)
    with pytest.raises(OrbituneError, match=r"Cannot listen on 192\.0\.2\.1:7860"):
        open_sockets("192.0.2.1", 7860)
