"""The app opens uploads alone, by whatever input or path it is asked."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from reliability import script
from served_app import serving

from orbitune.errors import OrbituneError
from orbitune.serving.storage import Storage, delete_upload, safe_name

inputs = script("app_inputs")
LOGIN = ("ann", "secret")


@pytest.fixture
def found(tmp_path):
    with inputs.targets(tmp_path) as found:
        yield found


def upload(address, name, data, **settings):
    """The path that an upload is given."""
    done = httpx.post(f"{address}/gradio_api/upload", files={"files": (name, data)}, **settings)
    assert done.status_code == 200, done.text
    return done.json()[0]


def ask(address, path, **more):
    """What the tab of one tile answers for a file of that path."""
    with httpx.Client(base_url=address, timeout=30) as client:
        value = {"path": path, "meta": inputs.META, **more}
        return inputs.call_by_name(client, "predict", values=[value, "lora"]).decode()


@pytest.mark.slow
def test_no_hostile_value_in_any_input_has_a_file_or_a_server_read(address, found, caplog):
    report = inputs.measure(address, found, count=64)
    assert report["read"] == 0, report["first"]
    assert report["inputs"] >= 12 and report["slowest"] < 20
    assert not [line for line in caplog.messages if "\n" in line or "Traceback" in line]


@pytest.mark.slow
def test_no_hostile_value_has_a_file_read_with_a_login(service, found):
    with serving(service, LOGIN) as address:
        done = httpx.post(f"{address}/login", data={"username": "ann", "password": "secret"})
        report = inputs.measure(address, found, count=16, seed=1, cookies=dict(done.cookies))
    assert report["read"] == 0, report["first"]


def test_without_signing_in_no_function_is_called_and_nothing_is_uploaded(service):
    with serving(service, LOGIN) as address:
        calls = ("queue/join", "call/predict", "upload", "cancel", "reset")
        assert {httpx.post(f"{address}/gradio_api/{each}", json={}).status_code for each in calls} == {401}
        reads = ("info", "file=/etc/passwd", "queue/data?session_hash=a", "heartbeat/a", "startup-events")
        assert {httpx.get(f"{address}/gradio_api/{each}").status_code for each in reads} == {401}


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "/proc/self/environ", "http://127.0.0.1/a.png"])
def test_a_path_that_was_not_uploaded_is_refused_in_words_that_name_none(address, path):
    answer = ask(address, path)
    assert "was not uploaded to this server" in answer
    assert path not in answer and "orbitune-app" not in answer


def test_an_upload_is_predicted_whatever_other_fields_the_client_sends(address, tile):
    path = upload(address, "../../../tile.png", tile.read_bytes())
    assert Path(path).name == "tile.png"
    told = {"url": "http://169.254.169.254/", "orig_name": "../../a.svg", "is_stream": True}
    assert "class_" in ask(address, path, **told)


def test_an_upload_of_another_server_is_not_taken(address, service, tile):
    with serving(service) as other:
        path = upload(other, "tile.png", tile.read_bytes())
        assert "was not uploaded to this server" in ask(address, path)
        assert httpx.get(f"{address}/gradio_api/file={path}").status_code == 404


def test_links_pipes_and_folders_among_the_uploads_are_refused(tmp_path):
    storage = Storage()
    path = storage.new_upload_path("a.png")
    (tmp_path / "secret").write_text("secret")
    path.symlink_to(tmp_path / "secret")
    os.mkfifo(path.with_name("pipe.png"))
    path.with_name("linked").symlink_to(tmp_path)
    for each in (path, path.with_name("pipe.png"), path.parent, path.parent / "linked" / "secret"):
        assert storage.find_download(str(each)) is None
        with pytest.raises(OrbituneError, match="was not uploaded"):
            storage.find_input(str(each))
    storage.close()


def test_what_was_not_uploaded_can_be_downloaded_but_not_used_as_input():
    storage = Storage()
    (storage.folder / "examples").mkdir()
    for path in (storage.new_result_path("classes.csv"), storage.folder / "examples" / "a.png"):
        path.write_text("a")
        assert storage.find_download(str(path)) == path
        with pytest.raises(OrbituneError, match="was not uploaded"):
            storage.find_input(str(path))
    storage.close()


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/deep_link?session_hash=a",
        "/gradio_api/custom_component/a/client/b/c",
        "/gradio_api/stream/a/b/1/playlist-file",
        "/gradio_api/vibe-code",
        "/gradio_api/dev/reload",
        "/gradio_api/token",
        "/monitoring",
        "/monitoring/summary",
        "/pwa_icon",
        "/theme.css",
        "/assets/index.js",
        "/static/img/logo.svg",
    ],
)
def test_what_the_pages_do_not_need_of_gradio_is_not_there(address, path):
    assert httpx.get(address + path).status_code == 404
    assert httpx.post(address + path, json={}).status_code == 404


@pytest.mark.parametrize(
    "path", ["run/predict", "api/predict", "component_server", "process_recording", "vibe-edit"]
)
def test_routes_past_the_queue_are_not_there(address, path):
    assert httpx.post(f"{address}/gradio_api/{path}", json={"data": []}).status_code == 404


def test_a_page_or_picture_with_script_is_downloaded_and_never_shown(address):
    for name in ("page.html", "picture.svg", "tile.png.html", "noending"):
        path = upload(address, name, b"<svg onload=alert(1)><script>alert(1)</script>")
        done = httpx.get(f"{address}/gradio_api/file={path}")
        assert done.headers["content-disposition"].startswith("attachment")
        assert done.headers["content-type"] == "application/octet-stream"
        assert done.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>.png", "a\nb.png", "\u202egnp.exe", "..", ".hidden", ""]
)
def test_names_of_uploads_are_harmless(name):
    made = safe_name(name)
    assert made and not set(made) & set("<>\"'&\n/\\\u202e") and not made.startswith(".")


@pytest.mark.parametrize(
    "name",
    ["衛" * 90 + ".png", "é" * 500 + ".tif", "a" * 300, "😀" * 80 + ".jpg"],
    ids=["Chinese", "French", "no ending", "symbols"],
)
def test_a_name_that_is_long_in_any_script_is_cut_and_keeps_its_ending(address, tile, name):
    path = Path(upload(address, name, tile.read_bytes()))
    assert len(path.name.encode()) <= 100 and path.read_bytes() == tile.read_bytes()
    assert path.suffix == Path(name).suffix
    assert "class_" in ask(address, str(path))
    assert httpx.get(f"{address}/gradio_api/file={path}").content == tile.read_bytes()


def test_a_form_of_too_many_files_or_that_breaks_off_leaves_none(address, tile):
    many = [("files", (f"{number}.png", b"x")) for number in range(1001)]
    done = httpx.post(f"{address}/gradio_api/upload", files=many)
    assert (done.status_code, done.json()["detail"]) == (
        400,
        "At most 1,000 files are accepted at once: send a zip.",
    )
    head = {"content-type": "multipart/form-data; boundary=b"}
    part = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\nhello'
    assert httpx.post(f"{address}/gradio_api/upload", content=part, headers=head).status_code == 400
    uploads = Path(upload(address, "a.png", tile.read_bytes())).parent.parent
    assert not [path for path in uploads.rglob("*") if path.is_file() and path.stat().st_size < 10]


def test_the_folder_of_a_server_is_private_and_goes_with_it(service, tile):
    with serving(service) as address:
        path = Path(upload(address, "tile.png", tile.read_bytes()))
        folder = path.parents[2]
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert "class_" in ask(address, str(path))
    assert not folder.exists()


def test_old_files_are_deleted_and_the_oldest_make_room(monkeypatch):
    storage = Storage()
    old, older, new = (storage.new_upload_path(f"{name}.png") for name in ("old", "older", "new"))
    for path, age in ((old, 20), (older, 30), (new, 0)):
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - age,) * 2)
    monkeypatch.setattr("orbitune.serving.storage.MAX_STORED_BYTES", 2500)
    storage.delete_expired(incoming=400)
    assert (old.exists(), older.exists(), new.exists()) == (True, False, True)
    monkeypatch.setattr("orbitune.serving.storage.MAX_AGE", 10)
    storage.delete_expired()
    assert (old.exists(), new.exists()) == (False, True)
    storage.close()


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_files_in_use_and_those_that_are_worked_on_are_kept_however_old(monkeypatch):
    storage = Storage()
    used, idle = storage.new_upload_path("used.tif"), storage.new_upload_path("idle.tif")
    part = storage.work / "map" / "part.npy"
    part.parent.mkdir()
    for path in (used, idle, part):
        path.write_bytes(bytes(1000))
        age(path, 7200)
        age(path.parent, 7200)
    monkeypatch.setattr("orbitune.serving.storage.MAX_STORED_BYTES", 0)
    with storage.in_use(used), storage.in_use(used):
        with storage.in_use(used):
            pass
        storage.delete_expired()
        assert used.exists() and part.exists() and not idle.exists()
    assert storage.find_download(str(part)) is None
    storage.delete_expired()
    assert part.exists() and not used.exists()
    storage.close()


def test_empty_folders_go_when_they_are_old_and_those_of_the_server_stay():
    storage = Storage()
    old, new = storage.new_upload_path("a").parent, storage.new_upload_path("a").parent
    for path in (old, storage.results, storage.folder / "uploads"):
        age(path, 7200)
    storage.delete_expired()
    assert not old.exists() and new.exists()
    assert storage.results.exists()
    storage.close()


def test_an_upload_that_cannot_be_written_leaves_no_folder(tmp_path):
    storage = Storage()
    folder = storage.new_upload_path("a").parent
    delete_upload(folder / ("a" * 300))
    assert not folder.exists()
    storage.close()


def test_what_a_killed_server_left_is_deleted_and_what_runs_is_not(tmp_path):
    """The lock of a process goes when it does."""
    code = (
        "import os, sys\nfrom orbitune.serving.storage import Storage\n"
        "Storage().new_upload_path('tile.png').touch()\nprint(len(os.listdir(sys.argv[1])), flush=True)\n"
        "sys.stdin.read()"
    )

    def serve():
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    with serve() as killed, serve() as running:
        assert killed.stdout.readline() and running.stdout.readline()  # both have their folders
        killed.kill()
        killed.wait()
        with serve() as third:
            assert third.stdout.readline() == b"2\n"  # its own folder, and that of the one which still runs
            third.stdin.close()
        running.stdin.close()
    assert not list(tmp_path.iterdir())


def test_a_name_becomes_no_markup():
    from orbitune.serving.gradio_functions import escape_markdown

    shown = escape_markdown("<img onerror=x> **[a](http://b)**\n# c `d` class_1")
    assert not set(shown) & set("<>*[]`\n") and "class_1" in shown


def test_many_calls_at_once_of_hostile_paths_do_not_keep_others_waiting(address, tile):
    path = upload(address, "tile.png", tile.read_bytes())
    threads = [threading.Thread(target=ask, args=[address, "/dev/zero"]) for _ in range(16)]
    for thread in threads:
        thread.start()
    assert "class_" in ask(address, path)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
