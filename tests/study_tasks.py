"""Execution of tasks in tests: a recording observer and a fast executor."""

import json

from commands import orbitune

from orbitune.errors import DivergedError, Interrupted, RunError
from orbitune.study.executor import Outcome


class RecordingObserver:
    """Records the events of tasks, and interrupts as soon as `enough` returns True."""

    def __init__(self, enough=lambda: False):
        self.most, self.statuses, self.total, self.enough = 0, {}, 0, enough

    def begin(self, total):
        self.total = total

    def started(self, task):
        pass

    def ended(self, task, outcome):
        self.statuses[task.name] = outcome.status

    def refresh(self, running, waiting, slots):
        self.most = max(self.most, len(running))
        if self.enough():
            raise Interrupted("enough")


class ForkedExecutor:
    """Runs each task to its end in a fork of a process that has loaded the libraries."""

    name, slots, threads = "local", 1, None

    def __init__(self):
        self.finished, self.running = [], []

    def start(self, task):
        done = orbitune(*task.arguments)
        value = json.loads(done.stdout)
        if done.returncode == 0:
            outcome = Outcome(value)
        else:
            kind = DivergedError if value.get("kind") == DivergedError.kind else RunError
            outcome = Outcome(error=kind(value["error"]))
        self.finished.append((task, outcome))
        self.running.append(task)

    def poll(self):
        finished, self.finished, self.running = self.finished, [], []
        return finished

    def stop(self):
        pass

    def close(self):
        pass
