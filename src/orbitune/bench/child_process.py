"""Output and exit code of a benchmark's child process.

`orbitune.processes.child_processes` reads them.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

from orbitune.errors import OrbituneError


def print_result(measure: Callable[[dict[str, Any]], dict[str, Any]], spec: dict[str, Any]) -> int:
    """Print what was measured as JSON and return the exit code.

    The exit code is 2 after a user error and 130 after SIGINT.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)  # warnings of libraries for developers
    try:
        with contextlib.redirect_stdout(sys.stderr):  # libraries may print to stdout
            result = measure(spec)
    except OrbituneError as error:
        print(json.dumps({"error": str(error)}))
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0
