"""Entry point of the command line: commands, errors and exit codes."""

import errno
import gc
import json
import signal
import sys
import warnings
from collections import ChainMap
from collections.abc import MutableMapping
from typing import Annotated, Any

import typer

from orbitune.cli.help import CommandSet, GroupedCommands, LazyCommands
from orbitune.cli.messages import show_messages
from orbitune.cli.streams import OutputError, ReaderClosed, guarded_streams
from orbitune.cli.usage_errors import UsageError, describe_usage
from orbitune.errors import CONTINUE, Interrupted, OrbituneError, printable
from orbitune.extras import explain
from orbitune.resources import limit_openmp_spinning

_RESUMABLE = {"train", "study", "bench", "export", "map", "trial"}

# The commands of each module, in the order of the help.
COMMANDS = {
    "orbitune.cli.data": ("prepare",),
    "orbitune.cli.train": ("plan", "train", "methods", "backbones", "trial", "robustness"),
    "orbitune.cli.evaluate": ("evaluate",),
    "orbitune.cli.study.commands": ("study", "report", "bench"),
    "orbitune.cli.adapters": ("bundle", "import", "import-head", "push", "pull", "adapters"),
    "orbitune.cli.predict": ("predict",),
    "orbitune.cli.serve": ("serve",),
    "orbitune.cli.export": ("export",),
    "orbitune.cli.map": ("map",),
    "orbitune.cli.maps": ("map-sample", "map-areas", "map-compare", "map-zones"),
    "orbitune.cli.adapt": ("adapt",),
    "orbitune.cli.doctor.command": ("doctor",),
}


class _Commands(GroupedCommands):
    """All commands: those registered in this module, and those of `COMMANDS`."""

    def __init__(self, *, commands: MutableMapping[str, Any], **settings: Any) -> None:
        super().__init__(commands=ChainMap(commands, LazyCommands(COMMANDS)), **settings)  # type: ignore[arg-type]


app = CommandSet(
    "Commands",
    cls=_Commands,
    name="orbitune",
    help="Fine-tune vision transformers on satellite image tiles, compare methods, and use the models.",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line.

    A user error, or a full or closed standard output, prints one line to stderr and exits with code 2. SIGINT
    exits with 130, a closed pipe with 141.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)  # warnings of libraries for developers
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")  # tiles need none
    limit_openmp_spinning()
    # Libraries create a million permanent objects; collecting cycles among them took a seventh of start-up.
    gc.set_threshold(50_000)
    signal.signal(signal.SIGINT, _interrupt)
    show_messages()
    with guarded_streams():
        try:
            code = _run()
            sys.stdout.flush()
        except OutputError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 2
        except ReaderClosed:
            code = 128 + getattr(
                signal, "SIGPIPE", 13
            )  # Windows has no SIGPIPE; exit like any program at a closed pipe
    sys.exit(code)


def _run() -> int:
    """Run a command and return its exit code."""
    try:
        return app(standalone_mode=False) or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except OutputError:
        raise
    except UsageError as error:
        return _fail(OrbituneError(describe_usage(error)))
    except OrbituneError as error:
        return _fail(error)
    except ImportError as error:
        if (missing := explain(error)) is None:
            raise
        return _fail(missing)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _fail(OrbituneError(f"The name of a file is too long: {printable(str(error.filename))}."))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130


def _fail(error: OrbituneError) -> int:
    """Print a user error, as JSON if the command prints JSON; return the exit code."""
    if "--json" in sys.argv:
        kind = {"kind": error.kind} if error.kind else {}
        print(json.dumps({"error": str(error), **kind}))
    else:
        print(f"error: {error}", file=sys.stderr)
    return 2


def _interrupt(number: int, frame: object) -> None:
    """Raise Interrupted: on KeyboardInterrupt, Typer would end without a message."""
    resumable = not _RESUMABLE.isdisjoint(sys.argv[1:2])
    raise Interrupted(f"Stopped. {CONTINUE}" if resumable else "Stopped.")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("orbitune"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
