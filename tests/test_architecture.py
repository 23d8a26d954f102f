"""The ladder of imports: a package imports from its own rung or from those below it, never from above."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import orbitune

ROOT = Path(orbitune.__file__).parent
LADDER = [
    {"errors", "recipe", "files", "integrity", "hub", "cluster"},
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


# What opens a folder or a hub id of transformers, which asks whether to run code that it finds there.
ASKS = {"AutoConfig", "AutoImageProcessor", "AutoModel", "AutoModelForImageClassification", "pipeline"}


def calls_that_ask(path):
    """(line, names of the arguments) of each call that could end in a question on the terminal."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            owner = called.value if isinstance(called, ast.Attribute) else called
            opens = not isinstance(called, ast.Attribute) or called.attr in ("from_pretrained", "from_config")
            if opens and isinstance(owner, ast.Name) and owner.id in ASKS:
                yield node.lineno, node.keywords


@pytest.mark.parametrize("folder", ["src", "benchmarks", "examples"])
def test_whatever_could_ask_to_run_foreign_code_is_told_not_to(folder):
    for path in sorted((ROOT.parent.parent / folder).rglob("*.py")):
        for line, arguments in calls_that_ask(path):
            named = {each.arg: each.value for each in arguments}
            trusted = named.get("trust_remote_code")
            safe = (isinstance(trusted, ast.Constant) and trusted.value is False) or (
                None in named and "_SAFE" in ast.unparse(named[None])
            )
            assert safe, f"{path}:{line} does not pass trust_remote_code=False"
