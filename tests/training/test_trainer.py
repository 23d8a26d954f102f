import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import orbitune
from outcomes import outcome
from samples import FAMILIES, backbone_folder, tile_folder

from orbitune import Recipe, evaluate, train
from orbitune.errors import Interrupted, OrbituneError, RunError
from orbitune.evaluation.calibration import fit_temperature
from orbitune.evaluation.run_result import RunResult
from orbitune.machine.energy import describe_cost
from orbitune.models.factory import build
from orbitune.resources import make_accelerator
from orbitune.training.checkpoint import load_best
from orbitune.training.checks import check_gradients
from orbitune.training.run import open_run
from orbitune.training.run_folder import RunFolder
from orbitune.training.schedule import learning_rate, step_image_size
from orbitune.training.setup import prepare_training
from orbitune.training.trainer import Trainer
from orbitune.training.trial import trial

PARTS = {"train": (0, 12), "validation": (12, 16), "test": (16, 20)}


@pytest.fixture
def recipe(tiles, backbone):
    return Recipe(data=tiles, backbone=backbone, epochs=2, batch_size=8)


def trained(recipe, out):
    """Return a run after its last epoch, before test and saving."""
    with open_run(recipe, out, progress=False) as run:
        return run.fit()


def build_model(recipe):
    job = prepare_training(recipe, progress=False)
    return build(job.recipe, job.backbone, classes=job.tiles.classes)


def start(recipe, out):
    """The command line in a process of its own."""
    recipe.save(out.parent / "recipe.yaml")
    command = [sys.executable, "-m", "orbitune", "train", "--recipe", str(out.parent / "recipe.yaml")]
    return subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def test_a_finished_run_holds_all_that_the_design_names_and_its_state_in_place_of_a_checkpoint(finished):
    _, out = finished
    names = {p.name for p in out.iterdir()}
    assert names == {
        *(
            "recipe.yaml",
            "inputs.json",
            "environment.json",
            "log.jsonl",
            "adapter",
            "predictions.npz",
            "result.json",
            "training-state",
            "training-tiles.json",
        )
    }


def test_the_kept_recipe_is_resolved(finished):
    kept = Recipe.load(finished[1] / "recipe.yaml")
    assert None not in (kept.image_size, kept.learning_rate, kept.precision)


def test_the_log_has_one_line_per_epoch(finished):
    lines = [json.loads(line) for line in (finished[1] / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_the_best_epoch_is_chosen_on_validation_and_the_test_split_is_read_once(finished):
    result = json.loads((finished[1] / "result.json").read_text())
    accuracies = [entry["validation_accuracy"] for entry in result["history"]]
    assert accuracies[result["best_epoch"] - 1] == max(accuracies) == result["validation"]["accuracy"]
    assert result["test_reads"] == 1


def test_the_saved_model_carries_the_temperature_that_validation_asks_for(finished):
    saved = json.loads((finished[1] / "adapter" / "orbitune.json").read_text())
    with np.load(finished[1] / "predictions.npz") as arrays:
        expected = fit_temperature(arrays["validation_logits"], arrays["validation_labels"])
    assert saved["temperature"] == expected


def test_costs_are_measured(finished):
    cost = json.loads((finished[1] / "result.json").read_text())["cost"]
    for name in ("train_seconds", "evaluation_seconds", "cpu_seconds", "images_per_second"):
        assert cost[name] > 0, name
    assert cost["peak_rss_bytes"] > 100e6
    assert cost["artefact_bytes"] == sum(p.stat().st_size for p in (finished[1] / "adapter").iterdir())
    assert (cost["energy_joules"] is None) == cost["energy_source"].startswith("CPU seconds")


def test_a_result_from_before_energy_was_measured_still_loads(finished, tmp_path):
    result = json.loads((finished[1] / "result.json").read_text())
    del result["cost"]["energy_joules"], result["cost"]["energy_source"]
    (tmp_path / "result.json").write_text(json.dumps(result))
    cost = RunResult.load(tmp_path).cost
    assert "core-" in describe_cost(cost.cpu_seconds, cost.energy_joules)


@pytest.mark.slow
def test_few_shots_are_passed_over_until_an_epoch_has_eighty_steps(recipe, tmp_path):
    result = train(recipe.replace(shots=4, seed=5), tmp_path / "run", progress=False)
    assert result.recipe.passes == 40  # of 2 steps, for 12 tiles in batches of 8
    assert result.data.sizes == {"train": 12, "validation": 12, "test": 12}
    assert result.data.notes[-3:-1] == (
        "4 training tiles of each class, drawn with seed 5: 12 of 36",
        "passes over the training tiles in an epoch: 40, steps: 80 of at most 8 tiles",
    )
    seconds = result.cost.train_seconds
    assert result.cost.images_per_second == pytest.approx(2 * 40 * 12 / seconds)


def test_every_pass_takes_every_training_tile_once_in_an_order_of_its_own(recipe, tmp_path):
    job = prepare_training(recipe.replace(shots=4, passes=3), progress=False)
    folder = RunFolder(tmp_path / "run", job.recipe, inputs=job.inputs())
    trainer = Trainer.build(job, folder, accelerator=make_accelerator())
    taken = []
    feed = trainer.local_batch
    trainer.local_batch = lambda chosen: (taken.append(chosen), feed(chosen))[1]
    for _ in range(trainer.setup.steps_per_epoch):
        trainer.step()
    assert [len(batch) for batch in taken] == [8, 4] * 3
    passes = [np.concatenate(taken[start : start + 2]).tolist() for start in (0, 2, 4)]
    assert all(sorted(each) == job.splits["train"].tolist() for each in passes)
    assert passes[0] != passes[1] != passes[2]


def test_a_batch_larger_than_the_few_shots_is_all_of_them(recipe, tmp_path):
    job = trained(recipe.replace(shots=1, batch_size=64, epochs=1), tmp_path / "run").setup
    assert job.recipe.passes == 80 and job.data.sizes["train"] == 3


def test_training_learns(tiles, backbone, tmp_path):
    recipe = Recipe(data=tiles, backbone=backbone, epochs=15, batch_size=8, learning_rate=1e-2)
    trainer = trained(recipe, tmp_path / "run")
    assert (trainer.logits("test").argmax(1) == trainer.labels("test")).mean() > 0.9


@pytest.mark.parametrize(
    ("model_type", "method"),
    [*((family, "lora") for family in FAMILIES), ("dinov2", "full"), ("dinov2", "linear")],
)
def test_every_family_trains_and_is_proven_after_saving(tiles, tmp_path, model_type, method):
    folder = str(backbone_folder(tmp_path / "b", model_type, layers=1, distilled=model_type == "deit"))
    recipe = Recipe(data=tiles, backbone=folder, method=method, image_size=16, epochs=1, batch_size=16)
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.reload_check.largest_difference < 1e-4
    assert result.parameters.trainable > 0


# One of each kind; tests/models/test_methods.py saves and reloads them all.
@pytest.mark.parametrize("method", ["adalora", "bitfit", "dora", "pissa", "randlora", "topk"])
def test_methods_of_every_kind_train_and_are_proven_after_saving(recipe, tmp_path, method):
    result = train(recipe.replace(method=method, epochs=4), tmp_path / "run", progress=False)
    assert result.reload_check.largest_difference < 1e-4
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_the_same_recipe_gives_the_same_run_and_another_seed_another(finished, tmp_path):
    recipe, out = finished
    train(recipe, tmp_path / "again", progress=False)
    other = trained(recipe.replace(seed=1), tmp_path / "other")
    assert outcome(tmp_path / "again") == outcome(out)
    losses = [entry["train_loss"] for entry in outcome(out)[2]]
    assert [entry.train_loss for entry in other.state.history] != losses


@pytest.mark.slow
def test_a_run_killed_twice_ends_with_the_same_numbers_bit_for_bit(finished, tmp_path):
    recipe, whole = finished
    out = tmp_path / "run"
    first = start(recipe, out)
    wait_for(out / "checkpoint" / "state.safetensors", first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (out / "result.json").exists()
    second = start(recipe, out)
    wait_for(out / "adapter", second)
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert not (out / "result.json").exists()
    result = train(recipe, out, progress=False)
    assert outcome(out) == outcome(whole)
    assert result.cost.resumed == 2


def interrupt(recipe, out, step):
    """Train until SIGINT arrives in this step."""
    job = prepare_training(recipe)
    trainer = Trainer.build(
        job, RunFolder(out, job.recipe, inputs=job.inputs()), accelerator=make_accelerator()
    )
    taken = trainer.step

    def step_and_interrupt():
        loss = taken()
        if trainer.state.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    trainer.step = step_and_interrupt
    with (
        pytest.raises(Interrupted, match=rf"step {step} of 10\. Run the same command again to continue"),
        trainer.interrupt,
    ):
        trainer.fit()


def test_a_run_stopped_after_the_last_step_of_an_epoch_logs_the_rate_of_that_step(finished, tmp_path):
    recipe, whole = finished
    interrupt(recipe, tmp_path / "run", step=5)
    train(recipe, tmp_path / "run", progress=False)
    assert outcome(tmp_path / "run") == outcome(whole)


class InterruptedWrite(io.RawIOBase):
    """A file whose first write takes so long that SIGINT arrives meanwhile."""

    written = b""

    def writable(self):
        return True

    def write(self, data):
        if not self.written:
            signal.raise_signal(signal.SIGINT)  # to this thread; a kill may reach another one, and later
        self.written += bytes(data)
        return len(data)


def test_sigint_in_the_middle_of_a_message_stops_the_run_all_the_same(recipe, tmp_path, monkeypatch):
    job, file = prepare_training(recipe), InterruptedWrite()
    folder = RunFolder(tmp_path / "run", job.recipe, inputs=job.inputs())
    trainer = Trainer.build(job, folder, accelerator=make_accelerator())
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(file), write_through=True))
    with trainer.interrupt:
        print("epoch 1/2", file=sys.stderr, flush=True)
    assert trainer.interrupt.is_set and file.written.startswith(b"epoch 1/2")


def test_sigint_saves_within_the_epoch_and_the_run_resumes_to_the_same_numbers(finished, tmp_path):
    recipe, whole = finished
    interrupt(recipe, tmp_path / "run", step=3)
    train(recipe, tmp_path / "run", progress=False)
    assert outcome(tmp_path / "run") == outcome(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "adalora"},
        {"method": "loraplus"},
        {"method": "pissa"},
        {"freeze_layers": "1:0.5"},
        {"merge_tokens": "1"},
    ],
)
def test_a_run_with_more_state_than_its_weights_resumes_to_the_same_numbers(recipe, tmp_path, changes):
    recipe, out = recipe.replace(**changes), tmp_path / "run"
    train(recipe, tmp_path / "whole", progress=False)
    interrupt(recipe, out, step=3)
    interrupt(recipe, out, step=7)  # AdaLoRA's choice is final after step 5, when layers are frozen too
    train(recipe, out, progress=False)
    assert outcome(out) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_sigint_on_the_command_line_exits_with_130_and_how_to_continue(recipe, tmp_path):
    long = recipe.replace(epochs=500)
    process = start(long, tmp_path / "run")
    wait_for(tmp_path / "run" / "checkpoint" / "state.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message.splitlines()[-1].startswith("Stopped after step")
    assert "Traceback" not in message


def test_a_finished_run_is_not_repeated(finished):
    recipe, out = finished
    before = (out / "result.json").stat().st_mtime_ns
    train(recipe, out, progress=False)
    assert (out / "result.json").stat().st_mtime_ns == before


def test_a_folder_of_another_recipe_is_refused_and_the_difference_named(finished):
    recipe, out = finished
    with pytest.raises(RunError, match="epochs: 1, not 2"):
        train(recipe.replace(epochs=1), out, progress=False)


def test_a_folder_without_a_run_is_refused(recipe, tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(RunError, match="not a run of Orbitune"):
        train(recipe, tmp_path, progress=False)


def test_temporary_folders_of_a_killed_process_are_removed(recipe, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    killed = (
        "import os, sys\nfrom orbitune.files import replacing\n"
        "with replacing(sys.argv[1]) as new:\n    new.mkdir()\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(out / "adapter")])
    [left] = out.iterdir()
    (out / ".mine.20240101.tmp").mkdir()
    trained(recipe, out)
    assert not left.exists() and (out / ".mine.20240101.tmp").exists()


def test_a_run_whose_tiles_were_changed_is_neither_resumed_nor_called_finished(tmp_path, backbone):
    tiles = tile_folder(tmp_path / "tiles")
    recipe = Recipe(data=str(tiles), backbone=backbone, method="linear", epochs=1, batch_size=16)
    train(recipe, tmp_path / "run", progress=False)
    (tiles / "class_0" / "tile_0_0.png").unlink()
    with pytest.raises(RunError, match=r"The tiles and splits of .* are no longer the same"):
        train(recipe, tmp_path / "run", progress=False)
    with pytest.raises(RunError, match="no longer the same"):
        evaluate(tmp_path / "run", progress=False)


def test_a_run_whose_split_files_were_changed_is_not_evaluated(tmp_path, backbone):
    tiles = tile_folder(tmp_path / "tiles")
    names = {
        split: [f"tile_{c}_{n}" for c in range(3) for n in range(*part)] for split, part in PARTS.items()
    }
    lists = {split: tmp_path / f"{split}.txt" for split in names}
    for split, file in lists.items():
        file.write_text("\n".join(names[split]))
    recipe = Recipe(
        data=str(tiles),
        split_files=",".join(f"{split}={file}" for split, file in lists.items()),
        backbone=backbone,
        method="linear",
        epochs=1,
    )
    train(recipe, tmp_path / "run", progress=False)
    lists["test"].write_text("\n".join(names["train"]))
    lists["train"].write_text("\n".join(names["test"]))
    with pytest.raises(RunError, match=r"The splits of .* are no longer the same"):
        evaluate(tmp_path / "run", progress=False)


def test_a_run_resumes_with_moved_data_and_backbone(finished, tmp_path, monkeypatch):
    recipe, whole = finished
    interrupt(recipe, tmp_path / "run", step=3)
    shutil.copytree(recipe.data, tmp_path / "moved")
    shutil.copytree(recipe.backbone, tmp_path / "backbone")
    monkeypatch.chdir(tmp_path)
    moved = recipe.replace(data="./moved/", backbone="../" + tmp_path.name + "/backbone")
    train(moved, "run", progress=False)
    assert outcome(tmp_path / "run") == outcome(whole)
    monkeypatch.chdir("/")
    assert Recipe.load(tmp_path / "run" / "recipe.yaml").data == str(tmp_path / "moved")
    train(recipe, tmp_path / "run", progress=False)  # a finished run names the place of today
    assert RunResult.load(tmp_path / "run").recipe.data == recipe.data
    for path in (tmp_path / "moved", tmp_path / "backbone"):
        shutil.rmtree(path)
    assert evaluate(tmp_path / "run", "validation", progress=False)


def test_other_settings_beside_the_same_weights_are_another_backbone(recipe, tmp_path):
    shutil.copytree(recipe.backbone, tmp_path / "backbone")
    file = tmp_path / "backbone" / "preprocessor_config.json"
    interrupt(recipe, tmp_path / "run", step=3)
    file.write_text(file.read_text().replace("0.4", "0.1"))
    with pytest.raises(RunError, match=r"The backbone settings of .* train again with another --out"):
        train(recipe.replace(backbone=str(tmp_path / "backbone")), tmp_path / "run", progress=False)


@pytest.mark.parametrize("name", ["state", "best"])
def test_a_flipped_byte_of_a_checkpoint_is_one_clear_error(recipe, tmp_path, name):
    out = tmp_path / "run"
    trial(recipe, out, epochs=1, progress=False)
    file = out / "checkpoint" / f"{name}.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 0x10  # of a weight
    file.write_bytes(data)
    with pytest.raises(RunError, match=r"is damaged.*another --out, or remove .*checkpoint"):
        if name == "best":
            load_best(file, build_model(recipe), epoch=1)
        else:
            train(recipe, out, progress=False)


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"])
def test_a_flipped_byte_of_a_finished_run_is_reported_wherever_it_is_opened(finished, tmp_path, name):
    out = shutil.copytree(finished[1], tmp_path / "run")
    data = bytearray((out / name).read_bytes())
    data[len(data) // 2] ^= 0x01
    (out / name).write_bytes(data)
    for use in (lambda: evaluate(out, progress=False), lambda: train(finished[0], out, progress=False)):
        with pytest.raises(OrbituneError, match=f"{Path(name).name} of .* is damaged"):
            use()


def test_a_damaged_checkpoint_is_one_clear_error(recipe, tmp_path):
    out = tmp_path / "run"
    interrupt(recipe, out, step=3)
    state = out / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(RunError, match="is damaged"):
        train(recipe, out, progress=False)


@pytest.mark.slow
def test_two_processes_do_not_work_in_one_run_folder(recipe, tmp_path):
    recipe.save(tmp_path / "recipe.yaml")
    with open_run(recipe, tmp_path / "run", progress=False):
        second = orbitune("train", "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert second.returncode == 2
    assert "in use by another process" in second.stderr


def test_who_waits_for_a_run_that_ends_gets_the_lock(recipe, tmp_path):
    entered = threading.Event()

    def wait_for(folder):
        with folder.locked():
            entered.set()

    with open_run(recipe, tmp_path / "run", progress=False) as run:
        waiting = threading.Thread(target=wait_for, args=(run.folder,))
        waiting.start()
        assert not entered.wait(0.2)
        run.folder.drop_checkpoint()
    waiting.join()
    assert entered.is_set()


def test_diverging_training_stops_with_the_step_and_the_cure(recipe, tmp_path):
    with pytest.raises(RunError, match=r"not finite\. Lower --learning-rate"):
        train(recipe.replace(method="full", learning_rate=1e30, epochs=20), tmp_path / "run", progress=False)


def test_a_trainable_tensor_without_a_gradient_stops_the_run():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1](torch.ones(1, 2)).sum().backward()
    with pytest.raises(RunError, match=r"such as 0\.weight"):
        check_gradients(model)


def test_the_rate_warms_up_and_falls_along_a_cosine():
    recipe = Recipe(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(recipe, step, steps=10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True) and rates[-1] < 0.1


def test_the_original_schedule_is_constant():
    recipe = Recipe(learning_rate=5e-5, warmup=0, schedule="constant")
    assert {learning_rate(recipe, step, steps=10) for step in range(10)} == {5e-5}


def test_evaluate_scores_a_run_from_disk_as_training_did_and_counts_the_read(finished, tmp_path):
    _, out = finished
    recorded = json.loads((out / "result.json").read_text())
    again = evaluate(out, "validation", progress=False).model_copy(update={"seen": None})
    assert again.to_json() == recorded["validation"]
    assert evaluate(out, progress=False).to_json() == recorded["test"]
    assert json.loads((out / "result.json").read_text())["test_reads"] == recorded["test_reads"] + 1


@pytest.mark.parametrize("text", [None, "{", '{"format": 1}'])
def test_evaluating_an_unfinished_run_is_one_clear_error(tmp_path, text):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(OrbituneError, match=r"no finished run|damaged"):
        evaluate(tmp_path)


@pytest.mark.slow
@pytest.mark.shared
def test_the_spatial_split_trains_on_real_tiles(shared, tmp_path):
    lists = {}
    for split in ("train", "val", "test"):
        names = (shared / f"eurosat/splits/eurosat-spatial-{split}.txt").read_text().split()
        lists[split] = tmp_path / f"{split}.txt"
        lists[split].write_text("\n".join(names[:: len(names) // 200]))
    recipe = Recipe(
        data=str(shared / "eurosat"),
        split_files=f"train={lists['train']},validation={lists['val']},test={lists['test']}",
        backbone=str(shared / "vit-tiny-patch16-224"),
        image_size=64,
        epochs=3,
        batch_size=16,
    )
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.test.accuracy > 0.5
    assert result.data.synthetic is False


def test_mixed_tiles_smoothed_labels_and_growing_sizes_train(recipe, tmp_path):
    out = tmp_path / "run"
    changed = recipe.replace(mixup=0.2, label_smoothing=0.1, sizes="16:0.5,32:0.5", micro_batch=3)
    trainer = trained(changed, out)
    assert trainer.setup.preprocessing.image_size == 32
    assert all(np.isfinite(epoch.train_loss) for epoch in trainer.state.history)


def test_test_time_augmentation_gives_the_same_scores_when_evaluated_again(recipe, tmp_path):
    result = train(recipe.replace(tta="flips"), tmp_path / "run", progress=False)
    assert evaluate(tmp_path / "run", progress=False) == result.test


def test_micro_batches_change_no_result_beyond_rounding(recipe, tmp_path):
    recipe = recipe.replace(precision="fp32", epochs=1, lora={"dropout": 0})
    [whole], [parts] = (
        trained(recipe.replace(micro_batch=size), tmp_path / str(size)).state.history for size in (8, 3)
    )
    assert parts.train_loss == pytest.approx(whole.train_loss, rel=1e-5)


def test_the_fast_path_trains_to_the_loss_of_the_plain_one(recipe, tmp_path):
    recipe = recipe.replace(precision="fp32", lora={"dropout": 0})
    fast, plain = (trained(recipe.replace(fast=fast), tmp_path / str(fast)) for fast in (True, False))
    assert (fast.computation().fast, plain.computation().fast) == (True, False)
    for mine, theirs in zip(fast.state.history, plain.state.history, strict=True):
        assert mine.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-4)


def test_sizes_change_at_their_fraction_of_the_steps(recipe):
    growing = recipe.replace(sizes="16:0.25,24:0.25,32:0.5", image_size=32)
    assert [step_image_size(growing, step, steps=8) for step in range(8)] == [16, 16, 24, 24, 32, 32, 32, 32]
    assert step_image_size(recipe.replace(image_size=32), 5, steps=8) == 32


def test_half_precision_of_older_gpus_trains_with_a_scaled_loss(recipe, tmp_path):
    trainer = trained(recipe.replace(precision="fp16"), tmp_path / "run")
    assert trainer.computation().precision == "fp16"
    first, last = trainer.state.history
    assert last.train_loss < first.train_loss


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs training on the CPU, not on a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_recipe_in_half_precision_trains_on_a_processor_without_it(recipe, tmp_path, request, precision):
    recipe = recipe.replace(precision=precision, lora={"dropout": 0})
    here = trained(recipe, tmp_path / "here")
    request.getfixturevalue("without_half_precision")
    there = train(recipe, tmp_path / "there", progress=False)
    for mine, theirs in zip(there.history, here.state.history, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=0.02)
    assert "float32 on" in there.compute.products


def test_a_run_resumes_on_a_processor_without_half_precision(recipe, tmp_path, request):
    recipe = recipe.replace(precision="bf16", lora={"dropout": 0})
    whole = train(recipe, tmp_path / "whole", progress=False)
    interrupt(recipe, tmp_path / "moved", step=3)
    request.getfixturevalue("without_half_precision")
    moved = train(recipe, tmp_path / "moved", progress=False)
    assert moved.cost.resumed == 1 and moved.compute.attention == whole.compute.attention
    assert moved.history[-1].train_loss == pytest.approx(whole.history[-1].train_loss, rel=0.02)


@pytest.mark.parametrize("fast", [True, False])
def test_computing_activations_again_changes_no_result(recipe, tmp_path, fast):
    recipe = recipe.replace(fast=fast, precision="fp32", epochs=1, lora={"dropout": 0})
    [kept], [again] = (
        trained(recipe.replace(checkpointing=on), tmp_path / str(on)).state.history for on in (False, True)
    )
    assert again.train_loss == pytest.approx(kept.train_loss, rel=1e-6)


def test_cached_activations_change_no_result_and_their_time_is_counted(recipe, tmp_path):
    recipe = recipe.replace(augment="none", precision="fp32", lora={"top_layers": 1, "dropout": 0})
    whole = trained(recipe, tmp_path / "whole")
    kept = train(recipe.replace(cache_frozen=True), tmp_path / "kept", progress=False)
    again = train(recipe.replace(cache_frozen=True, seed=1), tmp_path / "again", progress=False)
    for mine, theirs in zip(kept.history, whole.state.history, strict=True):
        assert mine.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-5)
    assert kept.cost.cache_seconds > 0
    assert (kept.cost.cache_reused, again.cost.cache_reused) == (False, True)
    assert evaluate(tmp_path / "kept", progress=False) == kept.test


def test_scores_of_a_run_over_activations_of_8_bits_are_those_of_its_saved_model(recipe, tmp_path):
    top = recipe.replace(augment="none", lora={"top_layers": 1}, cache_frozen=True, cache_bits=8)
    done = train(top, tmp_path / "run", progress=False)
    assert evaluate(tmp_path / "run", progress=False) == done.test
