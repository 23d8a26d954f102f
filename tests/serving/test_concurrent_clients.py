"""Clients that ask at the same time each get the answer to their own tile."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from orbitune import Classifier


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier.from_pretrained(run)


def check(address, classifier, pictures, folder):
    """Send all pictures from 16 clients; compare each answer with what the Python API says."""

    def ask(data):
        return httpx.post(f"{address}/api/predict", content=data, timeout=60).json()["labels"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, pictures))
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, data in zip(paths, pictures, strict=True):
        path.write_bytes(data)
    for answer, expected in zip(answers, classifier.predict(paths), strict=True):
        found = {each["label"]: each["probability"] for each in answer}
        assert found == pytest.approx(dict(expected.labels), abs=1e-3)
    assert len({str(answer) for answer in answers}) > len(answers) / 2  # they do differ


def test_small_tiles(address, classifier, runs, tmp_path):
    check(
        address, classifier, [path.read_bytes() for path in sorted((runs / "tiles").rglob("*.png"))], tmp_path
    )


@pytest.mark.shared
def test_tiles_of_eurosat(address, classifier, shared, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = sorted((shared / "eurosat").rglob("*test*.parquet"))[0]
    rows = next(parquet.ParquetFile(file).iter_batches(96, columns=["image"])).to_pylist()
    check(address, classifier, [row["image"]["bytes"] for row in rows], tmp_path)
