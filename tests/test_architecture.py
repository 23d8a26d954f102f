"""The ladder of imports: a package imports from its own rung or from those below it, never from above."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import orbitune

ROOT = Path(orbitune.__file__).parent
LADDER = [
    {"errors", "recipe", "files", "hub", "cluster"},
    {"data"},
    {"models"},
    {"evaluation"},
    {"training"},
    {"study", "deploy", "bench"},
    {"options", "console", "deploy_cli", "cli"},
]
RUNG = {name: number for number, names in enumerate(LADDER) for name in names}


def modules():
    return [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT or p.stem in RUNG]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_go_down(path):
    own = RUNG[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orbitune."):
            imported = node.module.split(".")[1]
            assert RUNG[imported] <= own, f"{path.name} imports {node.module} from above"


@pytest.mark.parametrize("module", ["orbitune", "orbitune.cli"])
def test_starting_up_imports_nothing_heavy(module):
    code = (
        f"import sys, {module}; print({{'torch', 'transformers', 'datasets', 'sklearn'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_source_trusts_remote_code_or_unpickles():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert (
            "trust_remote_code=True" not in text and "import pickle" not in text and "torch.load(" not in text
        )
