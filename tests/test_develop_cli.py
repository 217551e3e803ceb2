"""``rawzoo develop`` as a user calls it: a child process, real files, bad files."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import rawzoo
from rawzoo.raw.image import ColorMatrix, RawImage

MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))
COMMAND = [sys.executable, "-c", "from rawzoo.cli import main; main()"]


def rawzoo_command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    # Without plugins, which may have a denoiser that is taken unasked.
    environment = {**os.environ, "RAWZOO_PLUGINS": ""}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
        **options,
    )  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="session")
def dng(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[0:240, 0:320]
    mosaic = (1200 + 20 * x + 10 * y + np.random.default_rng(0).normal(0, 20, x.shape)).astype(np.uint16)
    raw = RawImage.from_array(
        mosaic,
        cfa="RGGB",
        black_level=512,
        white_level=16383,
        as_shot_neutral=(0.5, 1.0, 0.65),
        color_matrices=(ColorMatrix(21, MATRIX),),
    )
    path = tmp_path_factory.mktemp("dng") / "shot.dng"
    rawzoo.write_dng(path, raw)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "npy", "dng"])
def test_every_format(dng: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    result = rawzoo_command("develop", dng, "-o", target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(target)
    if suffix == "npy":
        assert np.load(target).shape == (240, 320, 3)
    elif suffix == "dng":
        again = rawzoo.open(target)
        assert (again.kind, again.mosaic.shape) == ("linear", (240, 320, 3))
    elif suffix == "tif":
        assert tifffile.imread(target).dtype == np.uint16
    else:
        with Image.open(target) as image:
            assert image.size == (320, 240)
            assert image.info["icc_profile"]


def test_camera_space_is_sixteen_bit_unasked(dng: Path, tmp_path: Path) -> None:
    assert rawzoo_command("develop", dng, "-o", tmp_path / "a.tif", "--space", "camera").returncode == 0
    assert tifffile.imread(tmp_path / "a.tif").dtype == np.uint16
    assert rawzoo_command("develop", dng, "-o", tmp_path / "a.npy", "--space", "camera").returncode == 0
    assert np.load(tmp_path / "a.npy").dtype == np.float32


def test_a_folder_with_bad_files_among_good_ones(dng: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    good = dng.read_bytes()
    (source / "a.dng").write_bytes(good)
    (source / "b.dng").write_bytes(good[: len(good) // 2])
    (source / "c.nef").write_bytes(b"")
    (source / "d.dng").write_bytes(good)
    (source / "notes.txt").write_text("not looked at")
    result = rawzoo_command("develop", source, "-o", tmp_path / "out", "-f", "png")
    assert result.returncode == 1
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]
    assert "2 developed, 2 failed" in result.stdout
    assert "b.dng" in result.stderr
    assert "c.nef" in result.stderr
    assert "Traceback" not in result.stderr

    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    again = rawzoo_command("develop", source, "-o", tmp_path / "out", "-f", "png", "--resume")
    assert "2 already there" in again.stdout
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before


BAD = {
    "empty.dng": b"",
    "text.cr2": b"Dear diary, today I renamed a text file.\n" * 20,
    "random.arw": np.random.default_rng(0).bytes(100_000),
    "tiff_header.dng": b"II*\0" + bytes(60),
}


@pytest.mark.parametrize("name", [*BAD, "missing.dng", "folder"])
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    if name in BAD:
        (tmp_path / name).write_bytes(BAD[name])
    elif name == "folder":
        (tmp_path / name).mkdir()
    result = rawzoo_command("develop", tmp_path / name, "-o", tmp_path / "out.jpg")
    assert result.returncode in (1, 2)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert name in lines[0] or name == "folder"
    assert not (tmp_path / "out.jpg").exists()


def test_truncated_anywhere_is_refused(dng: Path, tmp_path: Path) -> None:
    good = dng.read_bytes()
    for i, length in enumerate(np.linspace(0, len(good) - 2, 20).astype(int)):
        (tmp_path / f"t{i:02}.dng").write_bytes(good[:length])
    result = rawzoo_command("develop", tmp_path, "-o", tmp_path / "out")
    assert result.returncode == 1
    assert "0 developed, 20 failed" in result.stdout
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    assert "Traceback" not in result.stderr


def test_the_shared_broken_files_are_refused(shared_raw: Path, tmp_path: Path) -> None:
    for path in sorted((shared_raw / "broken").iterdir()):
        result = rawzoo_command("develop", path, "-o", tmp_path / "out.jpg")
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert path.name in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "out.gif"], "out.gif"),
        (["-o", "out.jpg", "--depth", "12"], "--depth"),
        (["-o", "out.jpg", "--depth", "16"], "uint16"),
        (["-o", "out.jpg", "--model", "malvr"], "malvar"),
        (["-o", "out.jpg", "-w", "sunny"], "sunny"),
        (["-o", "out.jpg", "--space", "cmyk"], "cmyk"),
        (["-o", "out.jpg", "-f", "png"], "--format"),
    ],
)
def test_wrong_calls(dng: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    result = rawzoo_command("develop", dng, *arguments, cwd=tmp_path)
    assert result.returncode in (1, 2)
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not [f for f in tmp_path.iterdir() if f.is_file()]


def test_an_input_is_never_overwritten(dng: Path) -> None:
    before = dng.read_bytes()
    result = rawzoo_command("develop", dng, "-o", dng)
    assert result.returncode == 2
    assert dng.read_bytes() == before


def test_two_inputs_for_one_output_are_refused(dng: Path, tmp_path: Path) -> None:
    (tmp_path / "shot.nef").write_bytes(dng.read_bytes())
    result = rawzoo_command("develop", dng, tmp_path / "shot.nef", "-o", tmp_path / "out")
    assert result.returncode == 2
    assert "shot.jpg" in result.stderr


def test_killed_at_any_moment_leaves_no_half_written_output(dng: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i in range(30):
        (source / f"{i}.dng").symlink_to(dng)
    target = tmp_path / "out"
    child = subprocess.Popen([*COMMAND, "develop", str(source), "-o", str(target), "-f", "png"], start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(target.glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    finished = [f for f in target.iterdir() if f.suffix == ".png" and not f.name.startswith(".")]
    assert len(finished) >= 3
    for path in finished:
        with Image.open(path) as image:
            image.load()
            assert image.size == (320, 240)


def test_png_mosaic_with_levels(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 48), 700, np.uint16)).save(tmp_path / "m.png")
    refused = rawzoo_command("develop", tmp_path / "m.png", "-o", tmp_path / "a.jpg")
    assert refused.returncode in (1, 2)
    assert "cfa" in refused.stderr.lower()
    levels = ["--cfa", "GRBG", "--black", "64", "--white", "1023"]
    result = rawzoo_command("develop", tmp_path / "m.png", "-o", tmp_path / "a.jpg", *levels)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (48, 32)
