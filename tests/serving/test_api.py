"""The JSON API: several files, errors, its description, request ids, the log and metrics."""

import json
import logging
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served_app import raw, serving, wait_until

from orbitune.serving.api.request_log import JsonFormatter
from orbitune.serving.api.schemas import ErrorBody, HealthBody, ModelsBody, PredictionBody, PredictionsBody
from orbitune.serving.api.sent_images import MAX_FILES
from orbitune.serving.engines import micro_batches
from orbitune.serving.security.allowed_hosts import AllowedHosts


def error(done):
    """Status and kind of an error, which is one sentence."""
    body = ErrorBody.model_validate(done.json())
    assert body.detail.endswith((".", "/api/predict")) and "\n" not in body.detail
    return done.status_code, body.kind


# Images


def test_several_files_are_answered_in_order_and_an_unreadable_one_beside_the_others(address, tile_bytes):
    files = [
        ("files", ("a.png", tile_bytes)),
        ("files", ("b.txt", b"hello")),
        ("files", ("c.png", tile_bytes)),
    ]
    done = httpx.post(f"{address}/api/predict?top_k=1", files=files)
    first, second, third = PredictionsBody.model_validate(done.json()).predictions
    assert [first.file, second.file, third.file] == ["a.png", "b.txt", "c.png"]
    assert first.labels == third.labels and len(first.labels) == 1 and first.error is None
    assert second.error.startswith("The image is no image of a known kind") and second.labels == []


def test_a_field_named_files_is_answered_with_a_list_even_of_one(address, tile_bytes):
    alone = httpx.post(f"{address}/api/predict", content=tile_bytes).json()
    done = httpx.post(f"{address}/api/predict", files={"files": ("tile.png", tile_bytes)})
    (answer,) = done.json()["predictions"]
    assert answer["file"] == "tile.png" and answer["labels"] == alone["labels"]


def test_the_name_of_a_file_is_echoed_as_one_line_and_never_opened(address, runs, tile_bytes):
    secret = str(runs / "run" / "recipe.yaml")
    done = httpx.post(f"{address}/api/predict", files=[("files", (secret, b"")), ("files", ("a\tb", b""))])
    assert [each["error"] for each in done.json()["predictions"]] == ["The image is empty."] * 2


def test_too_many_files_are_refused_in_words(address, tile_bytes):
    files = [("files", (f"{number}.png", tile_bytes)) for number in range(MAX_FILES + 1)]
    done = httpx.post(f"{address}/api/predict", files=files)
    assert error(done) == (413, "too_many_files") and f"At most {MAX_FILES} files" in done.json()["detail"]


# Errors


@pytest.mark.parametrize(
    ("method", "path", "content", "expected"),
    [
        ("POST", "/api/predict", b"hello", (422, "unreadable_image")),
        ("POST", "/api/predict", b"", (422, "unreadable_image")),
        ("POST", "/api/predict?top_k=0", b"", (422, "invalid_parameter")),
        ("POST", "/api/predict?model=other", b"", (400, "unknown_model")),
        ("POST", "/api/predict?topk=1", b"", (422, "invalid_parameter")),
        ("GET", "/api/predict", None, (405, "method_not_allowed")),
        ("POST", "/api/health", None, (405, "method_not_allowed")),
        ("GET", "/api/preview", None, (405, "method_not_allowed")),
        ("GET", "/api/nothing", None, (404, "not_found")),
        ("PUT", "/api/predict", b"", (405, "method_not_allowed")),
    ],
)
def test_every_error_is_a_sentence_and_a_kind(address, method, path, content, expected):
    assert error(httpx.request(method, address + path, content=content)) == expected


@pytest.mark.parametrize(("path", "taken"), [("health", "GET"), ("models", "GET"), ("predict", "POST")])
def test_a_method_that_a_path_does_not_take_is_refused_with_the_one_it_takes(address, path, taken):
    refused = httpx.delete(f"{address}/api/{path}")
    assert refused.headers["allow"] == taken
    assert refused.json()["detail"] == f"This address takes only {taken}."


def test_an_unknown_parameter_is_refused_with_the_known_ones(address, tile_bytes):
    done = httpx.post(f"{address}/api/predict?topk=1", content=tile_bytes)
    assert done.json()["detail"] == (
        "Unknown parameter 'topk'. Did you mean top_k? Choose from: model, top_k."
    )


def test_errors_of_the_checks_before_the_api_have_kinds_too(address, tile_bytes):
    url = f"{address}/api/predict"
    assert error(httpx.post(url, headers={"host": "evil.example"})) == (421, "foreign_host")
    assert error(httpx.post(url, headers={"origin": "http://evil.example"})) == (403, "foreign_origin")
    assert error(httpx.post(url, content=bytes(33 << 20))) == (413, "too_large")
    assert error(httpx.post(url, files={"a": tile_bytes, "b": tile_bytes})) == (400, "invalid_form")


def test_a_parameter_in_a_form_is_refused_rather_than_ignored(address, tile_bytes):
    done = httpx.post(f"{address}/api/predict", files={"file": tile_bytes}, data={"model": "full"})
    assert error(done) == (422, "invalid_parameter")
    assert done.json()["detail"].endswith("parameters are part of the address, such as ?model=NAME&top_k=1.")


def test_a_form_that_is_cut_short_is_an_invalid_form(address):
    form = {"content-type": "multipart/form-data; boundary=b"}
    for body in (b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n", b"", b"no form"):
        done = httpx.post(f"{address}/api/predict", content=body, headers=form)
        assert error(done) == (400, "invalid_form")


def test_the_type_of_a_form_may_be_in_capitals_and_its_encoding_must_be_one(address, tile_bytes):
    head = b"--b\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\n"
    body = head + tile_bytes + b"\r\n--b--\r\n"

    def post(kind):
        return httpx.post(f"{address}/api/predict", content=body, headers={"content-type": kind})

    (answer,) = post("Multipart/Form-Data; boundary=b").json()["predictions"]
    assert answer["file"] == "a" and answer["labels"]
    assert error(post("multipart/form-data; boundary=b; charset=undefined")) == (400, "invalid_form")


def test_a_full_queue_is_503_with_the_time_to_try_again(address, service, tile_bytes, monkeypatch):
    monkeypatch.setattr(micro_batches, "MAX_WAITING", 2)
    model = service.get_model(None)
    files = [("files", ("a.png", tile_bytes))] * 3
    done = httpx.post(f"{address}/api/predict", files=files)
    assert error(done) == (503, "queue_full") and done.headers["retry-after"] == "1"
    with model.batcher.admit(2):
        assert error(httpx.post(f"{address}/api/predict", content=tile_bytes)) == (503, "queue_full")
    assert httpx.post(f"{address}/api/predict", content=tile_bytes).status_code == 200


def test_a_failure_of_the_model_is_one_sentence_and_the_next_request_is_answered(
    service, address, tile_bytes, monkeypatch
):
    model = service.get_model(None)

    def fail(tiles):
        raise RuntimeError("out of memory in /secret/place")

    with monkeypatch.context() as patched:
        patched.setattr(model.batcher, "_compute", fail)
        done = httpx.post(f"{address}/api/predict", content=tile_bytes)
        assert error(done) == (500, "server_error") and "secret" not in done.text
    assert httpx.post(f"{address}/api/predict", content=tile_bytes).status_code == 200
    assert model.batcher.waiting == 0


# Description


def test_answers_have_the_fields_that_the_description_names_and_no_others(address, tile_bytes):
    assert HealthBody.model_validate(httpx.get(f"{address}/api/health").json()).status == "ok"
    PredictionBody.model_validate(httpx.post(f"{address}/api/predict", content=tile_bytes).json())
    schemas = httpx.get(f"{address}/api/openapi.json").json()["components"]["schemas"]
    assert schemas.keys() == {
        *("ClassBody", "ErrorBody", "HealthBody", "LabelBody", "ModelBody", "ModelsBody"),
        *("PredictionBody", "PredictionsBody"),
    }
    ModelsBody.model_validate(httpx.get(f"{address}/api/models").json())


def test_the_description_is_openapi_of_our_own_paths_alone(service):
    with serving(service, root_path="/tiles") as address:
        document = httpx.get(f"{address}/api/openapi.json").json()
        assert f"{address}/tiles/api/predict" in httpx.get(f"{address}/tiles/api/docs").text
    assert document["openapi"].startswith("3.") and document["servers"] == [{"url": "/tiles"}]
    paths = {"predict", "preview", "attribution", "models", "health", "metrics"}
    assert set(document["paths"]) == {f"/api/{name}" for name in paths}
    operation = document["paths"]["/api/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/octet-stream", "multipart/form-data"}
    refs = {status: json.dumps(each["content"]) for status, each in operation["responses"].items()}
    assert "PredictionBody" in refs["200"] and all(
        "ErrorBody" in refs[status] for status in ("400", "401", "408", "413", "422", "429", "500", "503")
    )


def test_addresses_in_words_are_those_behind_the_proxy(service):
    with serving(service, root_path="/tiles") as address:
        page, refusal = httpx.get(f"{address}/api/docs").text, httpx.get(f"{address}/api/predict").json()
        form = httpx.post(f"{address}/tiles/api/predict", files={"a": b"", "b": b""}).json()
    for text in (page, refusal["detail"], form["detail"]):
        assert f"curl --data-binary @tile.png {address}/tiles/api/predict" in text


def test_every_route_has_a_title_a_description_and_an_example(address):
    document = httpx.get(f"{address}/api/openapi.json").json()
    page = httpx.get(f"{address}/api/docs").text
    assert document["info"]["title"] == "Orbitune API" and "<title>Orbitune API</title>" in page
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"] and operation["description"] in page
            commands = [each["source"] for each in operation["x-codeSamples"]]
            assert commands and all(path in command and "$URL" in command for command in commands)
    for model in (HealthBody, PredictionBody, PredictionsBody, ErrorBody):
        for example in document["components"]["schemas"][model.__name__]["examples"]:
            model.model_validate(example)


def test_metrics_are_described_as_text(address):
    document = httpx.get(f"{address}/api/openapi.json").json()
    content = document["paths"]["/api/metrics"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/plain"]
    assert httpx.get(f"{address}/api/metrics").headers["content-type"].startswith("text/plain")


def test_monitors_may_ask_for_the_state_with_head(address):
    done = httpx.head(f"{address}/api/health")
    assert (done.status_code, done.content) == (200, b"")


def test_the_reference_page_needs_no_script_and_no_other_server(address):
    done = httpx.get(f"{address}/api/docs")
    assert done.status_code == 200 and done.headers["content-type"].startswith("text/html")
    policy = done.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "<script" not in done.text and not re.findall(r"(?:src|href)=\"(?!#|openapi\.json)", done.text)
    assert f"curl --data-binary @tile.png {address}/api/predict" in done.text
    assert (
        '<a href="#PredictionsBody">' in done.text and "OOD score that decides <code>sure</code>" in done.text
    )


# Request ids and the log


def test_a_response_has_the_id_of_its_request_or_a_new_one(address, tile_bytes):
    given = httpx.get(f"{address}/api/health", headers={"x-request-id": "order-7.a:1"})
    assert given.headers["x-request-id"] == "order-7.a:1"
    refused = httpx.get(f"{address}/nothing", headers={"x-request-id": "b"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (404, "b")
    made = {httpx.get(f"{address}/api/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2 and all(re.fullmatch("[0-9a-f]{32}", each) for each in made)


@pytest.mark.parametrize("given", [b"a b", b"x" * 129, b'"}', "ü".encode()])
def test_an_id_that_could_break_a_log_is_replaced(address, given):
    head = b"GET /api/health HTTP/1.0\r\nHost: localhost\r\nX-Request-ID: " + given + b"\r\n\r\n"
    (line,) = re.findall(rb"(?i)x-request-id: (.*)\r\n", raw(address, head))
    assert re.fullmatch(rb"[0-9a-f]{32}", line)


def test_a_request_of_the_api_is_one_json_line_and_others_are_none(address, tile_bytes, caplog):
    caplog.handler.setFormatter(JsonFormatter())
    with caplog.at_level(logging.INFO, "orbitune.requests"):
        head = {"x-request-id": "order-7"}
        httpx.post(f"{address}/api/predict?top_k=1", content=tile_bytes, headers=head)
        httpx.get(f"{address}/config")
        wait_until(lambda: caplog.text)
    (line,) = caplog.text.splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00") and entry.pop("seconds") > 0
    assert entry == {
        "level": "info",
        "message": "POST /api/predict 200",
        "request_id": "order-7",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/api/predict",
        "status": 200,
    }


def test_the_log_says_where_an_error_came_from(caplog):
    caplog.handler.setFormatter(JsonFormatter())
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("asyncio").exception("a task failed")
    (line,) = caplog.text.splitlines()
    assert json.loads(line)["traceback"].endswith("ZeroDivisionError")


# Metrics


def samples(address, **settings):
    """The values of the metrics by name and labels."""
    text = httpx.get(f"{address}/api/metrics", **settings).text
    return {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_metrics_count_requests_predictions_and_batches(address, tile_bytes):
    before = samples(address)
    files = [("files", ("a.png", tile_bytes))] * 3 + [("files", ("b.txt", b"hello"))]
    httpx.post(f"{address}/api/predict?model=full", files=files)
    httpx.post(f"{address}/api/predict", content=b"hello")
    httpx.get(f"{address}/api/nothing")
    after = samples(address)

    def grown(*key):
        return after[key] - before.get(key, 0)

    assert grown("orbitune_requests_total", "/api/predict", "200") == 1
    assert grown("orbitune_requests_total", "/api/predict", "422") == 1
    assert grown("orbitune_predictions_total", "full", "not_judged") == 3  # a run has no OOD detector
    assert grown("orbitune_predictions_total", "full", "unreadable") == 1
    assert grown("orbitune_batch_tiles_sum", "full") == 3
    assert after["orbitune_waiting_images", "full"] == 0
    assert not any("/api/nothing" in key for key in after)


def test_metrics_need_the_password_like_all_else(service):
    with serving(service, login=("ann", "secret")) as address:
        assert error(httpx.get(f"{address}/api/metrics")) == (401, "login_needed")
        assert httpx.get(f"{address}/api/metrics", auth=("ann", "secret")).status_code == 200


def test_metrics_behind_a_proxy_are_those_of_the_paths_without_its_own(service, tile_bytes):
    with serving(service, hosts=AllowedHosts(), root_path="/tiles") as address:
        before = samples(f"{address}/tiles").get(("orbitune_requests_total", "/api/predict", "200"), 0)
        httpx.post(f"{address}/tiles/api/predict", content=tile_bytes)
        assert samples(f"{address}/tiles")["orbitune_requests_total", "/api/predict", "200"] == before + 1
