"""Tuning files against the reference's own numbers, and files that cannot be used."""

import copy
import json

import numpy as np
import pytest
from awb_generated import tuning_content

from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw.image import ColorMatrix, Metadata, RawImage
from rawzoo_awb import statistics, tuning
from rawzoo_awb.dataset import apply_gamma

MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))
MATRICES = (ColorMatrix(21, MATRIX),)


def raw_image(model=None, matrices=MATRICES, **metadata):
    mosaic = np.full((64, 64), 1000, np.uint16)
    return RawImage.from_array(
        mosaic, cfa="RGGB", white_level=4095, color_matrices=matrices, metadata=Metadata(model=model, **metadata)
    )


@pytest.mark.parametrize("target", ["pisp", "vc4"])
@pytest.mark.parametrize("sensor", ["imx708", "imx477", "imx219"])
def test_golden(specs, published, target, sensor):
    golden = np.load(specs / "golden_tuning.npz")
    info = json.loads(str(golden["info_json"]))[f"{target}_{sensor}_"]
    get = lambda name: golden[f"{target}_{sensor}_{name}"]  # noqa: E731
    camera = tuning.from_file(published / "tunings" / target / f"{sensor}.json")
    temperatures = golden["temps"]
    nan = np.full(2, np.nan)

    np.testing.assert_allclose([camera.chromaticity(t) for t in temperatures], get("curve_eval"), rtol=1e-12)
    np.testing.assert_allclose([camera.matrix(t) for t in temperatures], get("ccm"), atol=1e-12)
    across = [nan if (v := camera.across(t)) is None else v for t in temperatures]
    np.testing.assert_allclose(across, get("transverse"), atol=1e-12)
    shading = [camera.shading.gains(t) for t in (3500.0, 5000.0)]
    np.testing.assert_allclose(shading, get("lsc"), rtol=1e-6)

    found = np.array([camera.invert(point) for point in get("invert_points")])
    np.testing.assert_allclose(found[:, 0], get("invert_temp"), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], get("invert_multiple"), atol=1e-12)
    fast = [camera.invert_fast(point) for point in get("invert_points")]
    np.testing.assert_allclose(fast, get("invert_fast"), rtol=1e-12)

    for key, aperture in (("lux", None), ("lux_ap2", 2.0)):
        shot = Metadata(iso=150.0, shutter_s=0.02, aperture=aperture)
        assert camera.lux_of(12345.0, shot) == pytest.approx(info[key], rel=1e-12)

    image = get("raw_u16")
    np.testing.assert_array_equal(statistics.render(image, camera, 5000.0), get("rgb5000_u16"))
    rendered = statistics.render(image, camera, 4500.0, (1.9, 1.0, 1.7))
    np.testing.assert_array_equal(apply_gamma(rendered[:4], camera), get("gamma_u16"))

    candidates = camera.candidates(4500.0)
    np.testing.assert_allclose(candidates, get("search_steps"), rtol=1e-12)
    assert len(candidates) == info["search"]["transverse_steps"]
    best = statistics.best_chromaticity(image, camera, 4500.0)
    np.testing.assert_allclose(1.0 / best, get("search_gains"), rtol=1e-12)


def sound():
    return tuning_content("vc4")


def part(content, name):
    return next(value for entry in content["algorithms"] for key, value in entry.items() if key.endswith(f".{name}"))


def renamed(content, old, new):
    for entry in content["algorithms"]:
        if old in entry:
            entry[new] = entry.pop(old)


@pytest.mark.parametrize("name", ["disable.rpi.awb", "rpi.nn.awb", "x.awb"])
def test_awb_answers_to_any_prefix(name):
    content = sound()
    expected = tuning.parse(json.dumps(content), "file", "name").chromaticities
    renamed(content, "rpi.awb", name)
    np.testing.assert_array_equal(tuning.parse(json.dumps(content), "file", "name").chromaticities, expected)


def test_first_of_two_awb_entries_counts():
    content = sound()
    second = copy.deepcopy(part(content, "awb"))
    second["ct_curve"][1] = 0.1
    expected = tuning.parse(json.dumps(content), "file", "name").chromaticities
    content["algorithms"].append({"rpi.nn.awb": second})
    np.testing.assert_array_equal(tuning.parse(json.dumps(content), "file", "name").chromaticities, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("algorithms"), "no list of algorithms"),
        (lambda c: c.update(target="gpu"), "target is 'gpu'"),
        (lambda c: renamed(c, "rpi.awb", "rpi.off"), "no algorithm 'awb'"),
        (lambda c: renamed(c, "rpi.alsc", "rpi.off"), "no algorithm 'alsc'"),
        (lambda c: part(c, "awb").pop("ct_curve"), "ct_curve must be a list of numbers"),
        (lambda c: part(c, "awb")["ct_curve"].pop(), "ct_curve must be a list of numbers that fill N x 3"),
        (lambda c: part(c, "awb")["ct_curve"].__setitem__(0, 9000), "temperatures must rise"),
        (lambda c: part(c, "awb")["ct_curve"].__setitem__(1, -1), "must be positive"),
        (lambda c: part(c, "awb")["ct_curve"].__setitem__(1, float("nan")), "ct_curve must be a list of numbers"),
        (lambda c: part(c, "awb")["ct_curve"].__setitem__(1, 10**400), "ct_curve must be a list of numbers"),
        (lambda c: part(c, "awb").pop("sensitivity_r"), "sensitivity_r must be a positive number, not None"),
        (lambda c: part(c, "awb").update(sensitivity_b="1"), "sensitivity_b must be a positive number, not '1'"),
        (lambda c: part(c, "awb").update(transverse_pos=True), "transverse_pos must be a positive number"),
        (lambda c: part(c, "ccm").update(ccms=[]), "ccms must be a list"),
        (lambda c: part(c, "ccm")["ccms"][0]["ccm"].pop(), "ccm must be a list of numbers that fill 3 x 3"),
        (lambda c: part(c, "ccm")["ccms"].reverse(), "the temperatures of ccms must rise"),
        (lambda c: part(c, "ccm")["ccms"].insert(0, 7), "ct must be a positive number"),
        (lambda c: part(c, "alsc")["luminance_lut"].pop(), "luminance_lut has 191 entries"),
        (lambda c: part(c, "alsc")["calibrations_Cr"][0]["table"].append(1.0), "table must be a list of numbers"),
        (lambda c: part(c, "alsc")["calibrations_Cb"][0]["table"].__setitem__(0, 0), "must be positive"),
        (lambda c: part(c, "lux").pop("reference_Y"), "reference_Y must be a positive number"),
        (lambda c: part(c, "lux").update(reference_lux=0), "reference_lux must be a positive number"),
    ],
)
def test_unusable_file(tmp_path, change, message):
    content = sound()
    change(content)
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RawzooError, match=message) as caught:
        tuning.from_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "7", "null", '{"target": []}', "\x00\xff"])
def test_no_tuning_file_at_all(tmp_path, text):
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(RawzooError, match=r"camera\.json"):
        tuning.from_file(path)


def test_absent_file_and_folder(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(RawzooError, match="cannot be read"):
            tuning.from_file(path)


def test_found_by_the_camera_model(generated):
    assert tuning.find(raw_image("imx477"), "pisp").name == "imx477"
    assert tuning.find(raw_image("Raspberry Pi IMX219"), "vc4").name == "imx219"
    # Its lens and shading are others.
    assert "matrices" in tuning.find(raw_image("imx219_wide"), "pisp").name


def test_named(tmp_path, generated):
    assert tuning.find(raw_image(), "pisp", "imx477").name == "imx477"
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(sound()))
    assert tuning.find(raw_image("imx477"), "pisp", str(path)).name == "mine"
    with pytest.raises(UsageError, match="no vc4 tuning for 'ov5647'; RAWZOO_AWB_TUNINGS has imx219, imx477; or name"):
        tuning.find(raw_image(), "vc4", "ov5647")


def test_no_folder_of_tunings(tmp_path, monkeypatch):
    assert "matrices" in tuning.find(raw_image("imx477"), "pisp").name
    message = r"no pisp tuning for 'imx477'; set RAWZOO_AWB_TUNINGS to a folder with pisp/SENSOR\.json; or name a"
    for folder in ("", str(tmp_path)):
        monkeypatch.setenv("RAWZOO_AWB_TUNINGS", folder)
        with pytest.raises(UsageError, match=message):
            tuning.find(raw_image(), "pisp", "imx477")
    monkeypatch.setenv("RAWZOO_AWB_TUNINGS", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"RAWZOO_AWB_TUNINGS names .*gone, which is no folder; unset it"):
        tuning.find(raw_image("imx477"), "pisp")


def test_broken_file_in_the_folder(tmp_path, generated):
    (tmp_path / "tunings" / "vc4" / "imx219.json").write_text("{")
    assert tuning.find(raw_image("imx477"), "vc4").name == "imx477"
    with pytest.raises(RawzooError, match=r"imx219\.json is not valid JSON"):
        tuning.find(raw_image("imx219"), "vc4")


@pytest.mark.parametrize("model", [None, "EOS 550D"])
def test_unknown_camera_without_matrices_is_refused(model):
    with pytest.raises(UsageError, match="no colour matrix to go by"):
        tuning.find(raw_image(model, matrices=()), "pisp")


def test_tuning_from_matrices():
    camera = tuning.from_matrices(raw_image(iso=100.0, shutter_s=1 / 100, aperture=2.0))
    assert np.all(np.diff(camera.temperatures) > 0)
    assert np.all(np.diff(camera.chromaticities[:, 0]) < 0)
    assert np.all(np.diff(camera.chromaticities[:, 1]) > 0)
    # White stays white, whatever the temperature.
    np.testing.assert_allclose(camera.matrix(4321.0).sum(axis=1), 1.0, atol=1e-9)
    # A scene of 140 cd/m^2 at ISO 100, f/2, 1/100 s is exposed to 0.65 L t / N^2 * ISO / 78 of saturation.
    luma = 0.65 * 140 / 100 / 4 * 100 / 78
    assert camera.lux_of(65535 * luma, raw_image(iso=100.0, shutter_s=1 / 100, aperture=2.0).metadata) == pytest.approx(
        22.4 * 140
    )
    assert tuning.from_matrices(raw_image()).lux_of(1000.0, Metadata()) == 400.0


def test_nonsense_matrices_are_refused():
    with pytest.raises(UsageError, match="no usable colour temperatures"):
        tuning.from_matrices(raw_image(matrices=(ColorMatrix(21, tuple(tuple(-v for v in row) for row in MATRIX)),)))
