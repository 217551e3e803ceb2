"""``rawzoo.run`` and ``rawzoo run``: every kind of model on every kind of file, and what does not fit."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from toy_models import raw_image

import rawzoo
from rawzoo.errors import PictureError, RawFileError, UsageError
from rawzoo.picture import Picture, is_picture


@pytest.fixture
def folder(tmp_path):
    """A raw file, two pictures, a damaged file of each kind, and notes."""
    here = tmp_path / "in"
    here.mkdir()
    rawzoo.write_dng(here / "a.dng", raw_image(height=90, width=120, orientation=6))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(pixels).save(here / "b.jpg", quality=95, exif=exif)
    Image.fromarray(pixels).save(here / "c.png")
    (here / "d.dng").write_bytes((here / "a.dng").read_bytes()[:9000])
    (here / "e.png").write_bytes((here / "c.png").read_bytes()[:3000])
    (here / "notes.txt").write_text("not looked at")
    return here


def test_any_model_on_any_source(weights, folder):
    raw = rawzoo.open(folder / "a.dng")
    rendered = rawzoo.run("render", folder / "a.dng", weights=weights["render"])
    assert (rendered.height, rendered.width) == (120, 90)  # upright
    net = rawzoo.load("render", weights=weights["render"])
    np.testing.assert_array_equal(rawzoo.run(net, raw).pixels, rendered.pixels)
    assert rawzoo.run("see", raw, weights=weights["see"]).labels == ("cat", "dog", "sky")
    assert rawzoo.run("see", raw, weights=weights["see"], noise=(0.1, 0.0)).note == "noise (0.1, 0.0)"
    larger = rawzoo.run("larger", folder / "b.jpg", weights=weights["larger"])
    assert (larger.height, larger.width) == (80, 120)
    assert rawzoo.run("judge", larger, weights=weights["judge"]).scores[-1] == 10
    developed = rawzoo.run("gbtf", raw)
    expected = rawzoo.develop(raw, model="gbtf", dtype="uint16") / np.float32(65535)
    np.testing.assert_array_equal(developed.pixels, expected)


def test_a_raw_file_is_developed_for_a_model_of_pictures(weights, folder):
    raw = rawzoo.open(folder / "a.dng")
    picture = Picture.from_array(rawzoo.develop(raw, dtype="uint16"))
    found = rawzoo.run("larger", folder / "a.dng", weights=weights["larger"])
    np.testing.assert_array_equal(found.pixels, rawzoo.run("larger", picture, weights=weights["larger"]).pixels)


def test_what_does_not_fit(weights, folder):
    with pytest.raises(UsageError, match=r"model render works on what the sensor saw, and .*b\.jpg is a developed"):
        rawzoo.run("render", folder / "b.jpg", weights=weights["render"])
    with pytest.raises(UsageError, match="model judge takes no noise; it takes no options"):
        rawzoo.run("judge", folder / "c.png", weights=weights["judge"], noise=(0, 0))
    with pytest.raises(UsageError, match="takes no progress_bar"):
        rawzoo.run("judge", folder / "c.png", weights=weights["judge"], progress_bar=1)
    with pytest.raises(PictureError, match=r"e\.png is damaged"):
        rawzoo.run("judge", folder / "e.png", weights=weights["judge"])
    with pytest.raises(RawFileError, match=r"d\.dng is cut short"):
        rawzoo.run("judge", folder / "d.dng", weights=weights["judge"])
    with pytest.raises(RawFileError, match="does not exist"):
        rawzoo.run("judge", folder / "nothing.png", weights=weights["judge"])


def test_what_is_a_picture(folder, tmp_path):
    tifffile.imwrite(tmp_path / "picture.tif", np.zeros((4, 5, 3), np.uint16), photometric="rgb")
    (tmp_path / "raw.tif").write_bytes((folder / "a.dng").read_bytes())
    (tmp_path / "raw.nef").write_bytes((tmp_path / "picture.tif").read_bytes())
    (tmp_path / "jpeg.dng").write_bytes((folder / "b.jpg").read_bytes())
    found = {path.name: is_picture(path) for path in [*folder.iterdir(), *tmp_path.glob("*.*")]}
    assert {name for name, picture in found.items() if picture} == {
        "b.jpg",
        "c.png",
        "e.png",
        "picture.tif",
        "jpeg.dng",
    }


def test_pictures_of_a_folder(weights, folder, tmp_path, command):
    out = tmp_path / "out"
    arguments = ("run", "larger", folder, "-o", out, "-f", "png", "--weights", weights["larger"])
    status, said, errors = command(*arguments)
    assert (status, said) == (1, f"3 done, 2 failed: {out}\n")
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "c.png"]
    assert "a.dng is a raw file: it was developed first with gbtf, as shot." in errors
    assert all(name in errors for name in ("d.dng is cut short", "e.png is damaged"))
    assert "Traceback" not in errors
    with Image.open(out / "b.png") as image:
        assert (image.size, image.getexif()[0x010F]) == ((120, 80), "Maker")
        assert image.info["icc_profile"]
        found = np.asarray(image)
    picture = rawzoo.run("larger", folder / "b.jpg", weights=weights["larger"]).picture
    np.testing.assert_array_equal(found, np.rint(255 * picture))
    status, said, _ = command(*arguments, "--resume", "--json")
    report = json.loads(said)
    assert [result["skipped"] for result in report["results"]] == [True, True, True]
    assert [failure["file"] for failure in report["failures"]] == [str(folder / "d.dng"), str(folder / "e.png")]


def test_one_picture_and_its_depths(weights, folder, tmp_path, command):
    picture = rawzoo.run("larger", folder / "c.png", weights=weights["larger"]).picture
    for name, depth, white in (("a.tif", None, 65535), ("b.tif", "8", 255), ("c.npy", None, 1)):
        extra = ("--depth", depth) if depth else ()
        arguments = ("run", "larger", folder / "c.png", "-o", tmp_path / name, "--weights", weights["larger"])
        assert command(*arguments, *extra) == (0, f"{tmp_path / name}\n", "")
        found = np.load(tmp_path / name) if white == 1 else tifffile.imread(tmp_path / name)
        expected = picture if white == 1 else np.rint(picture * np.float32(white))
        np.testing.assert_array_equal(found, expected)


def test_labels_and_scores(weights, folder, command):
    status, said, _ = command("run", "see", folder / "a.dng", "--weights", weights["see"], "--set", "noise=0.1,0")
    assert status == 0
    assert said.splitlines()[0].endswith(("cat", "dog", "sky"))
    assert said.splitlines()[-1] == "noise (0.1, 0.0)"
    status, said, errors = command("run", "judge", folder, "--weights", weights["judge"])
    assert status == 1
    assert [line.split()[0] for line in said.splitlines()] == ["a.dng", "b.jpg", "c.png"]
    assert len(errors.splitlines()) == 3
    status, said, _ = command("run", "judge", folder / "c.png", "--weights", weights["judge"], "--json")
    report = json.loads(said)
    assert (status, report["model"], report["task"], report["failures"]) == (0, "judge", "quality", [])
    expected = rawzoo.run("judge", folder / "c.png", weights=weights["judge"])
    assert report["results"][0]["mean"] == expected.mean


def test_options_of_models(weights, folder, command):
    """Those of the task and those that only the model's adapter knows, typed and in Python."""
    arguments = ("run", "see", folder / "a.dng", "--weights", weights["see"])
    options = ("--set", "size=8", "--set", "label=a=b", "--set", "loud=true", "--set", "noise=1e-3,0")
    assert command(*arguments, *options)[1].splitlines()[-1] == "noise (0.001, 0.0), size 8, label a=b!"
    found = rawzoo.run("see", folder / "a.dng", weights=weights["see"], size=8, label="x")
    assert found.note == "noise None, size 8, label x"
    status, _, errors = command(*arguments, "--set", "noise=1,-1")
    assert (status, "noise must be two numbers, none negative" in errors) == (1, True)


def test_a_mosaic_in_a_png(weights, tmp_path, command):
    Image.fromarray(raw_image().mosaic).save(tmp_path / "m.png")
    arguments = ("run", "render", tmp_path / "m.png", "-o", tmp_path / "out.npy", "--weights", weights["render"])
    status, said, errors = command(*arguments)
    assert (status, said) == (1, "")
    assert "or if it is a mosaic, its cfa, black and white level" in errors
    assert command(*arguments, "--cfa", "RGGB", "--black", "64", "--white", "4095")[0] == 0
    expected = rawzoo.run("render", raw_image(), weights=weights["render"])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected.picture)


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("larger", (), "makes pictures; say with -o"),
        ("judge", ("-o", "x.jpg"), "gives no picture; leave out -o x.jpg"),
        ("judge", ("--resume",), "say with -o"),
        ("see", ("--set", "noise=1"), "noise=1: give 2 numbers with a comma between them."),
        ("see", ("--set", "noise=1,b"), "noise=1,b: give 2 numbers"),
        (
            "see",
            ("--set", "nose=1,1"),
            "takes no nose (did you mean noise?); it takes noise, size, label, loud.",
        ),
        ("see", ("--set", "size=big"), "size=big: give a whole number."),
        ("see", ("--set", "loud=1"), "loud=1: give true or false."),
        ("see", ("--set", "progress=1"), "takes no progress"),
        ("see", ("--set", "size"), "NAME=VALUE, such as size=128, not 'size'"),
        ("judge", ("--set", "tuning=x"), "model judge takes no tuning; it takes no options"),
        ("gbtf", ("-o", "x.png", "--set", "strength=0.5"), "gbtf is not told the noise level, so it takes no strength"),
        ("gbtf", ("-o", "x.png", "--set", "grain=2"), "grain 2 is outside 0 to 1"),
        ("gbtf", ("-o", "x.png", "--set", "strenght=1"), "did you mean strength?); it takes strength, grain."),
        ("larger", ("-o", "x.dng"), "a DNG holds sensor data"),
        ("larger", ("-o", "x.gif"), "x.gif"),
        ("larger", ("-o", "x.png", "--depth", "12"), "--depth"),
        ("lager", ("-o", "x.png"), "'larger'"),
    ],
)
def test_wrong_calls(weights, folder, command, monkeypatch, tmp_path, model, arguments, words):
    monkeypatch.chdir(tmp_path)
    extra = ("--weights", weights[model]) if model in weights else ()
    status, said, errors = command("run", model, folder / "c.png", *arguments, *extra)
    assert (status, said) == (2, "")
    assert words in errors
    assert len(errors.splitlines()) == 1


def test_develop_points_to_run(weights, folder, tmp_path, command):
    status, _, errors = command("develop", folder / "a.dng", "-o", tmp_path / "x.jpg", "--model", "larger")
    assert status == 2
    assert "`rawzoo run larger` does what it is for" in errors
