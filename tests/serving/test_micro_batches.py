"""Tiles of concurrent requests are computed together."""

import threading

import numpy as np
import pytest
from served_app import wait_until

from orbitune.serving.engines.micro_batches import MAX_BATCH, MicroBatcher, QueueFullError


def tile(value):
    return np.full((1, 1, 1), value, np.uint8)


class Doubling:
    """Computes the double of a tile's value, once it may; notes the batches."""

    def __init__(self):
        self.may, self.batches = threading.Event(), []

    def __call__(self, tiles):
        assert self.may.wait(10)
        self.batches.append(tiles.ravel().tolist())
        values = tiles.reshape(-1, 1).astype(float)
        return 2 * values, values[:, 0]


@pytest.fixture
def doubling():
    return Doubling()


@pytest.fixture
def batcher(doubling):
    batcher = MicroBatcher(doubling)
    yield batcher
    doubling.may.set()
    batcher.close()


def test_tiles_that_come_while_a_batch_is_computed_are_the_next_batch(batcher, doubling):
    with batcher.admit(40) as places:
        futures = [places.submit(tile(0))]
        wait_until(lambda: not batcher._tiles)  # the first is being computed
        futures += [places.submit(tile(value)) for value in range(1, 40)]
        doubling.may.set()
        answers = [future.result(10) for future in futures]
    assert [(row.tolist(), score) for row, score in answers] == [([2.0 * v], float(v)) for v in range(40)]
    assert [len(each) for each in doubling.batches] == [1, MAX_BATCH, MAX_BATCH, 7]


def test_a_single_tile_does_not_wait_for_others(batcher, doubling, monkeypatch):
    monkeypatch.setattr("orbitune.serving.engines.micro_batches.MAX_DELAY", 60.0)
    doubling.may.set()
    with batcher.admit(1) as places:
        assert places.submit(tile(3)).result(10)[1] == 3.0


def test_a_batch_waits_for_tiles_that_are_being_decoded_and_no_longer_once_they_are_not(
    batcher, doubling, monkeypatch
):
    monkeypatch.setattr("orbitune.serving.engines.micro_batches.MAX_DELAY", 60.0)
    doubling.may.set()
    with batcher.admit(1) as places, batcher.admit(1) as unreadable, batcher.admit(1) as later:
        first = places.submit(tile(1))
        unreadable.withdraw(1)
        assert not first.done()
        later.submit(tile(2)).result(10)
        first.result(10)
    assert doubling.batches == [[1, 2]]


def test_places_are_free_again_after_a_request_however_it_ends(batcher, monkeypatch):
    monkeypatch.setattr("orbitune.serving.engines.micro_batches.MAX_WAITING", 3)
    with pytest.raises(ZeroDivisionError), batcher.admit(3) as places:
        places.submit(tile(1)).cancel()
        with pytest.raises(QueueFullError, match="3 images wait already; try again"):
            batcher.admit(1).__enter__()
        raise ZeroDivisionError
    assert batcher.waiting == 0


def test_a_cancelled_tile_is_not_computed(batcher, doubling):
    with batcher.admit(3) as places:
        first = places.submit(tile(1))
        wait_until(lambda: not batcher._tiles)
        places.submit(tile(2)).cancel()
        last = places.submit(tile(3))
        doubling.may.set()
        assert [first.result(10)[1], last.result(10)[1]] == [1.0, 3.0]
    assert doubling.batches == [[1], [3]]


def test_tiles_of_a_request_that_failed_meanwhile_are_not_computed(batcher, doubling):
    with batcher.admit(1) as places:
        first = places.submit(tile(1))
        wait_until(lambda: not batcher._tiles)
        with pytest.raises(ZeroDivisionError), batcher.admit(3) as others:
            others.submit(tile(2))
            raise ZeroDivisionError
        doubling.may.set()
        first.result(10)
    with batcher.admit(1) as places:
        assert places.submit(tile(3)).result(10)[1] == 3.0
    assert doubling.batches == [[1], [3]]


def test_a_failed_batch_fails_its_tiles_alone(doubling):
    def compute(tiles):
        if (tiles == 13).any():
            raise ValueError("unlucky")
        return doubling(tiles)

    doubling.may.set()
    batcher = MicroBatcher(compute)
    with batcher.admit(1) as places, pytest.raises(ValueError, match="unlucky"):
        places.submit(tile(13)).result(10)
    with batcher.admit(1) as places:
        assert places.submit(tile(1)).result(10)[1] == 1.0
    batcher.close()


def test_at_its_end_what_waits_is_computed_and_more_is_refused(doubling):
    batcher = MicroBatcher(doubling)
    with batcher.admit(2) as places:
        futures = [places.submit(tile(1)), places.submit(tile(2))]
        doubling.may.set()
        batcher.close()
        assert [each.result(0)[1] for each in futures] == [1.0, 2.0]
    with pytest.raises(QueueFullError, match="shutting down"):
        batcher.admit(1).__enter__()
