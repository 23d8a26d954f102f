"""The app over HTTP: JSON, Gradio's API, limits."""

import json
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from samples import backbone_folder
from served_app import serving

from orbitune import Recipe, train
from orbitune.errors import OrbituneError
from orbitune.inference.classifier import Classifier
from orbitune.serving import uploads
from orbitune.serving.service import PredictionService, name_models

CLASSES = ["class_0", "class_1", "class_2"]


@pytest.fixture
def label(runs, tile):
    """What the LoRA run makes of the tile, by the Python API."""
    (prediction,) = Classifier.from_pretrained(runs / "run").predict(tile)
    return prediction.labels[0][0]


def test_the_json_endpoint_answers_with_labels_and_probabilities(address, tile, label):
    answer = httpx.post(f"{address}/api/predict", content=tile.read_bytes()).json()
    assert answer["labels"][0]["label"] == label
    assert sum(each["probability"] for each in answer["labels"]) == pytest.approx(1)
    assert answer["seconds"] > 0


def test_the_model_is_chosen_by_name(address, tile):
    health = httpx.get(f"{address}/api/health").json()
    assert health["models"] == {"lora": CLASSES, "full": CLASSES}
    for name, status in (("full", 200), ("other", 400)):
        done = httpx.post(f"{address}/api/predict?model={name}", content=tile.read_bytes())
        assert done.status_code == status
    assert done.json() == {
        "detail": "Unknown model 'other'. Choose from: lora, full.",
        "kind": "unknown_model",
    }


def test_twenty_concurrent_clients_all_get_a_response(address, tile, label):
    def ask(_):
        return httpx.post(f"{address}/api/predict", content=tile.read_bytes(), timeout=60)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["labels"][0]["label"] for answer in answers} == {label}


def test_gradios_own_client_predicts(address, tile, label):
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    verdict, shares, picture = client.predict(handle_file(tile), "lora", api_name="/predict")
    assert label in verdict and shares["label"] == label
    with Image.open(picture) as seen:
        assert seen.width == seen.height


def test_a_backbone_without_attribution_maps_predicts_and_says_so(runs, tmp_path, tile):
    from gradio_client import Client, handle_file

    backbone = str(backbone_folder(tmp_path / "backbone", "hiera"))
    recipe = Recipe(data=str(runs / "tiles"), backbone=backbone, epochs=1, batch_size=16, precision="fp32")
    train(recipe, tmp_path / "run", progress=False)
    with serving(PredictionService({"hiera": tmp_path / "run"})) as address:
        client = Client(address, verbose=False)
        verdict, shares, picture = client.predict(handle_file(tile), "hiera", api_name="/predict")
    assert shares["label"] in CLASSES and shares["label"] in verdict
    assert verdict.endswith("This model's backbone has no attribution map.") and picture is None


def test_a_get_of_the_json_endpoint_returns_one_line_of_instructions(address):
    done = httpx.get(f"{address}/api/predict?top_k=2")
    assert done.status_code == 405 and done.headers["allow"] == "POST"
    assert done.json()["detail"].startswith("Send one image with POST: curl --data-binary @tile.png http://")
    assert f"{address}/api/predict," in done.json()["detail"]


def test_an_invalid_image_is_one_clear_sentence(address):
    done = httpx.post(f"{address}/api/predict", content=b"hello")
    assert done.status_code == 422
    assert done.json()["detail"].startswith("The image is no image of a known kind")


def huge_png(side):
    """A PNG of a few kilobytes whose header claims side x side pixels."""
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")
    parts = [
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [6_000, 32_000])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(address, side):
    done = httpx.post(f"{address}/api/predict", content=huge_png(side))
    assert done.status_code == 422
    assert "pixels" in done.json()["detail"]


def test_an_upload_over_the_limit_is_cut_off(service, monkeypatch):
    monkeypatch.setattr("orbitune.serving.app.MAX_UPLOAD_BYTES", 1 << 20)
    with serving(service) as address:
        done = httpx.post(f"{address}/api/predict", content=bytes(2 << 20))
    assert done.status_code == 413


def test_as_many_files_as_are_taken_fit_one_call_and_more_are_refused_in_words(address, tile):
    """With the longest names, and all that a page says of each file."""
    name = "衛" * 80 + ".png"
    data = [("files", (name, tile.read_bytes()))]
    (path,) = httpx.post(f"{address}/gradio_api/upload", files=data).json()
    said = {
        "path": path,
        "url": f"{address}/gradio_api/file={quote(path)}",
        "orig_name": name,
        "size": 10_000,
        "mime_type": "image/png",
        "is_stream": False,
        "meta": {"_type": "gradio.FileData"},
    }
    most = uploads.MAX_FILES_AT_ONCE
    for count, answer in ((most, "1,000 images: "), (most + 1, "send a zip")):
        call = f"{address}/gradio_api/call/predict_many"
        body = json.dumps({"data": [[said] * count, "lora"]}, ensure_ascii=False, separators=(",", ":"))
        begun = httpx.post(call, content=body.encode(), headers={"content-type": "application/json"})
        assert begun.status_code == 200, begun.text
        assert answer in httpx.get(f"{call}/{begun.json()['event_id']}", timeout=60).text


def zipped(folder, entries):
    with zipfile.ZipFile(folder / "tiles.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return folder / "tiles.zip"


def test_a_zip_becomes_a_table_in_which_a_bad_file_is_a_row(address, tile, label, tmp_path):
    from gradio_client import Client, handle_file

    packed = zipped(tmp_path, {"a/one.png": tile.read_bytes(), "b/=two.png": b"no image"})
    client = Client(address, verbose=False)
    summary, table, download = client.predict([handle_file(packed)], "lora", api_name="/predict_many")
    assert summary == "2 images: 0 not sure, 1 could not be read."
    assert [row[:2] for row in table["data"]] == [["a/one.png", label], ["b/=two.png", ""]]
    assert "is no image" in table["data"][1][4]
    with open(download["value"] if isinstance(download, dict) else download) as file:  # noqa: PTH123
        assert len(file.readlines()) == 3


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"../../out.png": b"x"}, "`..`"),
        ({f"{number}.png": b"" for number in range(30)}, "at most 20 at once"),
        ({"zeros.png": bytes(3 << 20)}, "unpacks to more than"),
    ],
)
def test_a_hostile_zip_is_refused_before_it_is_unpacked(service, tmp_path, monkeypatch, entries, message):
    monkeypatch.setattr(uploads, "MAX_IMAGES", 20)
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(OrbituneError, match=message):
        list(service.predict_files("lora", [zipped(tmp_path, entries)]))


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=../../etc/passwd",
        "/file=/etc/passwd",
        "/static/../../../../etc/passwd",
    ],
)
def test_no_file_of_the_server_can_be_read(address, path):
    done = httpx.get(address + path)
    assert done.status_code in (403, 404)
    assert "root:" not in done.text and "[project]" not in done.text


def test_nor_does_a_prediction_open_a_path_that_a_client_names(address, runs):
    from gradio_client import Client

    secret = {"path": str(runs / "run" / "recipe.yaml"), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match=r"(?i)error|not|access"):
        Client(address, verbose=False).predict(secret, "lora", api_name="/predict")


def test_with_a_login_every_request_needs_it(service, tile):
    with serving(service, login=("ann", "secret")) as address:
        url, data = f"{address}/api/predict", tile.read_bytes()
        assert httpx.post(url, content=data).status_code == 401
        assert httpx.post(url, content=data, auth=("ann", "guess")).status_code == 401
        assert httpx.post(url, content=data, auth=("ann", "secret")).status_code == 200
        assert httpx.get(f"{address}/config").status_code == 401


def test_models_of_one_name_are_distinguished(runs, tmp_path):
    (tmp_path / "run").mkdir()
    assert name_models([str(runs / "run"), str(tmp_path / "run")]) == {
        "run": str(runs / "run"),
        "run (2)": str(tmp_path / "run"),
    }
