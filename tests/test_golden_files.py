"""Every golden file of the shared specifications belongs to a test; what no test compares with is named, and why."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

ANSCOMBE, AWB, EUSR, NAF, PYNET = (
    f"plugins/{name}/tests/test_{name}_" for name in ("anscombe", "awb", "eusr", "naf", "pynet")
)

#: Golden file -> the test that compares with it.
TESTED = {
    "anscombe/golden_gat.npz": "tests/ops/test_anscombe_ops.py::test_inverses_of_the_mean_agree_with_golden_values",
    "anscombe/golden_isp.npz": f"{ANSCOMBE}networks.py::test_isp",
    "anscombe/golden_joint.npz": f"{ANSCOMBE}networks.py::test_joint",
    "anscombe/golden_mobilenet_v1.npz": f"{ANSCOMBE}networks.py::test_mobilenet",
    "anscombe/golden_sensor.npz": f"{ANSCOMBE}sensors.py::test_what_the_sensor_sees_of_a_photograph",
    "awb/golden_converter.zip": f"{AWB}statistics.py::test_golden_converter",
    "awb/golden_pisp.npz": f"{AWB}network.py::test_golden_images",
    "awb/golden_tuning.npz": f"{AWB}tuning.py::test_golden",
    "awb/golden_vc4.npz": f"{AWB}network.py::test_golden_images",
    "eusr/golden_4pp_passes.npz": f"{EUSR}network.py::test_golden_passes",
    "eusr/golden_discriminator.npz": f"{EUSR}network.py::test_golden_discriminator",
    "eusr/golden_eusr.npz": f"{EUSR}network.py::test_golden_eusr",
    "eusr/golden_imresize.npz": "tests/ops/test_resize.py::test_matlab_to_the_last_bit",
    "eusr/golden_loss.npz": f"{EUSR}network.py::test_golden_training_step",
    "eusr/golden_misc.npz": "tests/test_metrics.py::test_golden_values_of_super_resolution",
    "eusr/golden_predictor_ava.npz": f"{EUSR}network.py::test_golden_predictors",
    "eusr/golden_predictor_tid2013.npz": f"{EUSR}network.py::test_golden_predictors",
    "naf/golden/cond_naf_rggb.npz": f"{NAF}networks.py::test_cond_naf_of_record",
    "naf/golden/cond_naf_variants.npz": f"{NAF}networks.py::test_cond_naf_variants",
    "naf/golden/debayer.npz": f"{NAF}networks.py::test_debayer",
    "naf/golden/losses.npz": f"{NAF}losses.py::test_other_values",
    "naf/golden/nafnet_local_tlc.npz": f"{NAF}networks.py::test_nafnet_with_windows",
    "naf/golden/nafnet_sidd_w32.npz": f"{NAF}networks.py::test_nafnet_sidd",
    "naf/golden/rawpost.npz": f"{NAF}restorer.py::test_colour_of_the_mosaic",
    "naf/golden/tiling.npz": f"{NAF}restorer.py::test_tiles_and_their_weights",
    "naf/golden/treenet_w32.npz": f"{NAF}networks.py::test_treenet",
    "naf/golden/treenet_w8.npz": f"{NAF}networks.py::test_treenet",
    "naf/golden/treenet_w8x2_affine.npz": f"{NAF}networks.py::test_treenet",
    "pynet/golden_metrics.json": "tests/test_metrics.py::test_golden_values_of_pynet",
    "pynet/golden_tf_32x48.npz": f"{PYNET}network.py::test_golden",
    "pynet/golden_torch_32x32.npz": f"{PYNET}network.py::test_golden",
    "pynet/golden_torch_32x48.npz": f"{PYNET}network.py::test_golden",
    "pynet/golden_torch_48x64.npz": f"{PYNET}network.py::test_golden",
}

#: Not yet built: golden file -> what it takes.
LATER = {"awb/golden_gen_tuning.json": "making a tuning file of calibration shots, part of training a camera"}

#: Arrays of tested files that no test compares with, and why.
LEFT_OUT = {
    "awb/golden_pisp.npz": ({"filenames", "label_temp", "camera_temp"}, "names and labels of the shots"),
    "awb/golden_vc4.npz": ({"filenames", "label_temp", "camera_temp"}, "names and labels of the shots"),
}


def test_every_golden_file_has_a_test(shared):
    specs = shared / "specs"
    files = {str(path.relative_to(specs)) for path in specs.rglob("*golden*") if path.is_file()}
    files |= {str(path.relative_to(specs)) for path in specs.glob("*/golden/*.npz")}
    assert files == TESTED.keys() | LATER.keys()


@pytest.mark.parametrize("file", TESTED)
def test_the_tests_are_there(file):
    path, _, name = TESTED[file].partition("::")
    assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", LEFT_OUT)
def test_what_is_left_out_is_in_the_file(shared, file):
    with np.load(shared / "specs" / file) as archive:
        assert LEFT_OUT[file][0] < set(archive.files)
