"""What does not suit the data or the machine is refused before torch and transformers are loaded."""

import json
import subprocess
import sys

import pytest

from orbitune.machine.gpu import may_have_gpu

RUN = """
import json, sys
from orbitune.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["orbitune", *words]
    try:
        main()
    except SystemExit as end:
        print(end.code)
print(*sorted({"torch", "transformers"} & set(sys.modules)))
"""
TRAIN = {
    "--bands 9,1,2": "The data set has no band 9",
    "--split spatial": "The tiles have no coordinates for a spatial split",
    "--split-files absent": "There is no folder absent",
    "--shots 500": "Too few training tiles for 500 shots",
}
STUDY = {**TRAIN, "--splits default,spatial": TRAIN["--split spatial"], "--shots 1,500": TRAIN["--shots 500"]}
del STUDY["--shots 500"]
TF32 = {} if may_have_gpu() else {"--precision tf32": "Precision tf32 needs an NVIDIA GPU"}
COMMANDS = {
    ("train",): {**TRAIN, **TF32},
    ("study", "--methods", "linear,lora"): {**STUDY, **TF32},
    ("plan", "--methods", "linear,lora"): {**TRAIN, **TF32},
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_options_that_do_not_suit_are_one_line_each_before_heavy_imports(inputs, tmp_path, command):
    out = () if command[0] == "plan" else ("--out", str(tmp_path / "out"))
    words = [[*command, *inputs, *options.split(), *out] for options in COMMANDS[command]]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(words)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["2"] * len(words)  # and no heavy module
    errors = done.stderr.splitlines()
    assert len(errors) == len(words)
    for line, expected in zip(errors, COMMANDS[command].values(), strict=True):
        assert line.startswith(f"error: {expected}")
    assert not (tmp_path / "out").exists()
