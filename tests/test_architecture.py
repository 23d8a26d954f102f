"""The ladder of imports: a package imports from its rung or from below."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import orbitune

ROOT = Path(orbitune.__file__).parent
LADDER = [
    "floor",  # the modules beside the folders
    "processes",
    "machine",
    "sources",
    "data",
    "models",
    "fastpath",
    "evaluation",
    "reporting",
    "training",
    "study",
    "inference",
    "assessment",
    "adapters",
    "mapping",
    "exporting",
    "serving",
    "bench",
    "cli",
]
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = [name for name in FILES if name not in ("__init__", "__main__")]  # the names of all, and the entry


def imported(name):
    """Modules of the package that a module imports, even inside functions."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in found:
            inside = full.removeprefix("orbitune.")
            if inside != full:
                yield inside if inside in FILES else inside.rpartition(".")[0]


def rung(name):
    folder = name.partition(".")[0]
    return LADDER.index(folder) if folder in LADDER else 0


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_go_down(name):
    for other in imported(name):
        assert other, f"{name} imports public names from orbitune: import them from their modules"
        assert rung(other) <= rung(name), f"{name} imports {other} from above"


# They make bundles, with the run's tiles.
NEED_TRAINING = ("inference.bundle_builder", "inference.ood_fitting", "inference.patch_fitting")


def test_prediction_needs_nothing_of_training():
    for name in MODULES:
        if name.startswith("inference.") and name not in NEED_TRAINING:
            found = [other for other in imported(name) if other.startswith(("training.", "study."))]
            assert not found, f"{name} imports {found}"


def test_the_onnx_example_needs_onnxruntime_numpy_and_pillow_alone():
    tree = ast.parse((ROOT.parent.parent / "examples" / "classify_onnx.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert others == {"numpy", "onnxruntime", "PIL"}


def test_every_folder_has_a_rung():
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} == set(LADDER[1:])


def test_no_modules_import_each_other_in_a_circle():
    left = {name: set(imported(name)) & set(MODULES) - {name} for name in MODULES}
    while ends := [name for name, others in left.items() if not others & left.keys()]:
        for name in ends:
            del left[name]
    assert not left, f"a circle among {sorted(left)}"


def test_no_file_is_longer_than_350_lines():
    assert [name for name, path in FILES.items() if len(path.read_text().splitlines()) > 350] == []


def test_no_folder_but_study_is_longer_than_2500_lines():
    lines = Counter()
    for path in FILES.values():
        lines[path.parent.name] += len(path.read_text().splitlines())
    assert {name for name, count in lines.items() if count > 2500} <= {"study"}


@pytest.mark.parametrize("module", ["orbitune", "orbitune.cli.main"])
def test_starting_up_imports_nothing_heavy(module):
    heavy = {"torch", "transformers", "datasets", "sklearn", "numpy", "PIL"}
    code = f"import sys, {module}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_source_trusts_remote_code_or_unpickles():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert (
            "trust_remote_code=True" not in text and "import pickle" not in text and "torch.load(" not in text
        )


# Functions that take more than two arguments by position, and who decides that they do.
POSITIONAL = {
    "bench.arms.hf_trainer.StopCallback.on_step_end": "transformers calls it: TrainerCallback",
    "fastpath.kernels.attention": "q, k, v as F.scaled_dot_product_attention",
    "models.precision.linear": "as F.linear",
    "models.precision.baddbmm": "as torch.baddbmm",
    "models.precision.baddbmm_": "as Tensor.baddbmm_",
    "serving.api.request_log.RequestLogMiddleware.__call__": "a server calls it: ASGI",
    "serving.security.authentication.AuthenticationMiddleware.__call__": "a server calls it: ASGI",
    "serving.security.body_limits.BodyLimitMiddleware.__call__": "a server calls it: ASGI",
    "serving.security.request_checks.RequestCheckMiddleware.__call__": "a server calls it: ASGI",
    "serving.security.restricted_blocks.RestrictedBlocks.preprocess_data": "Gradio calls it: Blocks",
}


def is_command(function):
    """Whether typer calls a function, by name."""
    return any(ast.unparse(each).partition("(")[0].endswith(".command") for each in function.decorator_list)


def public_functions(node, name):
    """(name, function, positional arguments but self) of public functions."""
    for each in node.body:
        if isinstance(each, ast.ClassDef) and not each.name.startswith("_"):
            yield from public_functions(each, f"{name}.{each.name}")
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and (
            not each.name.startswith("_") or each.name in ("__init__", "__call__")
        ):
            static = any(ast.unparse(decorator) == "staticmethod" for decorator in each.decorator_list)
            arguments = [*each.args.posonlyargs, *each.args.args]
            yield f"{name}.{each.name}", each, arguments[isinstance(node, ast.ClassDef) and not static :]


def test_arguments_after_the_second_are_passed_by_name():
    found = {
        name
        for module, path in FILES.items()
        for name, function, arguments in public_functions(ast.parse(path.read_text()), module)
        if len(arguments) > 2 and not is_command(function)
    }
    assert found == POSITIONAL.keys()


# What opens a folder or a hub id of transformers, which asks whether to run code that it finds there.
ASKS = {"AutoConfig", "AutoImageProcessor", "AutoModel", "AutoModelForImageClassification", "pipeline"}


def calls_that_ask(path):
    """(line, argument names) of calls that could ask on the terminal."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            owner = called.value if isinstance(called, ast.Attribute) else called
            opens = not isinstance(called, ast.Attribute) or called.attr in ("from_pretrained", "from_config")
            if opens and isinstance(owner, ast.Name) and owner.id in ASKS:
                yield node.lineno, node.keywords


@pytest.mark.parametrize("folder", ["src", "benchmarks", "examples"])
def test_remote_code_is_always_switched_off(folder):
    for path in sorted((ROOT.parent.parent / folder).rglob("*.py")):
        for line, arguments in calls_that_ask(path):
            named = {each.arg: each.value for each in arguments}
            trusted = named.get("trust_remote_code")
            safe = (isinstance(trusted, ast.Constant) and trusted.value is False) or (
                None in named and "_SAFE" in ast.unparse(named[None])
            )
            assert safe, f"{path}:{line} does not pass trust_remote_code=False"
