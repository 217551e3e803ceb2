"""``rawzoo evaluate``: where the truth is found, and figures that equal the metrics computed by hand."""

import csv
import json
import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from PIL import Image
from toy_models import raw_image

import rawzoo
from rawzoo import evaluation, metrics
from rawzoo.errors import UsageError
from rawzoo.evaluation import Figures, find, summary
from rawzoo.raw import synthetic
from rawzoo.raw.cfa import XTRANS_PATTERN
from rawzoo.running import Runner
from rawzoo.tasks import Task, super_resolution
from rawzoo.tasks.builtin import QUALITY
from rawzoo.tasks.classify import Classification, index_of, measure
from rawzoo.tasks.white_balance import WhiteBalance
from rawzoo.tasks.white_balance import measure as measure_white_balance


def save(path, seed, height=40, width=60):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def test_pairs_of_raw_files_and_pictures(tmp_path, command):
    (tmp_path / "input").mkdir()
    for i, cfa in enumerate(("RGGB", "GBRG")):
        rawzoo.write_dng(tmp_path / "input" / f"{i}.dng", raw_image(cfa, 200, 240))
        save(tmp_path / "target" / f"{i}.png", i, 200, 240)
    (tmp_path / "input" / "2.dng").write_bytes(b"II*\0 not at all")
    save(tmp_path / "target" / "2.png", 2)
    rawzoo.write_dng(tmp_path / "input" / "3.dng", raw_image())
    save(tmp_path / "target" / "3.png", 3)
    rawzoo.write_dng(tmp_path / "input" / "4.dng", raw_image())
    status, said, errors = command("evaluate", "malvar", tmp_path, "--json")
    report = json.loads(said)
    assert status == 1
    for word in ("2.dng", "3.dng: it becomes 45 x 31 pixels, and", "4.dng has no target of its name"):
        assert word in errors
    assert len(report["failures"]) == 3
    for i, row in enumerate(report["per_file"]):
        raw = rawzoo.open(tmp_path / "input" / f"{i}.dng")
        found = rawzoo.develop(raw, model="malvar", dtype="uint16") / np.float32(65535)
        truth = np.asarray(Image.open(tmp_path / "target" / f"{i}.png")) / np.float32(255)
        assert row["psnr"] == pytest.approx(metrics.psnr(found, truth))
        assert row["ms_ssim"] == pytest.approx(metrics.ms_ssim(found, truth))
        assert row["delta_e"] == pytest.approx(metrics.delta_e(found, truth))
    mean = np.mean([row["psnr"] for row in report["per_file"]])
    assert report["metrics"]["psnr"]["mean"] == pytest.approx(mean)
    assert set(report["metrics"]) == set(report["per_file"][0]) - {"file"}


def noisy_and_clean(folder, name="a", noise=(1e-3, 1e-6), **fields):
    """A noisy shot and a clean one of the same, of another white balance."""
    scene = np.random.default_rng(0).random((6, 8, 3)).repeat(12, 0).repeat(12, 1).astype(np.float32)
    shots = {}
    for kind, level, seed in (("noisy", noise, 1), ("clean", (0.0, 0.0), 1)):
        (folder / kind).mkdir(exist_ok=True)
        raw, _ = synthetic.photographed(scene, level, "GRBG", seed)
        stored = np.clip(raw.data * 15000 + 1000, 0, 16000).astype(np.uint16)
        shots[kind] = rawzoo.RawImage.from_array(
            stored, cfa="GRBG", black_level=1000, white_level=16000, color_matrices=raw.color_matrices,
            as_shot_neutral=raw.as_shot_neutral if kind == "noisy" else (1, 1, 1), **fields,
        )  # fmt: skip
        rawzoo.write_dng(folder / kind / f"{name}.dng", shots[kind])


def test_noisy_and_clean_shots(tmp_path, command):
    noisy_and_clean(tmp_path, orientation=6)
    noisy_and_clean(tmp_path, "quiet", noise=(1e-5, 0.0))
    noisy_and_clean(tmp_path, "wrong")
    rawzoo.write_dng(tmp_path / "clean" / "wrong.dng", raw_image("GRBG", 72, 90))
    status, said, errors = command("evaluate", "malvar", tmp_path, "--json")
    report = json.loads(said)
    assert (status, len(errors.splitlines())) == (1, 1)
    assert "wrong.dng: it has 96 x 72 pixels, GRBG, and " in errors
    assert "wrong.dng has 90 x 72 pixels, GRBG; a pair must be of one size and pattern." in errors
    assert [row["file"].split("/")[-1] for row in report["per_file"]] == ["a.dng", "quiet.dng"]
    noisy, clean = (rawzoo.open(tmp_path / kind / "a.dng") for kind in ("noisy", "clean"))
    found = rawzoo.develop(noisy, "malvar", space="camera", dtype="float32").clip(0, 1)[8:-8, 8:-8]
    balanced = replace(clean, as_shot_neutral=noisy.as_shot_neutral)
    truth = rawzoo.develop(balanced, space="camera", dtype="float32").clip(0, 1)[8:-8, 8:-8]
    row, quiet = report["per_file"]
    assert row["psnr"] == pytest.approx(metrics.psnr(found, truth))
    assert row["psnr_sqrt"] == pytest.approx(metrics.psnr(np.sqrt(found), np.sqrt(truth)))
    assert row["ssim_sqrt"] == pytest.approx(metrics.ssim(np.sqrt(found), np.sqrt(truth)))
    assert quiet["psnr_sqrt"] > row["psnr_sqrt"]
    assert set(report["metrics"]) == {"psnr", "psnr_sqrt", "ssim_sqrt"}


def test_clean_shots_and_pictures_are_not_mixed(tmp_path, command):
    noisy_and_clean(tmp_path)
    noisy_and_clean(tmp_path, "b")
    (tmp_path / "clean" / "b.dng").unlink()
    save(tmp_path / "clean" / "b.png", 1)
    status, _, errors = command("evaluate", "gbtf", tmp_path)
    assert (status, len(errors.splitlines())) == (2, 1)
    assert "holds raw files, such as a.dng, and pictures; evaluate them apart." in errors


def test_photographs_made_raw(tmp_path, command):
    for name in "ab":
        save(tmp_path / f"{name}.png", 1, 60, 81)
    reports = {}
    for level in ("0", "0.004", "0.004,0.01"):
        status, said, _ = command("evaluate", "bilinear", tmp_path, "--noise", level, "--json")
        assert status == 0
        reports[level] = json.loads(said)
    assert command("evaluate", "bilinear", tmp_path, "--noise", "0.004,0.01", "--json")[1] == said
    means = [report["metrics"]["psnr_sqrt"]["mean"] for report in reports.values()]
    assert means[0] > means[1] > means[2]
    a, b = reports["0.004,0.01"]["per_file"]
    assert a["psnr"] != b["psnr"]  # another name, another camera
    pixels = rawzoo.open_picture(tmp_path / "a.png").pixels
    raw, truth = synthetic.photographed(pixels, (0.004, 0.01), "RGGB", zlib.crc32(b"a.png"))
    found = rawzoo.develop(raw, "bilinear", space="camera", dtype="float32")
    assert a["psnr"] == pytest.approx(metrics.psnr(found[8:-8, 8:-8].clip(0, 1), truth[8:-8, 8:-8].clip(0, 1)))
    xtrans = json.loads(command("evaluate", "bilinear", tmp_path, "--noise", "0", "--cfa", XTRANS_PATTERN, "--json")[1])
    assert xtrans["metrics"]["psnr"] != reports["0"]["metrics"]["psnr"]


def test_noise_of_one_number_is_that_of_a_full_frame_sensor():
    assert evaluation.parse_noise("0.004,2e-5") == (0.004, 2e-5)
    assert evaluation.parse_noise("0") == (0.0, 0.0)
    assert evaluation.parse_noise("1.6e-5") == pytest.approx((1.6e-5, (1.6e-5 * math.hypot(1.1, 3.7)) ** 2))
    for text in ("", "x", "1,2,3", "-1", "nan", "1,inf"):
        with pytest.raises(UsageError, match="--noise takes one or two numbers"):
            evaluation.parse_noise(text)


def test_wrong_photographs(weights, tmp_path, command):
    status, _, errors = command("evaluate", "gbtf", tmp_path, "--noise", "0.1")
    assert (status, "is no folder with photographs" in errors) == (2, True)
    assert "photographs are made raw with --noise" in command("evaluate", "gbtf", tmp_path)[2]
    arguments = ("evaluate", "larger", tmp_path, "--weights", weights["larger"], "--noise", "0.1")
    assert "for tasks demosaic and classify, and model larger is for super-resolution" in command(*arguments)[2]


def test_published_layout_of_super_resolution(weights, tmp_path, command):
    for name, height in (("a", 80), ("b", 79)):
        save(tmp_path / "LR" / "x2" / f"{name}x2.png", 1, 40, 60)
        save(tmp_path / "HR" / f"{name}.png", 2, height, 120)
    status, said, _ = command("evaluate", "larger", tmp_path, "--weights", weights["larger"], "-o", tmp_path / "r.csv")
    assert status == 0
    lines = said.splitlines()
    assert lines[0] == f"larger on {tmp_path}: 2 files"
    assert [line.split()[0] for line in lines[2:]] == ["metric", "psnr", "rmse", "psnr_y", "ssim_y"]
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = rawzoo.run("larger", tmp_path / "LR" / "x2" / "bx2.png", weights=weights["larger"])
    truth = rawzoo.open_picture(tmp_path / "HR" / "b.png")
    a, b = metrics.eight_bit(result.pixels[:79])[4:-4, 4:-4], truth.pixels.astype(float)[4:-4, 4:-4]
    assert float(rows[1]["psnr"]) == pytest.approx(metrics.psnr(a, b), abs=1e-6)
    assert super_resolution.measure(result, truth, shave=0)["rmse"] != pytest.approx(float(rows[1]["rmse"]))
    assert command("evaluate", "larger", tmp_path, "--weights", weights["larger"], "--shave", "40")[0] == 1


def test_labels(weights, tmp_path, command):
    for folder, cfa in (("CAT", "RGGB"), ("1", "BGGR"), ("bird", "RGGB")):
        (tmp_path / folder).mkdir()
        rawzoo.write_dng(tmp_path / folder / "a.dng", raw_image(cfa))
    best = rawzoo.run("see", raw_image(), weights=weights["see"]).top(1)[0]
    status, said, errors = command("evaluate", "see", tmp_path, "--weights", weights["see"], "--json")
    report = json.loads(said)
    assert status == 1
    assert errors == f"rawzoo: {tmp_path}/bird/a.dng: label 'bird' is none of the model's 3, such as 'sky'.\n"
    assert [row["top1"] for row in report["per_file"]] == [float(best == 1), float(best == 0)]
    assert report["metrics"]["top5"]["mean"] == 1.0
    table = "file,label\n" + "".join(f"{folder}/a.dng,{best}\n" for folder in ("CAT", "1", "bird"))
    (tmp_path / "labels.csv").write_text(table)
    report = json.loads(command("evaluate", "see", tmp_path, "--weights", weights["see"], "--json")[1])
    assert report["metrics"]["top1"] | {"what": ""} == {"files": 3, "mean": 1.0, "min": 1.0, "max": 1.0, "what": ""}


def test_photographs_with_labels(weights, tmp_path, command):
    """Made raw, they are judged as the raw image would be."""
    save(tmp_path / "1" / "a.png", 1, 60, 80)
    rawzoo.write_dng(tmp_path / "1" / "b.dng", raw_image())
    pixels = rawzoo.open_picture(tmp_path / "1" / "a.png").pixels
    raw, _ = synthetic.photographed(pixels, (0.01, 1e-4), "RGGB", zlib.crc32(b"a.png"))
    best = rawzoo.run("see", raw, weights=weights["see"]).top(1)[0]
    arguments = ("evaluate", "see", tmp_path, "--weights", weights["see"], "--noise", "0.01,1e-4", "--json")
    report = json.loads(command(*arguments)[1])
    assert [(row["file"], row["top1"]) for row in report["per_file"]] == [(f"{tmp_path}/1/a.png", float(best == 1))]
    (tmp_path / "labels.csv").write_text(f"1/a.png,{best}\n")
    assert json.loads(command(*arguments)[1])["metrics"]["top1"]["mean"] == 1.0


def test_numbers(weights, tmp_path, command):
    save(tmp_path / "a.png", 1)
    (tmp_path / "scores.csv").write_text("a.png, 4.5\nmissing.png,3\n")
    arguments = ("evaluate", "judge", tmp_path / "scores.csv", "--weights", weights["judge"])
    status, said, errors = command(*arguments, "--json")
    mean = rawzoo.run("judge", tmp_path / "a.png", weights=weights["judge"]).mean
    (row,) = json.loads(said)["per_file"]
    assert row == {"file": str(tmp_path / "a.png"), "error": abs(mean - 4.5), "score": mean, "people": 4.5}
    assert (status, "missing.png does not exist" in errors) == (1, True)
    status, _, errors = command(*arguments, "--shave", "1")
    assert (status, errors) == (2, "rawzoo: the metrics of task quality take no shave.\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no lines"),
        ("file,score\n", "has no lines"),
        ("a.png\n", "line 1: a file and its number are due"),
        ("a.png,4\nb.png,good\n", "line 2: 'good' is no number"),
        ("a.png,nan\n", "no finite number"),
        ("\xff\xfe", "cannot be read as CSV"),
    ],
)
def test_bad_tables(weights, tmp_path, text, words):
    (tmp_path / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=words):
        find(tmp_path, Runner("judge", weights=weights["judge"]))


def test_data_that_is_none(weights, tmp_path, command):
    for model, words in (
        ("larger", "has no pair of folders for model larger; rawzoo knows input and target, LR/x2 and HR"),
        ("see", "has no labels.csv with lines of file,label, or a folder for each label"),
        ("judge", "has no labels.csv with lines of file,number."),
    ):
        status, _, errors = command("evaluate", model, tmp_path, "--weights", weights[model])
        assert (status, words in errors) == (2, True), errors
    assert "does not exist" in command("evaluate", "gbtf", tmp_path / "nowhere")[2]


def test_figures():
    task = Task("x", "", {}, {}, metrics={"a": "", "b": "", "c": ""})
    rows = [{"a": 1.0, "b": math.nan, "c": math.nan}, {"a": 3.0, "b": 2.0, "c": math.nan}]
    found = summary([*rows, {"a": math.inf, "b": math.nan, "c": math.nan}], task)
    assert found["b"] == Figures(1, 2.0, 2.0, 2.0)
    assert found["a"].to_dict() == {"files": 3, "mean": None, "min": 1.0, "max": None}
    assert found["c"].to_dict() == {"files": 0, "mean": None, "min": None, "max": None}
    assert summary([], task)["a"].count == 0


def test_correlations_against_scipy():
    rng = np.random.default_rng(0)
    people = np.round(rng.normal(5, 1, 40), 1)  # ties
    scores = people + rng.normal(0, 1, 40)
    rows = [{"score": s, "people": p, "error": 0.0} for s, p in zip(scores, people, strict=True)]
    found = summary(rows, QUALITY)
    assert found["plcc"].mean == pytest.approx(scipy.stats.pearsonr(scores, people).statistic)
    assert found["srcc"].mean == pytest.approx(scipy.stats.spearmanr(scores, people).statistic)
    assert found["srcc"].to_dict()["min"] is None
    for few in (rows[:1], [rows[0]] * 3, []):
        assert math.isnan(summary(few, QUALITY)["srcc"].mean)


def test_white_balance():
    found = measure_white_balance(WhiteBalance(4000.0, (2.0, 1.0, 1.5), 100.0, "x"), 5000.0)
    assert found == {"mired": pytest.approx(50.0), "kelvin": 1000.0}
    with pytest.raises(UsageError, match="no colour temperature"):
        measure_white_balance(WhiteBalance(4000.0, (2.0, 1.0, 1.5), 100.0, "x"), 0.0)


LABELS = ("background", "n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane", "n09835506 ballplayer")


@pytest.mark.parametrize(
    ("label", "index"),
    [("0", 0), ("4", 4), ("n01440764", 1), ("Tench", 1), ("tinca TINCA", 1), ("n02012849 crane", 2), ("n03126707", 3)],
)
def test_which_label_is_meant(label, index):
    assert index_of(label, LABELS) == index


@pytest.mark.parametrize(("label", "words"), [("5", "beyond the model's 5"), ("crane", "2 or 3"), ("heron", "is none")])
def test_labels_that_are_none(label, words):
    with pytest.raises(UsageError, match=words):
        index_of(label, LABELS)


def test_top_five_is_five():
    found = Classification(np.array([0.3, 0.2, 0.15, 0.14, 0.12, 0.09], np.float32), tuple("abcdef"))
    assert [measure(found, str(i))["top5"] for i in range(6)] == [1, 1, 1, 1, 1, 0]
    assert [measure(found, str(i))["top1"] for i in range(2)] == [1, 0]


def test_the_kinds_of_pairs_are_told_in_the_help(command):
    said = command("evaluate", "--help")[1]
    words = " ".join(said.split())
    for pair in evaluation.PAIRS:
        assert all(part.format(scale=4) in words for part in pair)
