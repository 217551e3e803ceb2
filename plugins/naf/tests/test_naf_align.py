"""Alignment of pairs whose movement and brightness are known."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from naf_pairs import View, matrix_of, raw_of, rawzoo_naf, rows_of, write
from PIL import Image

pytest.importorskip("cv2", reason="OpenCV is not installed", exc_type=ImportError)

from rawzoo.errors import UsageError
from rawzoo_naf import align

SHIFT, DEGREES, GAIN = (2.37, -3.61), 0.12, 0.8


@pytest.fixture(scope="module")
def view():
    return View()


def corners(shape):
    return np.array([(x, y, 1.0) for x in (0, shape[1]) for y in (0, shape[0])])


def wrong_by(found, shift, degrees, shape):
    """Largest distance, in pixels, between where both put a corner."""
    return np.abs(corners(shape) @ (found - matrix_of(shift, degrees)).T).max()


@pytest.mark.parametrize(("cfa", "shift", "degrees", "noise"), [
    ("RGGB", SHIFT, DEGREES, 1e-3),
    ("GBRG", (-7.8, 5.25), 0.0, 1e-2),
    ("xtrans", (1.4, 0.3), 0.1, 1e-3),
    ("RGGB", (0.0, 0.0), 0.0, 1e-3),
])  # fmt: skip
def test_movement_and_gain_are_found(view, cfa, shift, degrees, noise):
    from rawzoo.raw.cfa import XTRANS_PATTERN

    cfa = XTRANS_PATTERN if cfa == "xtrans" else cfa
    clean = align.reduced(raw_of(view.seen(), iso=100, cfa=cfa))
    noisy = align.reduced(raw_of(view.seen(shift, degrees), iso=6400, gain=GAIN, noise=noise, cfa=cfa, seed=1))
    found = align.align(noisy, clean)
    assert wrong_by(found.matrix, shift, degrees, view.shape) < 0.1
    np.testing.assert_allclose(found.gains, GAIN, rtol=0.005)
    assert found.correlation > 0.97
    if not any(shift):
        assert np.array_equal(found.matrix, np.eye(2, 3))


def test_the_direction_is_right(view):
    """Resampled, the clean picture is closer to the noisy one; resampled the other way, farther."""
    clean = align.reduced(raw_of(view.seen(), iso=100))
    noisy = align.reduced(raw_of(view.seen(SHIFT), iso=800, noise=1e-4, seed=1))
    matrix = align._scaled(align.align(noisy, clean).matrix, 1 / 2)

    def apart(m):
        inner = slice(8, -8), slice(8, -8)
        return np.abs(align.warped(clean.grey, m) - noisy.grey)[inner].mean()

    other = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    as_they_are = apart(np.eye(2, 3))
    assert apart(matrix) < 0.35 * as_they_are
    assert apart(other) > as_they_are


def test_saturation_does_not_bend_the_gain(view):
    bright = 2.5 * view.seen()
    clean, noisy = (align.reduced(raw_of(bright, iso=100, gain=g, noise=1e-4)) for g in (1.0, 0.5))
    assert (clean.rgb > 0.99).mean() > 0.02
    np.testing.assert_allclose(align.align(noisy, clean).gains, 0.5, rtol=0.005)


def test_what_cannot_be_aligned(view):
    clean = align.reduced(raw_of(view.seen(), iso=100))
    other = align.reduced(raw_of(np.random.default_rng(0).random((*view.shape, 3)), iso=100))
    found = align.align(other, clean)
    assert found.correlation < 0.5
    assert np.isfinite(found.matrix).all()
    black = align.reduced(raw_of(np.zeros((*view.shape, 3)), iso=100))
    assert align.align(black, clean).correlation == 0


@pytest.fixture(scope="module")
def folder(view, tmp_path_factory):
    """Two scenes of two noisy files, one of which is of another place."""
    folder = tmp_path_factory.mktemp("nind")
    for scene in ("one", "two"):
        write(folder, scene, 100, raw_of(view.seen(), iso=100), truth=True)
        moved = view.seen(SHIFT, DEGREES)
        write(folder, scene, 1600, raw_of(moved, iso=1600, gain=GAIN, noise=1e-3, seed=1))
    elsewhere = np.random.default_rng(0).random((*view.shape, 3))
    write(folder, "one", 6400, raw_of(elsewhere, iso=6400, noise=1e-3, seed=2))
    write(folder, "two", 6400, raw_of(moved, iso=6400, noise=1e-2, seed=2))
    (folder / "dataset.yaml").write_text("not a picture")
    return folder


def test_the_command(folder, view, tmp_path):
    table = tmp_path / "pairs.csv"
    result = rawzoo_naf("align", folder, "-o", table, "--scene", "one")
    assert result.exit_code == 0, result.output
    assert "2 pairs in" in result.output
    assert [row["scene"] for row in rows_of(table)] == ["Bayer_one"] * 2
    # What is there stays, also what somebody changed.
    text = table.read_text().replace(",1,Bayer_one,ISO_1600", ",0,Bayer_one,ISO_1600")
    table.write_text(text)
    result = rawzoo_naf("align", folder, "-o", table)
    assert "4 pairs in" in result.output
    rows = rows_of(table)
    assert [(row["group"], row["use"]) for row in rows] == [
        ("ISO_1600", "0"), ("ISO_6400", "0"), ("ISO_1600", "1"), ("ISO_6400", "1"),
    ]  # fmt: skip
    assert table.read_text().startswith(text.rstrip())
    for row in (rows[0], rows[2], rows[3]):
        matrix = np.array([float(row[f"m{i}{j}"]) for i in (0, 1) for j in (0, 1, 2)]).reshape(2, 3)
        assert wrong_by(matrix, SHIFT, DEGREES, view.shape) < 0.1
        assert (table.parent / row["noisy"]).samefile(folder / row["noisy"].rpartition("/")[2])
    # The sheet shows both that are not used.
    (sheet,) = tmp_path.glob("*.png")
    with Image.open(sheet) as picture:
        assert picture.size == (3 * 360, 2 * 294)
    before = table.read_bytes()
    assert rawzoo_naf("align", folder, "-o", table).exit_code == 0
    assert table.read_bytes() == before


def test_a_damaged_file_costs_only_its_pair(folder, view, tmp_path):
    for file in folder.glob("Bayer_two*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = next(tmp_path.glob("*ISO6400*"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    result = rawzoo_naf("align", tmp_path, "-o", tmp_path / "pairs.csv")
    assert str(result.exception) == "1 pairs could not be aligned."
    assert "1 pairs in" in result.output
    assert damaged.name in result.output
    (tmp_path / "pairs.csv").unlink()
    write(tmp_path, "two", 3200, raw_of(view.seen()[:-8], iso=3200))
    result = rawzoo_naf("align", tmp_path, "-o", tmp_path / "pairs.csv")
    assert str(result.exception) == "2 pairs could not be aligned."
    assert "same size and CFA pattern" in result.output
    (tmp_path / "pairs.csv").write_text("noisy,clean\n")
    assert "is not a table of rawzoo naf align" in str(
        rawzoo_naf("align", tmp_path, "-o", tmp_path / "pairs.csv").exception
    )
    assert "has no pairs" in str(rawzoo_naf("align", tmp_path / "none", "-o", tmp_path / "p.csv").exception)


def test_training_pairs_are_aligned(folder, tmp_path):
    """What the table says makes the target fit the mosaic, and only then."""
    datasets = pytest.importorskip(
        "rawzoo.training.datasets", reason="rawzoo.training is not installed", exc_type=ImportError
    )
    table = tmp_path / "pairs.csv"
    rawzoo_naf("align", folder, "-o", table)
    data = datasets.Pairs(table=str(table), validation=["Bayer_two"], patch=64, validation_patch=176)
    assert (len(data), data.validation_size) == (1, 2)  # split by scene, and the bad pair left out
    plain = tmp_path / "plain.csv"
    plain.write_text("".join(",".join(line.split(",")[:6]) + "\n" for line in table.read_text().splitlines()))
    other = datasets.Pairs(table=str(plain), validation=["Bayer_two"], patch=64, validation_patch=176)

    def apart(batch):
        """How far the greens of mosaic and target differ, in units of the noise: 0.67 where noise is all that
        differs (the median of the absolute value of a normal variable), and by how many pixels they are displaced."""
        target, mosaic = batch["target"][0, 1].double(), batch["mosaic"][0, 0].double()
        y, x = (part.double() for part in torch.gradient(target))
        site = slice(2, -2, 2), slice(3, -2, 2)
        scale, offset = batch["noise"][0, 1].tolist()
        difference = (mosaic - target)[site].ravel()
        noise = (scale * target[site].clamp_min(0) + offset).sqrt().ravel()
        moved = torch.linalg.lstsq(torch.stack([x[site].ravel(), y[site].ravel()], 1), difference[:, None]).solution
        return float((difference / noise).abs().median()), float(moved.abs().max())

    (group, batch), (_, before) = data.validation(0), other.validation(0)
    assert group == "ISO_1600"
    assert batch["target"].shape == (1, 3, 176, 176)
    differs, moved = apart(batch)
    assert differs < 1
    assert moved < 0.1
    assert apart(before)[0] > 2
    for seed in range(5):
        sample = data.sample(0, np.random.default_rng(seed))
        assert apart({key: value[None] for key, value in sample.items() if key != "cfa"})[0] < 1.2
    assert torch.isfinite(sample["target"]).all()


def test_a_table_with_a_word_for_a_number(folder, tmp_path):
    datasets = pytest.importorskip(
        "rawzoo.training.datasets", reason="rawzoo.training is not installed", exc_type=ImportError
    )
    table = tmp_path / "pairs.csv"
    table.write_text("noisy,clean,gain\na.dng,b.dng,bright\n")
    with pytest.raises(UsageError, match=r"bright.*a\.dng"):
        datasets.Pairs(table=str(table))
    table.write_text("noisy,clean,use\na.dng,b.dng,0\n")
    with pytest.raises(UsageError, match="no pairs to use"):
        datasets.Pairs(table=str(table))


def test_without_opencv():
    program = (
        "import sys; sys.modules['cv2'] = None\n"
        "from rawzoo.errors import UsageError\n"
        "try:\n    import rawzoo_naf.align\nexcept UsageError as error:\n    print(error)\n"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "rawzoo-naf[align]" in child.stdout
