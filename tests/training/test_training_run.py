import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import rawzoo
from rawzoo.errors import RawzooError, UsageError, WeightsError
from rawzoo.training import recipe as recipes
from rawzoo.training import run
from rawzoo.zoo.manager import get_manager

HERE = Path(__file__).parent

pytestmark = pytest.mark.usefixtures("one_thread")

TRAINER = {
    "steps": 12,
    "batch": 4,
    "validate_every": 4,
    "checkpoint_every": 4,
    "log_every": 1,
    "threads": 1,
    "loggers": [],
    "accelerator": "cpu",
    "samples": 2,
}


def values(photos: Path, output: Path, **trainer) -> dict:
    return {
        "model": {"architecture": "toy_training:Toy", "inputs": ["packed", "noise"]},
        "data": {
            "name": "photographs",
            "folders": [str(photos)],
            "validation": ["*-3*"],
            "patch": 16,
            "validation_patch": 32,
            "levels": [0, 4e-3],
        },
        "optimizer": {"lr": 0.01},
        "trainer": {**TRAINER, **trainer},
        "output": str(output),
    }


def lines(output: Path, width: float = 0.0, **trainer) -> dict:
    return {
        "model": {"architecture": "toy_training:Line", "inputs": ["mosaic"]},
        "data": {"name": "toy_training:Lines"},
        "optimizer": {"lr": 0.01},
        "trainer": {**TRAINER, **trainer},
        "output": str(output),
    }


def train(content: dict, **options) -> Path:
    return run.train(recipes.from_dict(content), **options)


def curve(folder: Path) -> list[dict]:
    """Everything logged but what took how long."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in record.items() if "duration" not in k} for record in records]
    return [record for record in kept if set(record) != {"step"}]


def command(path: Path, *arguments: str) -> subprocess.Popen:
    """``rawzoo train`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "rawzoo", "train", str(path), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Where the tests run in the background of a shell, an interrupt is ignored, and so would it be here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_lines(process: subprocess.Popen, file: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while not file.exists() or file.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def reference(photos, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    train(values(photos, folder))
    return folder


def test_a_run_leaves_what_it_promises(reference, photos):
    names = {path.name for path in reference.iterdir()}
    assert names == {"recipe.yaml", "metrics.jsonl", "last.ckpt", "best.ckpt", "weights.safetensors", "samples"}
    assert [p.name for p in sorted((reference / "samples").iterdir())] == [f"step-{n:07d}.png" for n in (4, 8, 12)]
    assert (reference / "weights.safetensors").stat().st_mode == (reference / "recipe.yaml").stat().st_mode
    picture = np.asarray(Image.open(reference / "samples" / "step-0000012.png"))
    assert picture.shape == (2 * 32, 3 * 32, 3)
    logged = curve(reference)
    losses = [record["train_loss"] for record in logged if "train_loss" in record]
    assert len(losses) == 12
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    checks = [record for record in logged if "val_psnr_sqrt" in record]
    assert [record["step"] for record in checks] == [4, 8, 12]
    assert {"val_loss", "val_psnr", "val_psnr_a_0", "val_psnr_sqrt_a_0.004", "val_loss_a_0"} <= set(checks[0])
    assert checks[0]["val_l1_loss_a_0.004"] == checks[0]["val_loss_a_0.004"]  # the loss is L1
    assert checks[0]["val_psnr"] == pytest.approx((checks[0]["val_psnr_a_0"] + checks[0]["val_psnr_a_0.004"]) / 2)
    assert recipes.read(reference / "recipe.yaml") == recipes.from_dict(values(photos, reference))


def test_the_weights_are_those_of_the_average(reference, photos):
    saved = load_file(reference / "weights.safetensors")
    state = torch.load(reference / "best.ckpt", weights_only=True)["state_dict"]
    for name, tensor in saved.items():
        assert torch.equal(tensor, state[f"average.{name}"])
    assert not torch.equal(saved["first.weight"], state["network.first.weight"])
    assert float(saved["calls"]) == 12
    with safe_open(reference / "weights.safetensors", "pt") as file:
        metadata = file.metadata()
    origin = json.loads(metadata["rawzoo"])
    assert origin["description"] == "trained for 12 of 12 steps"
    assert yaml.safe_load(metadata["recipe"])["data"]["name"] == "photographs"
    assert json.loads(metadata["metrics"])["val_psnr"] > 5


def test_the_average_is_the_weighted_sum_of_the_steps(tmp_path):
    """The moving average against its definition, from the weights after each step."""
    seen = []
    module = run.build(
        recipes.from_dict(lines(tmp_path / "r", average=0.5, steps=6, validate_every=6, checkpoint_every=6))
    )
    step = module.optimizer_step

    def watched(*args, **kwargs):
        step(*args, **kwargs)
        seen.append(module.network.layer.weight.detach().clone())

    module.optimizer_step = watched
    start = module.average.layer.weight.clone()
    trainer = run._trainer(module, tmp_path, 0, False, print)
    trainer.fit(module)
    expected = start
    for n, weight in enumerate(seen, 1):
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    assert len(seen) == 6
    assert torch.allclose(module.average.layer.weight, expected, atol=1e-6)


def test_killed_and_resumed_it_is_the_same_run(reference, photos, tmp_path):
    """SIGKILL between two checkpoints; then the loss curve, the metrics and the weights bit for bit."""
    folder = tmp_path / "killed"
    content = values(photos, folder)
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(content))
    process = command(path)
    wait_for_lines(process, folder / "metrics.jsonl", 8)  # six steps, a validation, and the time of the first four
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    reached = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    assert reached < 12
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "train_lo')  # as a kill while writing leaves it
    with pytest.raises(UsageError, match="holds a run already"):
        train(content)
    train(content, resume=True)
    assert curve(folder) == curve(reference)
    ours, theirs = (load_file(each / "weights.safetensors") for each in (folder, reference))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_interrupted_it_says_how_to_go_on(photos, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(values(photos, tmp_path / "run", steps=1000000)))
    process = command(path)
    wait_for_lines(process, tmp_path / "run" / "metrics.jsonl", 5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "steps; go on with --resume." in out.splitlines()[-1]
    assert "Traceback" not in out


def test_a_finished_run_goes_on_when_there_are_more_steps(tmp_path):
    content = lines(tmp_path / "r", steps=4)
    train(content)
    before = (tmp_path / "r" / "metrics.jsonl").read_text()
    train(content, resume=True)
    assert (tmp_path / "r" / "metrics.jsonl").read_text() == before
    content["trainer"]["steps"] = 6
    train(content, resume=True)
    assert [r["step"] for r in curve(tmp_path / "r") if "train_loss" in r] == [1, 2, 3, 4, 5, 6]
    # The last steps are validated although they are fewer than validate_every.
    assert [r["step"] for r in curve(tmp_path / "r") if "val_loss" in r] == [4, 6]


def test_another_recipe_is_no_resumption(tmp_path):
    content = lines(tmp_path / "r", steps=4)
    train(content)
    content["optimizer"]["lr"] = 0.02
    with pytest.raises(UsageError, match=r"optimizer\.lr of the recipe differ"):
        train(content, resume=True)
    (tmp_path / "r" / "last.ckpt").write_bytes(b"no checkpoint")
    content["optimizer"]["lr"] = 0.01
    with pytest.raises(RawzooError, match=r"last\.ckpt is damaged"):
        train(content, resume=True)


def test_two_processes_train_what_one_does(tmp_path):
    """DistributedDataParallel over gloo through Lightning's launcher, on the same global batches."""
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(lines(tmp_path / "two", devices=2, strategy="ddp", steps=8)))
    process = command(path)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert out.count("weights: ") == 1
    assert out.count("step 8: ") == 1
    train(lines(tmp_path / "one", steps=8))
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        assert torch.allclose(two[name], tensor, atol=1e-6)
    ours, theirs = ([r for r in curve(tmp_path / name) if "val_loss" in r] for name in ("one", "two"))
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_accumulated_batches_make_one_step(tmp_path):
    """Two batches of four are one of eight, for a loss that is a mean over examples."""
    train(lines(tmp_path / "eight", batch=8))
    train(lines(tmp_path / "fours", batch=4, accumulate=2))
    eight, fours = (load_file(tmp_path / name / "weights.safetensors") for name in ("eight", "fours"))
    for name, tensor in eight.items():
        assert torch.allclose(fours[name], tensor, atol=1e-6)


def test_mixed_precision_and_clipping(tmp_path):
    """In bfloat16 inside; and with plain gradient descent a step is as long as the gradient is allowed to be."""
    content = lines(tmp_path / "r", precision="bf16-mixed", clip=1e-3, steps=4)
    content["optimizer"], content["schedule"] = {"name": "sgd", "lr": 1.0}, "constant"
    module = run.build(recipes.from_dict(content))
    seen, weights = [], []
    module.network.layer.register_forward_hook(lambda layer, x, y: seen.append(y.dtype))
    module.on_train_batch_start = lambda batch, number: weights.append(
        torch.nn.utils.parameters_to_vector(module.network.parameters()).detach()
    )
    run._trainer(module, tmp_path, 0, False, print).fit(module)
    assert set(seen) == {torch.bfloat16}
    assert module.network.layer.weight.dtype == torch.float32
    steps = torch.stack(weights).diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps, torch.full((3,), 1e-3), rtol=1e-3, atol=0)


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    """Killed while it writes: what was written before is what there is, and it goes on from there."""
    content = {**lines(tmp_path / "r", steps=4), "schedule": "constant"}  # cosine ends where the steps do
    train(content)
    before = {name: (tmp_path / "r" / name).read_bytes() for name in ("last.ckpt", "best.ckpt")}
    content["trainer"]["steps"] = 8

    def half(trainer, path, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lightning.pytorch.Trainer.save_checkpoint", half)
        with pytest.raises(RawzooError, match="go on with --resume"):
            train(content, resume=True)
    assert {name: (tmp_path / "r" / name).read_bytes() for name in before} == before
    train(content, resume=True)
    train({**content, "output": str(tmp_path / "whole")})
    ours, theirs = (load_file(tmp_path / name / "weights.safetensors") for name in ("r", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_mixed_precision_is_for_the_network_only(photos, tmp_path):
    targets, checks = {}, {}
    for precision in ("32-true", "bf16-mixed"):
        folder = tmp_path / precision
        folder.mkdir()
        module = run.build(recipes.from_dict(values(photos, folder, precision=precision, steps=2)))
        seen = targets.setdefault(precision, [])
        module.loss.register_forward_hook(lambda loss, inputs, y, seen=seen: seen.append(inputs[1].clone()))
        run._trainer(module, folder, 0, False, print).fit(module)
        checks[precision] = curve(folder)[-1]["val_psnr"]
    assert len(targets["32-true"]) > 2
    for full, mixed in zip(*targets.values(), strict=True):
        assert full.dtype == mixed.dtype == torch.float32
        assert torch.equal(full, mixed)
    assert checks["32-true"] != checks["bf16-mixed"] == pytest.approx(checks["32-true"], abs=1)
    assert (folder / "samples").exists()


def test_a_network_is_judged_in_its_own_domain(photos, tmp_path):
    content = values(photos, tmp_path / "r")
    content["model"]["architecture"] = "toy_training:Rooted"
    module = run.build(recipes.from_dict(content))
    batch = {
        "mosaic": torch.rand(1, 1, 8, 8),
        "target": torch.rand(1, 3, 8, 8),
        "noise": torch.zeros(1, 4, 2),
        "cfa": "RGGB",
    }
    module.network.eval()
    loss, l1 = module.loss_of(batch)
    x = torch.nn.functional.pixel_unshuffle(batch["mosaic"], 2)
    expected = (module.network.encoded(x, batch["noise"]) - batch["target"].sqrt()).abs().mean()
    assert torch.allclose(loss, expected)
    assert torch.allclose(l1, expected)


def test_several_outputs_are_the_loss_to_compare(tmp_path):
    content = lines(tmp_path / "r", steps=4)
    content["model"]["architecture"] = "toy_training:Pyramid"
    content["loss"] = "toy_training:OfLast"
    assert train(content).exists()


def test_a_loss_gets_what_it_names_of_the_batch(tmp_path):
    content = lines(tmp_path / "r", steps=4)
    content["loss"] = "toy_training:Halved"
    train(content)
    module = run.build(recipes.from_dict(content))
    batch = {"mosaic": torch.rand(1, 1, 8, 8), "target": torch.rand(1, 3, 8, 8)}
    expected = (module.network(batch["mosaic"]) - (batch["target"] + batch["mosaic"]) / 2).abs().mean()
    assert torch.equal(module.loss_of(batch)[0], expected)
    with pytest.raises(UsageError, match=r"the loss: the data have no 'rgb'; they have index, mosaic, target"):
        train({**content, "loss": "toy_training:Missing", "output": str(tmp_path / "s")})


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    content = lines(tmp_path / "r")
    content["model"]["architecture"] = "toy_training:Broken"
    with pytest.raises(RawzooError, match=r"the loss is not finite after 1 steps; lower optimizer\.lr"):
        train(content)
    assert not (tmp_path / "r" / "last.ckpt").exists()


def test_a_metric_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(
        UsageError, match=r"trainer\.monitor 'val_ssim' is none of val_duration_s, .*val_loss, val_loss_line0"
    ):
        train(lines(tmp_path / "r", monitor="val_ssim"))


def test_what_data_and_network_do_not_share_is_named(tmp_path):
    content = lines(tmp_path / "r")
    content["model"]["inputs"] = ["mosaik"]
    with pytest.raises(UsageError, match="the data have no 'mosaik'; they have index, mosaic, target"):
        train(content)


def test_nothing_to_train_is_said(tmp_path):
    content = lines(tmp_path / "r")
    content["model"] = {"name": "malvar"}
    with pytest.raises(UsageError, match="malvar has nothing to train"):
        train(content)


@pytest.fixture
def toy_card():
    class Plugin:
        @rawzoo.hookimpl
        def rawzoo_register_models(self, register):
            register(
                rawzoo.ModelCard(
                    name="toy-demosaic",
                    task="demosaic",
                    architecture="toy_training:Line",
                    input="mosaic",
                    cfa="RGGB",
                    halo=1,
                    weights={},
                )
            )

    manager = get_manager()
    manager.add(Plugin(), "toy")
    yield
    manager.remove("toy")


@pytest.mark.usefixtures("toy_card")
def test_a_card_is_trained_loaded_and_trained_further(photos, tmp_path):
    content = values(photos, tmp_path / "r", steps=4)
    content["model"] = {"name": "toy-demosaic"}
    weights = train(content)
    net = rawzoo.load("toy-demosaic", weights=weights)
    assert torch.equal(net.module.layer.weight, load_file(weights)["layer.weight"])
    content["output"], content["model"]["weights"] = str(tmp_path / "more"), str(weights)
    module = run.build(recipes.from_dict(content))
    assert torch.equal(module.network.layer.weight, net.module.layer.weight)
    content["data"]["cfa"] = "bayer"
    with pytest.raises(UsageError, match=r"takes RGGB mosaics; set data\.cfa=RGGB"):
        run.build(recipes.from_dict(content))
    content["model"] = {**lines(tmp_path)["model"], "weights": str(tmp_path / "none.safetensors")}
    with pytest.raises(WeightsError):
        run.build(recipes.from_dict(content))


def test_a_dry_run_writes_nothing(photos, tmp_path, capsys, monkeypatch):
    from typer.testing import CliRunner

    from rawzoo.cli import app

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "r.yaml"
    content = values(photos, tmp_path / "run")
    del content["output"]
    path.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["train", str(path), "--dry-run", "trainer.batch=2"], catch_exceptions=False)
    assert result.exit_code == 0
    resolved, _, rest = result.output.partition("\n\n")
    assert recipes.from_dict(yaml.safe_load(resolved)).trainer.batch == 2
    # 8 * 8 * 9 + 8, and 8 * 12 * 9 + 12
    assert "parameters" in rest
    assert "1,460" in rest
    for word in ("activations", "one step", "its data", "all steps"):
        assert word in rest
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_the_trial_counts_bytes(photos, tmp_path):
    trial = run.try_step(recipes.from_dict(values(photos, tmp_path / "r")))
    # Weights, average, gradients and Adam's two moments, with a buffer twice and Adam's counters.
    assert trial.parameters == 1460
    assert trial.weights == pytest.approx(5 * 4 * 1460, rel=0.01)
    # The inputs of the two convolutions at the least: 8 and 8 planes of 8 x 8, four examples.
    assert trial.activations > 4 * (8 + 8) * 64 * 4
    assert trial.step_s > 0 < trial.data_s


def test_tensorboard_gets_metrics_and_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(lines(tmp_path / "r", loggers=["tensorboard"], steps=4))
    events = accumulator.EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("train_loss")) == 4
    assert {"val_psnr", "val_loss_line0", "learning_rate", "epoch_duration_s"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["input, output, target"]


def test_epochs_are_steps_that_depend_on_the_data(tmp_path):
    content = lines(tmp_path / "r", epochs=2.0, batch=4)  # of six lines
    train(content)
    assert [record["step"] for record in curve(tmp_path / "r")][-1] == 3
    assert run.try_step(recipes.from_dict(content)).steps == 3
    with pytest.raises(UsageError, match="must not be negative"):
        recipes.from_dict(lines(tmp_path / "r", epochs=-1.0))


def test_mlflow_gets_the_recipe_metrics_and_pictures(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    content = lines(tmp_path / "r", loggers=["mlflow"], steps=4, experiment="toys")
    train(content)
    content["trainer"]["steps"] = 6
    train(content, resume=True)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert found.data.params["trainer.batch"] == "4"
    assert found.data.params["data.name"] == "toy_training:Lines"
    assert {"train_loss", "l1_loss", "learning_rate", "val_loss_line1", "epoch_duration_s"} <= set(found.data.metrics)
    assert len(client.get_metric_history(found.info.run_id, "train_loss")) == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlflow-artifacts", "mlflow.db", "r"]
    assert {"recipe.yaml", "weights.safetensors"} <= {a.path for a in client.list_artifacts(found.info.run_id)}
    names = [each.path for each in client.list_artifacts(found.info.run_id, "samples")]
    assert names == ["samples/step-0000004.png", "samples/step-0000006.png"]
