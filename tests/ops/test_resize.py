"""Resizing against pictures that the other programs made, and against OpenCV itself."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rawzoo import ops
from rawzoo.errors import UsageError

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
seeds = st.integers(0, 1000)


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "specs" / "eusr" / "golden_imresize.npz") as archive:
        return {name: np.moveaxis(value, -1, 0) if value.ndim == 3 else value for name, value in archive.items()}


def noise(size, seed=0, dtype=np.uint8):
    x = np.random.default_rng(seed).integers(0, 256, size)
    return (x / 255 if np.dtype(dtype).kind == "f" else x).astype(dtype)


@pytest.mark.parametrize("picture", ["A", "B"])
@pytest.mark.parametrize(("short", "border"), [("sym", "symmetric"), ("clamp", "clamp")])
def test_matlab_to_the_last_bit(golden, picture, short, border):
    x = golden[picture]
    for factor in (2, 4, 8):
        expected = golden[f"matlab_{short}_u8_{picture}_div{factor}"]
        np.testing.assert_array_equal(ops.imresize(x, scale=1 / factor, border=border), expected)
    doubles = ops.imresize(x.astype(np.float64), scale=0.25, border=border)
    np.testing.assert_allclose(doubles, golden[f"matlab_{short}_f64_{picture}_div4"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("short", "border"), [("sym", "symmetric"), ("clamp", "clamp")])
def test_matlab_enlarges_and_takes_sizes(golden, short, border):
    found = ops.imresize(golden["B"][:, :16, :16], scale=2, border=border)
    np.testing.assert_array_equal(found, golden[f"matlab_{short}_u8_B_mul2"])
    found = ops.imresize(golden["A"], (20, 33), border=border)
    np.testing.assert_array_equal(found, golden[f"matlab_{short}_u8_A_to_20x33"])


def test_octave_agrees_up_to_its_own_rounding(golden):
    for picture in "AB":
        for factor in (2, 4, 8):
            expected = golden[f"octave_u8_{picture}_div{factor}"].astype(int)
            assert np.abs(ops.imresize(golden[picture], scale=1 / factor) - expected).max() <= 3


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_weights_of_matlab(golden, factor):
    """Each input pixel in turn is 1: what arrives at a pixel in the middle are its weights."""
    n = 16 * factor
    found = ops.imresize(np.eye(n)[:, None, :].repeat(n, 1), scale=1 / factor)[:, 8, 8]
    expected = golden[f"weights_div{factor}"]
    np.testing.assert_allclose(found[found != 0], expected, rtol=0, atol=1e-15)


def test_example_of_a_ramp():
    ramp = np.arange(64.0).reshape(8, 8)
    half, quarter = ops.imresize(ramp, scale=0.5), ops.imresize(ramp, scale=0.25)
    np.testing.assert_allclose(half[0], [4.042969, 6.082031, 8.105469, 10.144531], atol=5e-7)
    np.testing.assert_allclose(quarter, [[12.383789, 16.631836], [46.368164, 50.616211]], atol=5e-7)


def test_without_smoothing_half_the_size_is_every_other_middle():
    x = noise((20, 24), dtype=np.float64)
    inner = ops.imresize(x, scale=0.5, antialias=False)[1:-1, 1:-1]
    w = np.array([-1, 9, 9, -1]) / 16
    windows = np.lib.stride_tricks.sliding_window_view(x, (4, 4))[1::2, 1::2]
    np.testing.assert_allclose(inner, np.einsum("hwyx,y,x->hw", windows, w, w), atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, seeds)
def test_opencv(old, new, seed):
    x = noise(old, seed)
    expected = cv2.resize(x, new[::-1], interpolation=cv2.INTER_CUBIC)
    # Where its vectors do not reach, at the right of narrow pictures, OpenCV rounds weights to 11 bits and halves up.
    exact = ops.resize_opencv(x.astype(np.float64), new).clip(0, 255)
    np.testing.assert_allclose(expected, exact, rtol=0, atol=0.5 if min(old[1], new[1]) >= 64 else 0.7)
    np.testing.assert_array_equal(ops.resize_opencv(x, new), np.rint(exact))
    y = noise(old, seed, np.float32)
    expected = cv2.resize(y, new[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(ops.resize_opencv(y, new), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("picture", ["A", "B"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_downscalers_of_the_reference(golden, picture, factor):
    x = golden[picture]
    size = x.shape[1] // factor, x.shape[2] // factor
    np.testing.assert_array_equal(ops.resize_opencv(x, size), golden[f"opencv_{picture}_div{factor}"])
    found = ops.resize_tensorflow(x, size, align_corners=True)
    if factor == 4:
        np.testing.assert_allclose(found, golden[f"tf_ac_f32_{picture}_div4"], rtol=0, atol=1e-4)
    truncated = found.clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(truncated, golden[f"tf_ac_u8_{picture}_div{factor}"])


def test_tensorflow_without_aligned_corners(golden):
    for picture in "AB":
        x = golden[picture]
        found = ops.resize_tensorflow(x, (3 * x.shape[1] // 4, 3 * x.shape[2] // 4))
        np.testing.assert_allclose(found, golden[f"tf_legacy_f32_{picture}_mul3over4"], rtol=0, atol=1e-4)
    found = ops.resize_tensorflow(golden["A"], (60, 60), method="bilinear")
    np.testing.assert_allclose(found, golden["tf_legacy_bilinear_A_to_60x60"], rtol=0, atol=1e-4)


def test_half_the_size_in_tensorflow_is_every_other_pixel():
    x = noise((3, 16, 24), dtype=np.float32)
    np.testing.assert_array_equal(ops.resize_tensorflow(x, (8, 12)), x[:, ::2, ::2])


RESIZERS = {
    "matlab": ops.imresize,
    "clamp": lambda x, size: ops.imresize(x, size, border="clamp"),
    "opencv": ops.resize_opencv,
    "tensorflow": ops.resize_tensorflow,
    "bilinear": lambda x, size: ops.resize_tensorflow(x, size, method="bilinear", align_corners=True),
}


@pytest.mark.parametrize("resize", RESIZERS.values(), ids=RESIZERS)
@settings(deadline=None, max_examples=25)
@given(old=sizes, new=sizes, seed=seeds)
def test_what_all_have_in_common(resize, old, new, seed):
    x = noise((2, *old), seed, np.float64)
    y = resize(x, new)
    assert y.shape == (2, *new)
    for plane, alone in zip(y, x, strict=True):
        np.testing.assert_array_equal(plane, resize(alone, new))
    np.testing.assert_allclose(resize(np.full(old, 0.3), new), 0.3, rtol=0, atol=1e-6)
    np.testing.assert_allclose(resize(x, old), x, rtol=0, atol=1e-7)
    tensor = resize(torch.from_numpy(x).requires_grad_(), new)
    assert isinstance(tensor, torch.Tensor)
    assert not tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), y)


def test_dtypes():
    for dtype in (np.uint8, np.float32, np.float64):
        x = noise((9, 7), dtype=dtype)
        assert ops.imresize(x, (4, 4)).dtype == ops.resize_opencv(x, (4, 4)).dtype == dtype
        assert ops.resize_tensorflow(x, (4, 4)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.imresize(x), UsageError, "either size or scale"),
        (lambda x: ops.imresize(x, (3, 3), scale=2), UsageError, "either size or scale"),
        (lambda x: ops.imresize(x, scale=0), UsageError, "positive number, not 0"),
        (lambda x: ops.imresize(x, (0, 3)), UsageError, r"at least 1, not \(0, 3\)"),
        (lambda x: ops.imresize(x, (3, 3), border="zero"), UsageError, "not 'zero'"),
        (lambda x: ops.resize_opencv(x, (3.0, 3)), UsageError, "height and width"),
        (lambda x: ops.resize_tensorflow(x, (3, 3), method="area"), UsageError, "not 'area'"),
        (lambda x: ops.imresize(x[0], scale=2), UsageError, r"not \[8\]"),
        (lambda x: ops.imresize(x[:0], scale=2), UsageError, r"not \[0, 8\]"),
        (lambda x: ops.imresize(x.astype(np.uint16), scale=2), TypeError, "not uint16"),
        (lambda x: ops.resize_opencv(x.tolist(), (3, 3)), TypeError, "not list"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(noise((8, 8)))
