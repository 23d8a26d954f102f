"""Kill commands at many moments, run them again, compare with whole runs.

    python benchmarks/reliability/kills.py [--only train,map] [--moments 30] [--seed 0]

A command runs in a fork of this process, which has imported the libraries: kills hit the command's own work
and not its imports. It leads its own session, and SIGKILL is sent to it alone, as by `kill -9`. Half of the
moments follow the appearance of a file (decoded tiles, a checkpoint, the reload check), after a random delay;
the others are uniform over the time that the command takes.

The counts are printed as JSON: for each command the kills before its end (if it ended earlier, the moment is
not counted), and the second runs that succeeded with equal bytes, equal files and no process left over.

All written files are compared, except reports (report.html, report.md, figures, logs) and the JSON fields in
`MEASURED`: times, energy, memory and counts of interruptions.
"""

import argparse
import gc
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import inputs

MEASURED = re.compile(
    r"seconds|joules|energy|peak|per_second|milliseconds|created|command|digest"  # depend on time and machine
    r"|resumed|test_reads|_reused"  # count interruptions
    r"|^plan$|^compute$|^engine$|^environment$|^files$|^settings$"  # plans, and hashes of compared files
)
REPORTS = re.compile(r"report\.(html|md)$|(^|/)(figures|logs|plans)/|environment\.json$|study\.json$")
LOCKS = re.compile(r"cache/.*\.lock$|cache/kernels")  # empty, kept on purpose


@dataclass(frozen=True)
class Case:
    """A command, with OUT for its output, and patterns of files to kill it after."""

    name: str
    arguments: tuple[str, ...]
    moments: tuple[str, ...]


SAVING = ("out/.*.orbitune-tmp", "out/adapter", "out/predictions.npz", "tmp/.orbitune.*", "out/result.json")
TRAINING = (
    "cache/tiles/.*.orbitune-tmp",
    "cache/tiles/.*/*/meta.json",
    "out/checkpoint/best.safetensors",
    *SAVING,
)
CACHE_FROZEN = ("cache/activations/*/states.part", "cache/activations/*/states.bin", *TRAINING)
STUDY = (
    "out/plans",
    "out/linear/checkpoint/state.safetensors",
    "out/linear/adapter",
    "out/linear/result.json",
)
MAP = (".OUT.tif.parts", ".OUT.tif.parts/0000*.npy", ".OUT*.orbitune-tmp", "OUT.tif", "OUT.confidence.tif")
EXPORT = ("out/.*.orbitune-tmp", "out/.*.orbitune-tmp/*", "out/merged", "out/model.onnx")
BUNDLE = (".out.*.orbitune-tmp", ".out.*.orbitune-tmp/out/*", "out")
PREDICT = (".out.csv.*.orbitune-tmp", ".out.csv.*.orbitune-tmp/*", "out.csv")


def cases(place: Path) -> list[Case]:
    """Prepare the inputs of all commands and return the commands."""
    run(_prepare, place).check()
    recipe = ("--recipe", str(place / "recipe.yaml"))
    made, bundle, scene = (str(place / name) for name in ("run", "bundle", "scene.tif"))
    dense = ("--mode", "dense", "--stride", "16", "--confidence", "OUT.confidence.tif")
    cached = ("--method", "linear", "--cache-frozen")
    tiles = str(place / "tiles")
    return [
        Case("train", ("train", *recipe, "--out", "OUT"), TRAINING),
        Case("study", ("study", *recipe, "--methods", "linear", "--out", "OUT"), STUDY),
        Case("cache-frozen", ("train", *recipe, *cached, "--out", "OUT"), CACHE_FROZEN),
        Case("map", ("map", bundle, scene, "-o", "OUT.tif", *dense), MAP),
        Case("export", ("export", made, "--to", "merged,onnx", "--out", "OUT"), EXPORT),
        Case("bundle", ("bundle", made, "--out", "OUT"), BUNDLE),
        Case("predict", ("predict", bundle, tiles, "--format", "csv", "--out", "OUT.csv"), PREDICT),
    ]


def _prepare(place: Path) -> None:
    from orbitune import Recipe, train
    from orbitune.inference.bundle_builder import build_bundle

    backbone = inputs.write_backbone(place / "backbone")
    recipe = Recipe.make(inputs.recipe_values(backbone))
    recipe.save(place / "recipe.yaml")
    train(recipe, place / "run", progress=False)
    build_bundle(place / "run", place / "bundle", progress=False)
    inputs.write_tiles(place / "tiles")
    inputs.write_scene(place / "scene.tif")


# --- a command in a fork ----------------------------------------------------------------------------------


@dataclass
class Forked:
    """A running fork."""

    process: int
    log: Path
    code: int | None = None

    def ended(self) -> bool:
        if self.code is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if process else None
        return self.code is not None

    def wait(self) -> int:
        while not self.ended():
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def check(self) -> None:
        if self.wait():
            raise SystemExit(f"The preparation failed: {self.log.read_text()}")


def run(work: Callable[[Path], None], place: Path) -> Forked:
    """Start work in a fork with its own session, cache and temporary folder."""
    place.mkdir(parents=True, exist_ok=True)
    log = place.parent / f"{place.name}.log"
    if process := os.fork():
        return Forked(process, log)
    code = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(place)
        os.environ |= {"ORBITUNE_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}
        (place / "tmp").mkdir(exist_ok=True)
        tempfile.tempdir = None
        work(place)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command(arguments: Sequence[str]) -> Callable[[Path], None]:
    """Return a function that runs the command line, with OUT replaced."""

    def work(place: Path) -> None:
        from orbitune.cli.main import main

        sys.argv = ["orbitune", *(each.replace("OUT", "out") for each in arguments)]
        main()

    return work


# --- what is compared -------------------------------------------------------------------------------------


def outputs(place: Path) -> dict[str, Any]:
    """Return the files a command leaves outside its cache, without measured values."""
    files = [path for path in place.rglob("*") if path.is_file()]
    names = {path.relative_to(place).as_posix(): path for path in files}
    return {
        name: _content(path)
        for name, path in names.items()
        if not name.startswith(("cache/", "tmp/")) and not REPORTS.search(name)
    }


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _without_measured(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_without_measured(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes()


def _without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_measured(each) for name, each in value.items() if not MEASURED.search(name)}
    return [_without_measured(each) for each in value] if isinstance(value, list) else value


def tree(place: Path) -> set[str]:
    """Return the names of all below a folder, cache and temporary files included."""
    names = {path.relative_to(place).as_posix() for path in place.rglob("*")}
    return {name for name in names if not LOCKS.search(name)}


def processes_of(place: Path) -> list[int]:
    """Return the processes that were started with this folder as their cache."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{place}/cache".encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found


# --- kills ------------------------------------------------------------------------------------------------


def try_case(case: Case, folder: Path, *, moments: int, seed: int) -> dict[str, Any]:
    """Kill a command at several moments, each time in an empty folder and cache."""
    whole = folder / "whole"
    run(command(case.arguments), whole).check()  # the first run also compiles the kernels
    start = time.monotonic()
    run(command(case.arguments), folder / "again").check()
    seconds = time.monotonic() - start
    expected, names = outputs(whole), tree(whole)
    random_ = random.Random(f"{case.name} {seed}")
    found: dict[str, Any] = {"command": case.name, "seconds": round(seconds, 2), "kills": 0, "well": 0}
    found |= {"after": {}, "failures": []}
    for number in range(20 * moments):
        if found["kills"] == moments:
            break
        place = folder / str(number)
        pattern = case.moments[number // 2 % len(case.moments)].replace("OUT", "out") if number % 2 else None
        delay = random_.uniform(0, 0.1) if pattern else random_.uniform(0, 1) * seconds
        if _kill(run(command(case.arguments), place), place, pattern=pattern, delay=delay):
            found["kills"] += 1
            key = pattern or "a time"
            found["after"][key] = found["after"].get(key, 0) + 1
            if failure := _again(case, place, expected=expected, names=names):
                found["failures"].append({"moment": number, "after": key, "delay": delay, **failure})
            else:
                found["well"] += 1
        shutil.rmtree(place)
    return found


def _kill(forked: Forked, place: Path, *, pattern: str | None, delay: float) -> bool:
    """Kill at a moment; return False if the command had already ended."""
    while pattern and not forked.ended() and not any(place.glob(pattern)):
        time.sleep(0.0005)
    end = time.monotonic() + delay
    while time.monotonic() < end and not forked.ended():
        time.sleep(0.0005)
    if forked.ended():
        return False
    os.kill(forked.process, signal.SIGKILL)
    return forked.wait() == -signal.SIGKILL


def _again(case: Case, place: Path, *, expected: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Run a killed command again and return the differences from an undisturbed run."""
    complete = case.name == "bundle" and (place / "out").exists()  # a bundle is never overwritten
    second = run(command(case.arguments), place)
    code = second.wait()
    failure: dict[str, Any] = {}
    if code != 0 and not (complete and code == 2):
        failure["error"] = second.log.read_text()[-500:]
    found = outputs(place)
    if differing := sorted(n for n in expected.keys() & found.keys() if expected[n] != found[n]):
        failure["other bytes"] = differing
    there = tree(place)
    if there != names:
        failure["left over"], failure["missing"] = sorted(there - names), sorted(names - there)
    end = time.monotonic() + 10
    while (left := processes_of(place)) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        failure["processes"] = left
        for process in left:
            os.kill(process, signal.SIGKILL)
    return failure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", help="commands, such as train,map (default: all)")
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _load()
    found = []
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        for case in cases(Path(folder) / "inputs"):
            if not options.only or case.name in options.only.split(","):
                found.append(
                    try_case(case, Path(folder) / case.name, moments=options.moments, seed=options.seed)
                )
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"kills": found}, indent=1))
    sys.exit(any(each["failures"] for each in found))


def _load() -> None:
    """Import the libraries of the commands, which forks inherit."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import sklearn.metrics
    import sklearn.model_selection  # noqa: F401
    import transformers.models.vit.modeling_vit  # noqa: F401

    import orbitune.cli.main
    import orbitune.exporting.exporter
    import orbitune.inference.bundle_builder
    import orbitune.study.runner
    import orbitune.training.trainer  # noqa: F401

    gc.freeze()


if __name__ == "__main__":
    main()
