"""Mutated bundles, runs, adapters and backbones give a result or one line.

benchmarks/reliability/mutations.py runs thousands; these are some of the same.
"""

import json

import mutations_models
import pytest
from mutations import attack
from mutations_models import TARGETS

from orbitune.errors import OrbituneError

COUNTS = {"runs": 20, "bundles": 30, "bundles-without-hashes": 30, "imports": 40, "backbones": 40}


@pytest.fixture(autouse=True)
def finished_run(run):
    mutations_models.prepared["run"] = run


WRONG = (..., None, "x", -1, 10**9, [], {"a": 1})


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_mutants_are_opened_or_refused_in_one_line(target):
    findings = attack(target, COUNTS[target.name], seed=1)
    assert findings.clean, findings.to_json()
    assert findings.refused


def places(value, above=()):
    """Every field of a JSON value, and of the first entry of each of its lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for name, part in entries:
        yield (*above, name)
        if isinstance(part, dict | list):
            yield from places(part, (*above, name))


def changed(value, place, new):
    value = json.loads(json.dumps(value))
    part = value
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = new
    if new is ...:
        del part[place[-1]]
    return json.dumps(value).encode()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_missing_field_or_one_of_another_type_causes_no_traceback(target):
    """Each field with one wrong value; which one changes from field to field."""
    for name, data in target.samples().items():
        if name.endswith(".json"):
            sound = json.loads(data)
            for number, place in enumerate(places(sound)):
                if number % 4 == 0:
                    wrong = WRONG[number // 4 % len(WRONG)]
                    try:
                        target.read(name, changed(sound, place, wrong))
                    except OrbituneError as error:
                        assert "\n" not in str(error), (name, place)
