"""Run a benchmark: every arm once per round, in fresh processes; write a report.

Every other round is run in reverse order, so that of any two arms each is first equally often (ABBA), and a
machine that slows down favours neither.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from orbitune.bench.figure_kinds import FIGURES
from orbitune.bench.flops import forward_flops, training_flops
from orbitune.bench.ratios import paired_ratio, verdict
from orbitune.bench.records import (
    ArmRecord,
    BenchEnvironment,
    BenchResults,
    FigureRecord,
    FigureValue,
    Load,
    Measurement,
    RatioRecord,
    whole_process_ratio,
)
from orbitune.bench.report import format_figure, write_bench_report
from orbitune.bench.suites import PREDICTION, Arm, ArmComparison, BenchFigure, Suite
from orbitune.cache import cache_folder
from orbitune.evaluation.run_result import RunResult
from orbitune.files import write_json
from orbitune.integrity import (
    file_hash,
    read_cached_json,
    read_checksummed_json,
    write_checksummed_json,
)
from orbitune.machine.timestamps import timestamp
from orbitune.processes.child_processes import run_module
from orbitune.processes.launcher import ForkServer
from orbitune.reporting.formatting import duration
from orbitune.training.setup import TrainingSetup, prepare_training

# Measures of which less is better, with the fields of a measurement that hold them.
_LESS_IS_BETTER = {"memory": "memory_bytes", "latency": "median_seconds"}


def arm_order(arms: int, rounds: int) -> list[tuple[int, int]]:
    """Return (round, arm) pairs in the order in which they are run."""
    there = range(arms)
    return [(number, arm) for number in range(rounds) for arm in (there if number % 2 == 0 else there[::-1])]


@dataclass(frozen=True)
class Bench:
    """A benchmark suite that is run on this machine.

    Attributes:
        suite: arms, comparisons and figures.
        out: folder of the report.
        command: reproduces the benchmark, for the report.
    """

    suite: Suite
    out: Path
    command: str

    @property
    def report(self) -> Path:
        """Return the path of the Markdown report."""
        return self.out / f"bench-{self.suite.name}.md"

    def run(self, say: Callable[[str], None], progress: bool = True) -> BenchResults:
        """Measure what is not measured yet, then write bench-NAME.md and bench-NAME.json.

        Args:
            say: receives one line about each process.
            progress: show a bar while tiles are decoded.

        Returns:
            The content of the JSON file.

        Raises:
            OrbituneError: an arm does not fit the data or the backbone, or failed.
            Interrupted: SIGINT was received; earlier measurements are kept for the same command.
        """
        arms = self.suite.arms()
        self.suite.check_inputs()
        # Errors appear, and tiles are decoded, before the first process starts.
        setups = [prepare_training(arm.recipe, progress) for arm in arms]
        setup = setups[0] if setups else prepare_training(self.suite.run_recipe(), progress)
        run = RunResult.load(Path(self.suite.run)) if self.suite.run else None
        machine = BenchEnvironment.measure()
        kept = cache_folder("bench") / _key(self.suite, machine, setup=setup)
        # With a GPU, imports take longer than what is measured. Without one the memory of new interpreters is
        # measured: in a fork, the pages of libraries that a step reads first would count as the step's.
        with ForkServer.spawn() if machine.gpu else nullcontext() as server:
            measured = self._measure(arms, kept, server=server, say=say)
        figures = self._figures(kept, say)
        loads = [each.load for of_arm in measured for each in of_arm] + [each.load for each in figures]
        load = Load(before=loads[0], highest=max(loads), after=os.getloadavg()[0])
        measured_arms = tuple(
            _record_arm(arm, of_arm, measured=each)
            for arm, of_arm, each in zip(arms, setups, measured, strict=True)
        )
        results = BenchResults(
            command=self.command,
            created=timestamp(),
            suite=self.suite,
            environment=machine,
            load=load,
            data=run.training_data if run else setup.data,
            backbone=setup.backbone.record,
            run=run.recipe if run else None,
            arms=measured_arms,
            figures=figures,
            comparisons=tuple(
                _compare(self.suite, each, arms=measured_arms) for each in self.suite.comparisons
            ),
        )
        write_json(self.report.with_suffix(".json"), results.to_json())
        write_bench_report(results, self.report)
        shutil.rmtree(kept, ignore_errors=True)
        return results

    def _figures(self, kept: Path, say: Callable[[str], None]) -> tuple[FigureRecord, ...]:
        """Measure the figures of the suite, after the arms; each is stored at once."""
        records = []
        for number, figure in enumerate(self.suite.figures):
            say(f"[{number + 1}/{len(self.suite.figures)}] {figure.title}")
            file = kept / f"figure-{number}.json"
            if read_cached_json(file) is None:
                write_checksummed_json(file, self._measure_figure(figure).to_json())
            measured = FigureValue.model_validate(read_checksummed_json(file))
            records.append(
                FigureRecord(
                    **figure.model_dump(),
                    **measured.model_dump(),
                    unit=FIGURES[figure.kind].unit,
                    verdict=figure.judge(measured.value, interval=measured.interval),
                )
            )
            say(f"  {format_figure(records[-1])}")
        return tuple(records)

    def _measure_figure(self, figure: BenchFigure) -> FigureValue:
        """Measure a figure in a process of its own."""
        settings = {**figure.settings, **self.suite.inputs(figure)}
        load = os.getloadavg()[0]
        measured = run_module(
            "orbitune.bench.figures", json.dumps({"kind": figure.kind, "settings": settings})
        )
        return FigureValue.model_validate({**measured, "load": load})

    def _spec(self, arm: Arm) -> str:
        """Return the spec of an arm for `orbitune.bench.arms`, as JSON."""
        recipe = arm.recipe.model_dump(mode="json")
        settings = dict(arm.settings)
        if arm.kind in PREDICTION:
            settings["run"] = self.suite.run
        times = {"warmup": self.suite.warmup, "seconds": self.suite.seconds}
        return json.dumps({"kind": arm.kind, "recipe": recipe, "settings": settings, **times})

    def _measure(
        self, arms: Sequence[Arm], kept: Path, *, server: ForkServer | None, say: Callable[[str], None]
    ) -> list[list[Measurement]]:
        """Return the measurements of each arm by round; each is stored at once."""
        order = arm_order(len(arms), self.suite.rounds)
        files = {turn: kept / f"{turn[0]}-{turn[1]}.json" for turn in order}
        todo = [turn for turn in order if read_cached_json(files[turn]) is None]
        start = time.monotonic()
        for done, turn in enumerate(todo):
            left = (time.monotonic() - start) / done * (len(todo) - done) if done else None
            time_left = f", about {duration(left)} left" if left else ""
            arm = arms[turn[1]]
            say(f"[{len(order) - len(todo) + done + 1}/{len(order)}] {arm.name}{time_left}")
            load = os.getloadavg()[0]
            measured = run_module("orbitune.bench.arms", self._spec(arm), server=server)
            measurement = Measurement.model_validate({**measured, "load": load})
            write_checksummed_json(files[turn], measurement.to_json())
            say(f"  {measurement.images_per_second:,.1f} images/s")
        return [
            [
                Measurement.model_validate(read_checksummed_json(files[number, arm]))
                for number in range(self.suite.rounds)
            ]
            for arm in range(len(arms))
        ]


def _key(suite: Suite, machine: BenchEnvironment, *, setup: TrainingSetup) -> str:
    """Return a hash of suite, inputs, machine and code that stored values belong to.

    Runs and tiles that the suite names count by their content, scenes by size and time of their files.
    """
    runs = [file_hash(Path(run) / "result.json") if run else None for run in (suite.run, suite.reference_run)]
    settings = suite.model_dump(mode="json", exclude={"data", "backbone", "run", "reference_run"})
    text = json.dumps(
        [settings, setup.inputs().to_json(), *runs, _scenes_digest(suite), machine.to_json()], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _scenes_digest(suite: Suite) -> str | None:
    """Return a hash over the files of a suite's scenes; None where it names none."""
    named = [Path(each) for each in (suite.scene, suite.labelled_scenes) if each and Path(each).exists()]
    if not named:
        return None
    from orbitune.mapping.scene.raster_io import stat_digest

    return stat_digest([file for each in named for file in (each, *sorted(each.rglob("*")))])


def _record_arm(arm: Arm, setup: TrainingSetup, *, measured: Sequence[Measurement]) -> ArmRecord:
    size = setup.recipe.image_size
    assert isinstance(size, int)
    if arm.kind in PREDICTION:
        flops = forward_flops(setup.backbone, size)
    else:
        flops = training_flops(setup.recipe, setup.backbone)
    return ArmRecord(
        name=arm.name, kind=arm.kind, recipe=setup.recipe, flop_per_image=flops, measured=tuple(measured)
    )


def _compare(suite: Suite, comparison: ArmComparison, *, arms: Sequence[ArmRecord]) -> RatioRecord:
    """Return the ratio of a comparison's arms, above 1 where the candidate is better."""
    names = tuple(arm.name for arm in suite.pair(comparison))
    candidate, baseline = (next(arm for arm in arms if arm.name == name) for name in names)
    field = _LESS_IS_BETTER.get(comparison.measure)
    sides = (baseline, candidate) if field else (candidate, baseline)
    ratio = paired_ratio(
        *([getattr(each, field or "images_per_second") for each in arm.measured] for arm in sides)
    )
    whole = whole_process_ratio(baseline, candidate) if comparison.measure == "memory" else None
    words = verdict(ratio, comparison.at_least, aim=comparison.aim)
    return RatioRecord(
        **comparison.model_dump(), arms=names, **asdict(ratio), verdict=words, whole_process=whole
    )
