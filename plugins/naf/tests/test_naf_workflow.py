"""From raw files to weights, on pairs of a small generated picture."""

import json

import numpy as np
import pytest
import torch
from naf_pairs import MATRIX, View, matrix_of, raw_of, rawzoo_naf, rows_of, write
from PIL import Image

pytest.importorskip("rawzoo.training.datasets", reason="rawzoo.training is not installed", exc_type=ImportError)

import rawzoo
from rawzoo import ops
from rawzoo.errors import RawzooError, UsageError
from rawzoo.training import recipe as recipes
from rawzoo.training import run
from rawzoo.training.datasets import Pair, loader, table_of
from rawzoo.training.module import network_input
from rawzoo_naf.datasets import RawNind, SmallSet
from rawzoo_naf.restorer import camera_to_rec2020

SHIFT, GAIN = (2.4, -1.2), 0.8
SCENES = ("one", "TEST_two", "three")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three scenes of one picture, with the table as aligning would write it; and a scene of X-Trans."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    from rawzoo.raw.cfa import XTRANS_PATTERN
    from rawzoo_naf import align

    folder = tmp_path_factory.mktemp("nind")
    view = View(248, 264)
    found = align.Table(folder / "pairs.csv")
    alignment = align.Alignment(matrix_of(SHIFT, 0.0), (GAIN,) * 3, 0.99, 0.8)
    clean, moved = view.seen(), view.seen(SHIFT)
    for i, scene in enumerate(SCENES):
        cfa = ("RGGB", "GBRG", "RGGB")[i]
        truth = write(folder, scene, 100, raw_of(clean, iso=100, cfa=cfa), truth=True)
        for iso in (400, 1600):
            raw = raw_of(moved, iso=iso, gain=GAIN, noise=iso * 2.5e-6, cfa=cfa, seed=iso + i)
            found.add(write(folder, scene, iso, raw), truth, alignment, 0.92)
    truth = write(folder, "four", 100, raw_of(clean, iso=100, cfa=XTRANS_PATTERN), truth=True, cfa="X-Trans")
    other = write(folder, "four", 800, raw_of(moved, iso=800, cfa=XTRANS_PATTERN), cfa="X-Trans")
    found.add(other, truth, alignment, 0.92)
    return found.path


@pytest.fixture(scope="module")
def small(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    result = rawzoo_naf("make-small", table, "-o", folder, "--size", 224)
    assert result.exit_code == 0, result.output
    assert "6 pairs, " in result.output
    return folder / "pairs.csv"


def first_batch(data, batch=2, number=0):
    found = next(iter(loader(data, range(number, number + 1), batch=batch, seed=1)))
    return data.finish(found, torch.Generator().manual_seed(0))


def test_scenes_are_split_and_iso_grouped(table):
    data = RawNind(str(table), validation=["*_TEST_*"], patch=32, validation_patch=64)
    assert {row["scene"] for row in data.train} == {"Bayer_one", "Bayer_three"}
    assert [data.validation(i)[0] for i in range(data.validation_size)] == ["ISO_400", "ISO_1600"]
    assert RawNind(str(table), validation=["*_TEST_*"], isos=[1600]).validation_size == 1
    assert RawNind(str(table), validation=["*o*"], per_iso=2).validation_size == 4
    assert RawNind(str(table), validation=["*o*"], per_iso=0).validation_size == 4
    with pytest.raises(UsageError, match=r"data\.isos \[200\] leaves nothing.*\[400, 1600\]"):
        RawNind(str(table), validation=["*_TEST_*"], isos=[200])


@pytest.mark.parametrize("kind", [RawNind, SmallSet])
def test_what_networks_get(table, small, kind):
    """Rec. 2020 as for deployed networks, RGGB whatever the file's phase, aligned, as bright, with the condition."""
    data = kind(str(table if kind is RawNind else small), validation=["*one*"], patch=64, validation_patch=200)
    batch = first_batch(data, batch=4)
    assert {key: tuple(batch[key].shape) for key in ("mosaic", "rgb", "target", "cond")} == {
        "mosaic": (4, 1, 64, 64), "rgb": (4, 3, 64, 64), "target": (4, 3, 64, 64), "cond": (4, 1),
    }  # fmt: skip
    assert set(batch["cond"].flatten().tolist()) == {400 / 6400, 1600 / 6400}
    assert batch["cfa"] == "RGGB"
    for key in ("mosaic", "rgb", "target"):
        assert batch[key].min() >= 0
        assert batch[key].max() <= 1
    for group, found in map(data.validation, range(data.validation_size)):
        bound = {"ISO_400": 0.02, "ISO_1600": 0.04}[group]
        difference = found["rgb"] - found["target"]
        inner = difference[..., 8:-8, 8:-8]
        assert inner.abs().median() < bound
        # As bright: shadows that the sensor cut off at black aside, what is left has no mean.
        assert inner.mean().abs() < 0.02 * found["target"].mean()
        # Moved by a pixel, it would not fit.
        shifted = (found["rgb"].roll((1, 1), (2, 3)) - found["target"])[..., 8:-8, 8:-8]
        assert shifted.square().mean() > 2 * inner.square().mean()
        assert data.measure(found["target"], found)["psnr"] == 100
        assert len(data.pictures(found["target"], found)) == 3


def test_the_colours_are_those_that_deployed_networks_see(tmp_path):
    """A flat grey of the camera's daylight is grey, and a colour is where the matrix puts it."""
    raw = raw_of(np.full((40, 40, 3), 0.4), iso=800, noise=1e-9)
    path = write(tmp_path, "flat", 800, raw)
    row = {"noisy": path, "clean": path, "iso": "800"}
    from rawzoo_naf.datasets import rec2020

    pair = Pair.open(row)
    found = rec2020(pair, pair.crop(16, "RGGB", "menon", lambda last: last // 2), row)
    camera = 0.4 * np.array([0.55, 1.0, 0.65])
    expected = (camera_to_rec2020(pair.noisy) @ camera).clip(0, 1)
    np.testing.assert_allclose(
        found["target"].numpy(), np.broadcast_to(expected[:, None, None], (3, 16, 16)), atol=1e-3
    )
    mosaic = found["mosaic"][0].numpy()
    np.testing.assert_allclose(mosaic[::2, ::2], expected[0], atol=1e-3)
    np.testing.assert_allclose(mosaic[1::2, 1::2], expected[2], atol=1e-3)
    assert MATRIX.illuminant == 21


def test_the_demosaicer_learns_from_smaller_pictures(table):
    whole = RawNind(str(table), validation=["*one*"], patch=128, validation_patch=128)
    data = RawNind(str(table), validation=["*one*"], patch=32, validation_patch=32, reduce=4)
    (_, large), (_, found) = whole.validation(0), data.validation(0)
    expected = torch.nn.functional.avg_pool2d(large["rgb"], 4)
    torch.testing.assert_close(found["target"], expected)
    for y, x, c in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        torch.testing.assert_close(found["mosaic"][0, 0, y::2, x::2], expected[0, c, y::2, x::2])
    demosaiced = ops.demosaic(found["mosaic"][0, 0], "RGGB", method="malvar")[:, 4:-4, 4:-4]
    torch.testing.assert_close(found["rgb"][0, :, 4:-4, 4:-4], demosaiced.clamp(0, 1), atol=1e-5, rtol=0)
    packed = network_input(found, "packed")
    torch.testing.assert_close(packed[:, 3], expected[:, 2, 1::2, 1::2])


def test_making_the_small_set_goes_on(table, small):
    rows = rows_of(small)
    assert [row["scene"] for row in rows] == [f"Bayer_{s}" for s in sorted(SCENES) for _ in range(2)]
    for row in rows:
        with Image.open(small.parent / row["noisy"]) as mosaic, Image.open(small.parent / row["clean"]) as clean:
            assert (mosaic.mode, mosaic.size, clean.mode, clean.size) == ("L", (224, 224), "RGB", (224, 224))
    first, second = (small.parent / rows[0][key] for key in ("noisy", "clean"))
    kept, content = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    other = small.parent / rows[1]["noisy"]
    untouched = other.stat().st_mtime_ns
    rawzoo_naf("make-small", table, "-o", small.parent, "--size", 224)
    assert second.read_bytes() == content
    assert first.stat().st_mtime_ns > kept
    assert other.stat().st_mtime_ns == untouched


def test_raw_crops_are_aligned_as_the_whole(table, tmp_path):
    result = rawzoo_naf("make-small", table, "-o", tmp_path, "--raw", "--size", 160)
    rows = rows_of(tmp_path / "pairs.csv")
    assert len(list(tmp_path.glob("*.dng"))) == 11  # truths are shared
    sizes = [sum(path.stat().st_size for path in files) / 1e6 for files in (
        tmp_path.glob("*.dng"), {row[key] for row in table_of(table) for key in ("noisy", "clean")},
    )]  # fmt: skip
    # X-Trans too: other networks may want it.
    assert result.output.startswith(f"7 pairs, {sizes[0]:.1f} MB of {sizes[1]:.1f} MB: ")
    for before, row in zip(table_of(table), rows, strict=True):
        whole, crop = rawzoo.open(before["noisy"]), rawzoo.open(tmp_path / row["noisy"])
        assert crop.mosaic.shape[0] >= 156
        assert crop.metadata.iso == whole.metadata.iso
        assert crop.black_level == whole.black_level
        top, left = ((a - b) // 2 for a, b in zip(whole.mosaic.shape, crop.mosaic.shape, strict=True))
        period = 2 if len(crop.cfa) == 4 else 6
        top, left = top // period * period, left // period * period
        assert np.array_equal(whole.mosaic[top:, left:][: crop.height, : crop.width], crop.mosaic)
    whole = RawNind(str(table), validation=["*one*"], validation_patch=96)
    crops = RawNind(str(tmp_path / "pairs.csv"), validation=["*one*"], validation_patch=96)
    for i in range(2):
        (_, a), (_, b) = whole.validation(i), crops.validation(i)
        inner = (a["rgb"] - a["target"]).square().mean() / (b["rgb"] - b["target"]).square().mean()
        assert 0.8 < inner < 1.25


def test_a_turned_matrix_moves_with_the_crop(tmp_path):
    from rawzoo_naf import small as making

    raw = raw_of(np.full((200, 240, 3), 0.3), iso=100)
    paths = [write(tmp_path, "flat", iso, raw) for iso in (100, 200)]
    matrix = matrix_of((3.0, -2.0), 0.5)
    row = {"noisy": paths[1], "clean": paths[0], "iso": "200"}
    row.update({f"m{i}{j}": str(matrix[i, j]) for i in (0, 1) for j in (0, 1, 2)})
    import threading

    recipe = making.MakeSmall({paths[1]: row}, tmp_path / "out", 100, 95, True, threading.Lock())
    (tmp_path / "out").mkdir()
    from rawzoo.batch import Job
    from rawzoo.raw.worker import DecodeWorker

    with DecodeWorker() as decoder:
        found = recipe(Job(paths[1]), decoder, [], lambda done: None)
    inner = np.array([float(found[f"m{i}{j}"]) for i in (0, 1) for j in (0, 1, 2)]).reshape(2, 3)
    origin = np.array([70, 50])
    for point in ((0, 0), (99, 10)):
        np.testing.assert_allclose(inner @ [*point, 1] + origin, matrix @ [*(origin + point), 1], atol=1e-5)


def test_damaged_sets(table, small, tmp_path):
    for file in small.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / rows_of(small)[0]["noisy"]
    damaged.write_bytes(b"no picture")
    data = SmallSet(str(tmp_path / "pairs.csv"), validation=["*three*"], patch=32)
    with pytest.raises(RawzooError, match="is damaged"):
        [data.sample(i, np.random.default_rng(0)) for i in range(len(data))]
    (tmp_path / "pairs.csv").write_text("noisy,clean\na.jpg,b.jpg\n")
    with pytest.raises(UsageError, match="column iso"):
        SmallSet(str(tmp_path / "pairs.csv"))
    with pytest.raises(UsageError, match="even number"):
        SmallSet(str(small), patch=33)
    with pytest.raises(UsageError, match="0 or more"):
        SmallSet(str(small), reduce=-1)


def test_recipes_are_listed():
    listed = rawzoo_naf("recipes").output
    for name in ("pretrain", "finetune", "demosaic"):
        assert f"rawzoo_naf:{name} " in listed
    assert recipes.read("rawzoo_naf:pretrain").output == "runs/pretrain"
    with pytest.raises(UsageError, match=r"rawzoo_naf:pretain does not exist \(did you mean pretrain\?\)"):
        recipes.read("rawzoo_naf:pretain")
    with pytest.raises(UsageError, match="package rawzoo_none is not installed"):
        recipes.read("rawzoo_none:pretrain")


def test_recipes_are_as_published():
    pretrain, finetune, demosaic = (recipes.read(f"rawzoo_naf:{n}") for n in ("pretrain", "finetune", "demosaic"))
    for each in (pretrain, finetune, demosaic):
        t = each.trainer
        assert (t.batch, t.clip, t.average, t.precision, t.seed) == (2, 0.01, 0, "32-true", 42)
        assert (each.optimizer.name, each.optimizer.options) == ("adam", {"lr": 5e-5})
        assert each.data.options["validation"] == 0.2
    assert [each.trainer.epochs for each in (pretrain, finetune, demosaic)] == [75, 20, 5]
    assert pretrain.loss == finetune.loss
    assert pretrain.loss.options == {"alpha": 0.2, "beta": 5.0, "l1": 0.16, "ssim": 0.84, "gamma": 2.2}
    schedule = finetune.part("schedule")
    assert (schedule(0, 100), schedule(100, 100)) == (1, pytest.approx(1e-6))
    assert demosaic.data.options["reduce"] * demosaic.data.options["patch"] == 256


TINY = ["trainer.loggers=[mlflow]", "trainer.validate_every=2", "trainer.checkpoint_every=2", "trainer.threads=1",
        "trainer.log_every=1", "trainer.accelerator=cpu", "data.validation=['*_TEST_*']", "data.isos=[]"]  # fmt: skip
NETWORK = "model.config={chans: [4, 4, 8], encoder: [1, 1], middle: 1, decoder: [1, 1], gamma: 2.2}"


def test_recipes_run(table, small, tmp_path):
    """Each recipe for a few steps, on data of its kind; the second goes on from the first."""
    mlflow = pytest.importorskip("mlflow")
    # Of patches as small as the pictures; MS-SSIM needs 176 pixels.
    patch = ["data.patch=176", "data.validation_patch=176"]
    shared = [*TINY, *patch, "trainer.epochs=1"]
    threads = torch.get_num_threads()
    try:
        options = [f"data.table={small}", f"output={tmp_path / 'pretrain'}", NETWORK, *shared]
        weights = run.train(recipes.read("rawzoo_naf:pretrain", options))
        options = [f"data.table={table}", f"output={tmp_path / 'finetune'}", f"model.weights={weights}", *shared]
        tuned = run.train(recipes.read("rawzoo_naf:finetune", options))
        options = [f"data.table={small}", f"output={tmp_path / 'demosaic'}", "data.patch=32", *TINY]
        run.train(recipes.read("rawzoo_naf:demosaic", [*options, "data.validation_patch=48", "trainer.epochs=0.5"]))
    finally:
        torch.set_num_threads(threads)
    # Two passes over four pairs in batches of two.
    for name, steps in (("pretrain", 2), ("finetune", 2), ("demosaic", 1)):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        logged = {key: value for line in lines for key, value in line.items()}
        assert logged["step"] == steps
        for key in ("train_loss", "l1_loss", "learning_rate", "epoch_duration_s", "val_loss", "val_duration_s"):
            assert np.isfinite(logged[key])
        for iso in (400, 1600):
            assert np.isfinite(logged[f"val_loss_ISO_{iso}"])
            assert np.isfinite(logged[f"val_l1_loss_ISO_{iso}"])
            assert logged[f"val_duration_s_ISO_{iso}"] > 0
        assert (tmp_path / name / "samples").is_dir()
    # What MLflow has of the second: the whole recipe, where it started, pictures and weights.
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = {r.info.run_name: r for r in client.search_runs([client.get_experiment_by_name("rawzoo").experiment_id])}
    first, second = runs["pretrain"], runs["finetune"]
    assert second.data.params["base_run_id"] == first.info.run_id
    assert second.data.params["base_artifact_path"] == "weights.safetensors"
    for key, value in {"loss.alpha": "0.2", "optimizer.lr": "5e-05", "trainer.clip": "0.01", "trainer.epochs": "1.0",
                       "data.validation": "['*_TEST_*']", "schedule.final": "1e-06",
                       "model.config.chans": "[4, 4, 8]"}.items():  # fmt: skip
        assert second.data.params[key] == value
    assert {"val_loss_ISO_400", "l1_loss", "learning_rate"} <= set(second.data.metrics)
    artifacts = {a.path for a in client.list_artifacts(second.info.run_id)}
    assert {"weights.safetensors", "recipe.yaml", "samples"} <= artifacts
    # The result develops a raw file.
    model = rawzoo.load("cond-naf", weights=str(tuned), tile=64)
    picture = rawzoo.develop(rawzoo.open(table_of(table)[0]["noisy"]), model)
    assert picture.shape == (248, 264, 3)
