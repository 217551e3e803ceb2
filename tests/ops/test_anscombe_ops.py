"""The Anscombe transforms, against golden values and against Poisson-Gaussian noise itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import reference

METHODS = ("algebraic", "asymptotic", "exact")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverses_of_the_mean_agree_with_golden_values(shared: Path, method: str, dtype: str, isa: str) -> None:
    # mean_transformed: E[f(z)] for each sigma and Poisson mean, by numerical integration; the inverses of just that.
    golden = np.load(shared / "specs" / "anscombe" / "golden_gat.npz")
    key = {"exact": "closed_form"}.get(method, method)
    for sigma, mean, expected in zip(golden["sigma"], golden["mean_transformed"], golden[key], strict=True):
        got = ops.inverse_anscombe(mean.astype(dtype), 1.0, float(sigma), method=method)
        relative = 1e-12 if dtype == "float64" else 3e-7
        absolute = 3 * relative * (1 + sigma**2)  # of the terms that nearly cancel
        np.testing.assert_allclose(got, expected, rtol=relative, atol=absolute)
        scaled = ops.inverse_anscombe(mean.astype(dtype), 0.01, float(sigma) * 0.01, 0.25, method=method)
        np.testing.assert_allclose(scaled, expected * 0.01 + 0.25, rtol=relative, atol=absolute)


def test_noise_becomes_of_variance_one() -> None:
    rng = np.random.default_rng(0)
    gain, sigma, offset = 0.02, 0.05, 0.1
    for signal in (10, 40, 200):
        x = gain * rng.poisson(signal, 200_000) + rng.normal(offset, sigma, 200_000)
        assert np.var(ops.anscombe(x.astype(np.float32), gain, sigma, offset)) == pytest.approx(1, abs=0.02)


@given(st.floats(-0.5, 100, width=32), st.floats(0.01, 2), st.floats(0, 2), st.floats(-1, 1))
def test_algebraic_inverse_undoes_the_transform(x: float, gain: float, sigma: float, offset: float) -> None:
    y = ops.anscombe(np.full((2, 3), x, np.float32), gain, sigma, offset)
    back = ops.inverse_anscombe(y, gain, sigma, offset)
    floor = offset - gain * (0.375 + (sigma / gain) ** 2)
    np.testing.assert_allclose(back, max(x, floor), rtol=1e-5, atol=2e-6 * (1 + gain + sigma**2 / gain + abs(offset)))


def test_the_exact_inverse_is_bounded_where_the_closed_form_diverges() -> None:
    y = np.array([-1.0, 0.0, 1e-3, 1.0, 1.2247449], np.float32)
    np.testing.assert_allclose(ops.inverse_anscombe(y, 2.0, 2.0, 5.0, "exact"), 5.0 - 2.0, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5, 130)])
def test_any_shape_and_stride(shape: tuple[int, ...], isa: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 5, shape).astype(np.float32)
    y = ops.anscombe(x, 0.01, 0.02, 0.1)
    assert y.shape == shape
    np.testing.assert_allclose(y, reference.anscombe(torch.tensor(x), (0.01,), (0.02,), (0.1,)), rtol=1e-6, atol=1e-6)
    for method in METHODS:
        expected = reference.inverse_anscombe(torch.tensor(x), (0.01,), (0.02,), (0.1,), method)
        np.testing.assert_allclose(ops.inverse_anscombe(x, 0.01, 0.02, 0.1, method), expected, rtol=1e-6, atol=1e-6)
    transposed = x.T
    np.testing.assert_array_equal(ops.anscombe(transposed, 0.01, 0.02, 0.1), y.T)
    np.testing.assert_array_equal(
        ops.anscombe(torch.tensor(x).T if len(shape) == 2 else torch.tensor(x), 0.01, 0.02, 0.1), y
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.anscombe(x, 0.0, 1.0), UsageError, "gain must be positive"),
        (lambda x: ops.anscombe(x, 1.0, -1.0), UsageError, "sigma not negative"),
        (lambda x: ops.anscombe(x.astype(np.uint16), 1.0, 1.0), TypeError, "x must be float32"),
        (lambda x: ops.inverse_anscombe(x, 1.0, 1.0, method="best"), UsageError, "'best'"),
        (lambda x: ops.anscombe(x, 1.0, 1.0, out=x), ValueError, "out overlaps x"),
        (lambda x: ops.anscombe(x, 1.0, 1.0, out=np.empty((8, 4), np.float32)[::2]), ValueError, "contiguous"),
    ],
)
def test_wrong_calls_are_refused(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(np.zeros((4, 4), np.float32))


def test_roots_are_rounded_correctly(isa: str) -> None:
    significands = np.arange(0x3F000000, 0x41000000, 99, np.uint32).view(np.float32) - np.float32(0.375)
    odd_ones = np.array([-0.375, -1, 0, 1e-30, 3e38, np.inf, np.nan, -np.inf] * 8, np.float32)
    for x in (significands, odd_ones, np.concatenate([significands[:1000], odd_ones[:5]])):
        wanted = 2 * np.sqrt(np.maximum(x + np.float32(0.375), np.float32(0)))
        np.testing.assert_array_equal(ops.anscombe(x, 1.0, 0.0), wanted)


def test_roots_by_multiplication_are_those_of_the_divider(isa: str) -> None:
    # Fused with packing, odd columns are taken by multiplication: equal neighbours must stay equal. Zeros too, and what
    # is too large for that.
    codes = np.repeat(np.arange(1 << 16, dtype=np.uint16).reshape(256, 256), 2, axis=1)
    for gain in (*np.geomspace(1e-9, 1e3, 50), 1e-34, 1e-37):
        noise = {"gain": gain, "sigma": 0.0, "offset": 0.375 * gain}
        red, green, *_ = ops.pack_anscombe(codes, "RGGB", 300.0, 60000.0, (1.0,) * 3, **noise)
        np.testing.assert_array_equal(red, green)
        assert np.all(red[0] == 0)
        assert np.all(np.diff(red.ravel()) >= 0)
