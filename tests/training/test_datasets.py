import csv

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import Lines

import rawzoo
from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw.cfa import BAYER_PATTERNS
from rawzoo.raw.image import ColorMatrix
from rawzoo.training import datasets
from rawzoo.training.datasets import Pairs, Photographs


def album(photos, **options) -> Photographs:
    return Photographs(
        [str(photos)], **{"validation": ["*-3*", "*-5*"], "patch": 16, "validation_patch": 32, **options}
    )


def batch_of(data, number: int = 0, **options):
    found = datasets.loader(data, range(number, number + 1), **{"batch": 4, "seed": 1, **options})
    batch = next(iter(found))
    return data.finish(batch, datasets.generator_for(1, batch.pop("number"), 0, torch.device("cpu")))


def test_photographs_give_batches_of_raw_data(photos):
    data = album(photos)
    assert (len(data), data.validation_size) == (6, 10)
    batch = batch_of(data)
    assert batch["mosaic"].shape == (4, 1, 16, 16)
    assert batch["target"].shape == (4, 3, 16, 16)
    assert batch["noise"].shape == (4, 4, 2)
    assert batch["cfa"] == "RGGB"
    assert len({batch_of(album(photos, cfa="bayer"), n)["cfa"] for n in range(40)}) == len(BAYER_PATTERNS)
    assert batch_of(album(photos, cfa="xtrans", patch=24))["noise"].shape == (4, 3, 2)


def test_batches_are_what_they_are_by_their_number(photos):
    data = album(photos)
    loader = datasets.loader(data, range(9), batch=4, seed=1)
    for number, batch in enumerate(loader):
        alone = next(iter(datasets.loader(album(photos), range(number, number + 1), batch=4, seed=1)))
        assert torch.equal(batch["photograph"], alone["photograph"])
    workers = datasets.loader(data, range(7, 9), batch=4, seed=1, workers=1)
    assert torch.equal(list(workers)[-1]["photograph"], batch["photograph"])
    other = next(iter(datasets.loader(data, range(8, 9), batch=4, seed=2)))
    assert not torch.equal(other["photograph"], batch["photograph"])


def test_processes_share_a_batch():
    whole = next(iter(datasets.loader(Lines(), range(3, 4), batch=5, seed=0)))
    parts = [next(iter(datasets.loader(Lines(), range(3, 4), batch=5, seed=0, rank=r, world=2))) for r in (0, 1)]
    assert torch.equal(torch.cat([part["mosaic"] for part in parts]), whole["mosaic"])


def test_each_thing_comes_once_before_any_comes_twice():
    seen = torch.cat([b["index"] for b in datasets.loader(Lines(), range(9), batch=4, seed=0)]).tolist()
    for start in range(0, 36, 6):
        assert sorted(seen[start : start + 6]) == list(range(6))
    assert seen[:6] != seen[6:12]


def test_validation_is_always_the_same(photos):
    data = album(photos, levels=[0, 1e-2])
    groups = [data.validation(i)[0] for i in range(data.validation_size)]
    assert groups == ["a_0", "a_0.01"] * 2
    (_, clean), (_, noisy) = data.validation(0), data.validation(1)
    assert torch.equal(clean["target"], noisy["target"])
    assert not clean["noise"].any()
    again = album(photos, levels=[0, 1e-2]).validation(1)[1]
    assert torch.equal(noisy["mosaic"], again["mosaic"])
    residue = (noisy["mosaic"] - clean["mosaic"]).var() / (noisy["noise"].mean((0, 1))[0] * noisy["mosaic"].mean())
    assert 0.7 < float(residue) < 1.4
    metrics = data.measure(noisy["target"], noisy)
    assert metrics["psnr"] == pytest.approx(100)
    wrong = data.measure(noisy["target"].clamp(0, 1) * 0.9, noisy)
    assert wrong["psnr"] < 40
    seen = data.pictures(noisy["target"], noisy)
    assert len(seen) == 3
    assert all(s.shape == (3, 32, 32) and s.min() >= 0 and s.max() <= 1 for s in seen)
    # The target looks as the photograph did.
    photograph = np.asarray(Image.open(data.check[0])).astype(np.float32)[8:40, 16:48] / 255
    assert np.abs(seen[2].numpy().transpose(1, 2, 0) - photograph).max() < 0.02


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 40, 50))
    found = datasets.picture_metrics(torch.from_numpy(a)[None], torch.from_numpy(b)[None], border=4)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(b[inner], a[inner], data_range=1))
    expected = peak_signal_noise_ratio(np.sqrt(b[inner]), np.sqrt(a[inner]), data_range=1)
    assert found["psnr_sqrt"] == pytest.approx(expected)
    expected = structural_similarity(
        *(np.sqrt(x[inner]) for x in (a, b)),
        data_range=1,
        channel_axis=0,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    assert found["ssim_sqrt"] == pytest.approx(expected, abs=1e-2)  # which also counts where the window hangs over


def test_the_split_is_by_name():
    names = [f"album/photo-{i}.png" for i in range(400)]
    train, check = datasets.split(names, 0.1)
    assert sorted(train + check) == list(range(400))
    assert 20 < len(check) < 60
    # Others do not move a photograph from one side to the other.
    fewer = names[::2]
    assert {fewer[i] for i in datasets.split(fewer, 0.1)[1]} == {names[i] for i in check} & set(fewer)
    assert datasets.split(names, ["*-39?.png"])[1] == list(range(390, 400))
    with pytest.raises(UsageError, match="nothing to validate on"):
        datasets.split(names, ["none"])
    with pytest.raises(UsageError, match="nothing to train on"):
        datasets.split(names, 1.0)


def test_bad_folders_are_named(photos, tmp_path, caplog):
    with pytest.raises(UsageError, match="does not exist"):
        Photographs([str(tmp_path / "none")])
    with pytest.raises(UsageError, match="no files"):
        Photographs([str(tmp_path)])
    with pytest.raises(UsageError, match="even number"):
        album(photos, patch=15)
    with pytest.raises(UsageError, match=r"data\.raw: brightnes does not exist \(did you mean brightness"):
        album(photos, raw={"brightnes": [1, 1]})
    assert album(photos, raw={"brightness": [0.5, 0.5]}).settings.brightness == (0.5, 0.5)
    for file in photos.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    album(tmp_path)
    assert "1 of 9 photographs are smaller than 16" in caplog.text
    damaged = tmp_path / "photo-0.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    data = album(tmp_path)
    with pytest.raises(RawzooError, match=r"photo-0\.png is damaged"):
        [data.sample(i, np.random.default_rng(0)) for i in range(len(data))]
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"text\.png cannot be read"):
        album(tmp_path)


def test_memory_bounds_what_is_kept():
    decoded = []
    cache = datasets.Cache(25e-9, lambda i: decoded.append(i) or i, lambda item: 10)
    for i in (0, 1, 2, 0, 1, 2):
        assert cache[i] == i
    assert decoded == [0, 1, 2, 2]


@pytest.fixture
def pairs(tmp_path):
    """Four scenes as DNG, noisy and clean, of two phases; the clean ones half as bright."""
    rng = np.random.default_rng(0)
    for i in range(4):
        y, x = np.mgrid[0:40, 0:48]
        clean = 3000 + 2000 * np.sin(x / (6 + i)) * np.cos(y / 7)
        for kind, mosaic in (("clean", clean / 2), ("noisy", rng.poisson(clean))):
            raw = rawzoo.RawImage.from_array(
                (mosaic + 512).astype(np.uint16),
                cfa=("RGGB", "GBRG")[i % 2],
                black_level=512,
                white_level=16383,
                as_shot_neutral=(0.5, 1.0, 0.5),
                color_matrices=[ColorMatrix(21, ((0.7, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6)))],
                noise_profile=[(1 / 15871, 1e-8)],
            )
            (tmp_path / kind).mkdir(exist_ok=True)
            rawzoo.write_dng(tmp_path / kind / f"scene-{i}.dng", raw)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["noisy", "clean", "gain", "group"])
        writer.writerows([[f"noisy/scene-{i}.dng", f"clean/scene-{i}.dng", 2.0, "ISO_800"] for i in range(4)])
    return tmp_path


def test_pairs_of_raw_files(pairs):
    data = Pairs(table=str(pairs / "pairs.csv"), validation=["scene-3*"], patch=16, validation_patch=32)
    assert (len(data), data.validation_size) == (3, 1)
    batch = batch_of(data)
    assert batch["mosaic"].shape == (4, 1, 16, 16)
    assert batch["target"].shape == (4, 3, 16, 16)
    expected = torch.tensor([[g / 15871, g * g * 1e-8] for g in (2, 1, 1, 2)])
    assert torch.allclose(batch["noise"], expected.expand(4, 4, 2), rtol=1e-3)
    for group, sample in (data.validation(0), ("ISO_800", batch)):
        assert group == "ISO_800"
        # Red of the mosaic is red of the target, and noise is all that differs.
        red = sample["mosaic"][:, 0, ::2, ::2] - sample["target"][:, 0, ::2, ::2]
        a, b = sample["noise"][0, 0].tolist()
        expected = a * float(sample["target"][:, 0].mean()) + b
        assert float(red.mean()) == pytest.approx(0, abs=5 * (expected / red.numel()) ** 0.5 + 1e-3)
        assert 0.5 < float(red.var()) / expected < 2


def test_pairs_by_name(pairs, photos):
    data = Pairs(noisy=str(pairs / "noisy"), clean=str(pairs / "clean"), validation=["*-1*"], patch=16)
    assert len(data) + data.validation_size == 4
    for options, message in (
        ({}, "give table, or noisy and clean"),
        ({"table": str(pairs / "none.csv")}, "cannot be read"),
        ({"table": str(pairs / "pairs.csv"), "patch": 15}, "multiple of 2"),
        ({"noisy": str(pairs / "noisy"), "clean": str(photos)}, "no files"),
    ):
        with pytest.raises(UsageError, match=message):
            Pairs(**options)
    bad = pairs / "bad.csv"
    bad.write_text("noisy,cleen\na,b\n")
    with pytest.raises(UsageError, match="columns noisy and clean"):
        Pairs(table=str(bad))
