"""Measure reliability; write docs/results/reliability.md and reliability.json.

    python benchmarks/reliability/report.py [--out docs/results] [--work runs/reliability]

It trains a small model on synthetic tiles and runs the scripts beside this file, one after the other, which
takes about an hour on two cores. What a script found is kept in the working folder, so a run that was stopped
resumes; remove the folder to repeat all measurements.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import inputs

from orbitune.files import write_json, write_text
from orbitune.integrity import read_json
from orbitune.machine.environment import Environment

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KILLED = ("train", "study", "cache-frozen", "map", "export", "bundle", "predict")
KERNELS = "tests/fastpath/test_sanitizers.py"

Found = dict[str, Any]
Row = tuple[str, str, str]  # test, required, measured


def scripts(work: Path) -> dict[str, list[str]]:
    """Return the arguments of every script by the name of what it measures."""
    run, tile = str(work / "run"), str(work / "tiles" / "000.png")
    return {
        "app": ["app_inputs.py", run, "--count", "600"],
        "slow": ["slow_bodies.py", run, tile],
        **{f"kills-{name}": ["kills.py", "--only", name, "--moments", "30"] for name in KILLED},
        "flips": ["flips.py", "--flips", "42"],
        "mutations": ["mutations.py", "--count", "550"],
    }


def prepare(work: Path) -> None:
    """Train the model that the app serves, and write a tile to send it."""
    from orbitune import Recipe, train

    if not (work / "run" / "result.json").is_file():
        backbone = work / "backbone"
        if not backbone.exists():
            inputs.write_backbone(backbone)
        train(Recipe.make(inputs.recipe_values(backbone)), work / "run", progress=False)
    if not (work / "tiles").exists():
        inputs.write_tiles(work / "tiles", count=10)


def measured(name: str, arguments: Sequence[str], *, work: Path) -> Found:
    """Run a script and return its JSON output, cached in the work folder."""
    kept = work / f"{name}.json"
    if not kept.is_file():
        print(f"{name}: {' '.join(arguments)}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, HERE / arguments[0], *arguments[1:]], stdout=subprocess.PIPE)
        if not done.stdout:
            raise SystemExit(f"{arguments[0]} ended without a result.")
        write_json(kept, json.loads(done.stdout))
    found: Found = read_json(kept)
    return found


def run_kernel_tests(work: Path) -> Found:
    """Run the kernels' tests under the address sanitizer and return the outcome."""
    kept = work / "kernels.json"
    if not kept.is_file():
        command = [sys.executable, "-m", "pytest", KERNELS]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        write_json(kept, {"passed": done.returncode == 0, "summary": done.stdout.splitlines()[-1]})
    found: Found = read_json(kept)
    return found


def rows(found: dict[str, Found]) -> list[Row]:
    """Return the rows of the table: what was tried, the target and the outcome."""
    kernels = found["kernels"]
    passed = "0 reports, 0 mismatches" if kernels["passed"] else "failed"
    tried = f"compiled kernels at odd shapes under the address sanitizer (`{KERNELS}`)"
    return [
        *_app_rows(found["app"], found["slow"]),
        *(
            (
                f"`{each['command']}` killed and run again: same files, nothing left over",
                f"{each['kills']} of {each['kills']}",
                f"{each['well']} of {each['kills']}",
            )
            for each in _kills(found)
        ),
        _flips_row([each["outcome"] for each in found["flips"]["flips"]]),
        *_mutation_rows(list(found["mutations"]["targets"].values())),
        (tried, "0 reports, 0 mismatches", f"{passed} ({kernels['summary']})"),
    ]


def _app_rows(app: Found, slow: Found) -> list[Row]:
    """Return the rows of hostile values and held connections."""
    tried = f"hostile values for {app['inputs']} inputs of the app's API: files read that were not uploaded"
    held = (slow["memory"]["after"] - slow["memory"]["before"]) / 1e6
    return [
        (tried, "0", f"{app['read']} of {app['values']}; {app['tracebacks']} tracebacks in the log"),
        *(
            (
                f"{each['connections']} {_held(sent)}: median response time for others",
                "under 1 s",
                _times(each),
            )
            for sent, each in slow.items()
            if sent != "memory"
        ),
        ("memory of the server for these connections", "", f"{held:,.0f} MB"),
    ]


def _flips_row(outcomes: list[str]) -> Row:
    noticed = sum(outcome in ("reported", "rebuilt") for outcome in outcomes)
    tried = "one byte flipped in a cache, checkpoint, adapter, model, run or bundle: reported or rebuilt"
    return tried, f"{len(outcomes)} of {len(outcomes)}", f"{noticed} of {len(outcomes)}"


def _mutation_rows(targets: list[Found]) -> list[Row]:
    mutants, tracebacks, hangs, lines = (
        sum(each[name] for each in targets) for name in ("mutants", "tracebacks", "hangs", "lines_on_stderr")
    )
    tried = f"{mutants:,} mutated files of {len(targets)} kinds: tracebacks, hangs, stray lines"
    memory = max(each["memory_mb"] for each in targets)
    return [
        (tried, "0, 0, 0", f"{tracebacks}, {hangs}, {lines}"),
        ("largest memory growth from reading one kind of them", "under 1 GB", f"{memory:,.0f} MB"),
    ]


def _held(sent: str) -> str:
    return sent if sent == "idle streams" else f"bodies that stop after {sent}"


def _kills(found: dict[str, Found]) -> list[Found]:
    return [each for name in KILLED for each in found[f"kills-{name}"]["kills"]]


def _times(found: Found) -> str:
    median, longest, alone = (f"{1000 * found[name]:.0f} ms" for name in ("median", "longest", "alone"))
    return f"{median} (longest {longest}); {alone} without these connections"


def _moments(found: Found) -> str:
    """Return the moments at which a command was killed, with counts."""
    named = {pattern: number for pattern, number in found["after"].items() if pattern != "a time"}
    return ", ".join(
        [
            f"{found['after'].get('a time', 0)} at random",
            *(f"{n} after `{pattern}`" for pattern, n in named.items()),
        ]
    )


def page(found: dict[str, Found]) -> str:
    """Return the Markdown page."""
    facts = found["environment"]
    versions = f"version {facts['orbitune']}, Python {facts['python']} and torch {facts['torch']}"
    machine = f"{facts['cores']} cores ({facts['processor']})"
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows(found))
    kinds = "\n".join(
        f"| {name} | {each['mutants']:,} | {each['read']:,} | {each['refused']:,} | {each['tracebacks']} | "
        f"{each['hangs']} | {each['slowest_seconds']:.1f} s | {each['memory_mb']:,.0f} MB |"
        for name, each in found["mutations"]["targets"].items()
    )
    moments = "\n".join(
        f"| `{each['command']}` | {each['seconds']:.1f} s | {each['kills']} | {_moments(each)} |"
        for each in _kills(found)
    )
    return f"""# Reliability

Written by `python benchmarks/reliability/report.py` with {versions}, on {machine}.
All figures are in [reliability.json](reliability.json). The inputs are synthetic tiles, a ViT of three
layers with random weights in fp32, and small files of each kind. No test depends on what a model has learnt.

| test | required | measured |
| --- | --- | --- |
{table}

## Kills

Each command starts in an empty folder with an empty cache. SIGKILL is sent to its main process only, and
the command is run again. Its files are then compared with those of an undisturbed run, except reports,
figures and logs, and times, energy and memory in JSON files. About half of the moments are drawn at random
over the run time; the others follow the appearance of a file.

| command | duration | kills | moments |
| --- | ---: | ---: | --- |
{moments}

## Mutated files

Each mutant is a small valid file with one to four random changes: bits, fields, tags or lengths overwritten;
parts removed, repeated, exchanged or zeroed. *Read*: the file could still be read. *Refused*: one line says
why not.

| kind | mutants | read | refused | tracebacks | hangs | slowest | memory |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{kinds}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "reliability")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepare(work)
    found = {name: measured(name, arguments, work=work) for name, arguments in scripts(work).items()}
    found = {"environment": Environment.measure().to_json(), **found, "kernels": run_kernel_tests(work)}
    write_json(options.out / "reliability.json", found)
    write_text(options.out / "reliability.md", page(found))


if __name__ == "__main__":
    main()
