"""Measure how long `pip install` of each extra takes, and how much disk it needs.

    python benchmarks/install_size.py [EXTRA ...]

A wheel is built once. Each extra is installed into a new virtual environment, one at a time, where
`orbitune doctor` runs. Writes docs/results/install-size.json and .md; extras that are not named keep their
earlier figures.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "install-size.json"
LEFT_OUT = ("dev", "docs")  # for developers of the package
TOOLS = ("pip", "setuptools")  # what an empty environment holds


def main() -> None:
    """Measure the extras that the command line names ("base" for none), or all."""
    names = ["base", *extra_names()]
    earlier = json.loads(RESULTS.read_text())["installs"] if RESULTS.exists() else []
    measured = {each["extra"]: each for each in earlier}
    with tempfile.TemporaryDirectory(prefix="orbitune-install-") as folder:
        wheel = build_wheel(Path(folder))
        for name in sys.argv[1:] or names:
            measured[name] = measure(wheel, name, environment=Path(folder, "environment"))
            print(json.dumps(measured[name]), flush=True)
            write([measured[name] for name in names if name in measured], wheel)


def write(installs: list[dict[str, Any]], wheel: Path) -> None:
    """Write what has been measured so far as JSON and Markdown."""
    results = {
        "orbitune": version("orbitune"),
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "wheel_bytes": wheel.stat().st_size,
        "installs": installs,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(results))


def extra_names() -> list[str]:
    """Return the extras of pyproject.toml for users, in its order."""
    text = (ROOT / "pyproject.toml").read_text()
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return [name for name in re.findall(r"^(\w+) = \[", table, re.MULTILINE) if name not in LEFT_OUT]


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the working tree in a folder, and return its path."""
    copy = folder / "copy"  # a build leaves files in its folder, which the next one would pack
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CMakeLists.txt"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, check=True)
    return next(folder.glob("orbitune-*.whl"))


def measure(wheel: Path, extra: str, *, environment: Path) -> dict[str, Any]:
    """Install an extra into a new environment; return seconds, bytes and packages."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    python = environment / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ORBITUNE"))}
    target = str(wheel) if extra == "base" else f"{wheel}[{extra}]"
    start, before = time.perf_counter(), cpu_seconds()
    subprocess.run([str(python), "-m", "pip", "install", "-q", target], check=True, env=clean)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - before
    packages = next(environment.glob("lib/python*/site-packages"))
    found = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    start = time.perf_counter()
    doctor = [str(environment / "bin" / "orbitune"), "doctor", "--json"]
    done = subprocess.run(doctor, check=True, capture_output=True, text=True, env=clean, cwd=environment)
    return {
        "extra": extra,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "bytes": sum(size(path) for path in packages.iterdir() if not path.name.startswith(TOOLS)),
        "packages": len(found - set(TOOLS)),
        "doctor_seconds": round(time.perf_counter() - start, 1),
        "installed_extras": [each["name"] for each in json.loads(done.stdout)["extras"] if each["installed"]],
    }


def cpu_seconds() -> float:
    """Return the CPU seconds of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def size(path: Path) -> int:
    """Return the bytes of a file or folder, without compiled Python files."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and file.suffix != ".pyc")


def page(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    base = next(each for each in results["installs"] if each["extra"] == "base")
    rows = "\n".join(
        f"| `orbitune{'' if each['extra'] == 'base' else '[' + each['extra'] + ']'}` | {each['packages']} "
        f"| {each['bytes'] / 1e6:,.0f} MB | +{(each['bytes'] - base['bytes']) / 1e6:,.0f} MB "
        f"| {each['seconds']:.0f} s | {each['cpu_seconds']:.0f} s |"
        for each in results["installs"]
    )
    return f"""# Size of an installation

Written by `python benchmarks/install_size.py` with version {results["orbitune"]} (wheel: \
{results["wheel_bytes"] / 1e3:,.0f} kB), Python {results["python"]}, {results["platform"]}. Each row is one
`pip install` into a new virtual environment, with the CPU build of PyTorch. Size is that of `site-packages`
without pip, setuptools and compiled Python files. Time includes downloads from a package index nearby, on a
machine with other work, so it is an upper bound; CPU time is that of pip.

| install | packages | size | more than the base | time | CPU time |
| --- | ---: | ---: | ---: | ---: | ---: |
{rows}

The base predicts from a bundle. PyTorch is most of it.
"""


if __name__ == "__main__":
    main()
