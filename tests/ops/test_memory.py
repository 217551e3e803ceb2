"""What the ops do with memory: overlap, views, strides, and sizes that 32-bit indices cannot reach. Every op of
benchmarks/cases.py takes part."""

import mmap
from typing import Any

import cases
import numpy as np
import pytest
import torch
from cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st

from rawzoo import ops
from rawzoo.ops.dispatch import OPS

OF_EACH_OP = cases.one_of_each()
OF_EACH_METHOD = cases.one_of_each(lambda case: (case.op, case.options.get("method"), len(case.options.get("cfa", ""))))

#: Those that take out= with gaps between its rows.
STRIDED = [case for case in OF_EACH_METHOD if not OPS[case.op].contiguous]


def label(case: Case) -> str:
    return case.label


def test_every_op_has_a_case() -> None:
    assert not cases.missing(), "benchmarks/cases.py lacks an op"


def refuses(case: Case, x: Any, out: Any, error: type[Exception], words: str) -> None:
    """The call raises, and neither array changes."""
    before = x.copy(), out.copy()
    with pytest.raises(error, match=words):
        case(x, out)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(out, before[1])


@pytest.mark.parametrize("case", OF_EACH_OP, ids=label)
def test_out_that_will_not_do_is_refused_before_memory_is_touched(case: Case) -> None:
    x = case.input(12, 12)
    wanted = case(x)
    taller = np.zeros((wanted.shape[0] + 1, *wanted.shape[1:]), wanted.dtype)
    refuses(case, x, taller, ValueError, "out must have shape")
    refuses(case, x, np.zeros(wanted.shape, np.int8), TypeError, "out must be")
    frozen = np.zeros_like(wanted)
    frozen.setflags(write=False)
    refuses(case, x, frozen, ValueError, "read-only")
    shared = np.lib.stride_tricks.as_strided(np.zeros(100, wanted.dtype), wanted.shape, (0,) * wanted.ndim)
    refuses(case, x, shared, ValueError, "contiguous|share memory")
    with pytest.raises(ValueError, match="out must be on cpu"):
        case(torch.from_numpy(x), torch.empty(wanted.shape, dtype=torch.from_numpy(wanted).dtype, device="meta"))
    with pytest.raises(TypeError, match="out must be a torch tensor"):
        case(torch.from_numpy(x), wanted)


@pytest.mark.parametrize("case", OF_EACH_OP, ids=label)
@pytest.mark.parametrize("first", ["input", "output"])
def test_out_must_not_overlap_the_input(case: Case, first: str) -> None:
    x = case.input(12, 12)
    wanted = case(x)
    both = np.zeros(x.nbytes + wanted.nbytes, np.uint8)
    ahead, behind = (x, wanted) if first == "input" else (wanted, x)

    def placed(gap: int) -> tuple[Any, Any]:
        begin = both[: ahead.nbytes].view(ahead.dtype).reshape(ahead.shape)
        start = ahead.nbytes + gap
        end = both[start : start + behind.nbytes].view(behind.dtype).reshape(behind.shape)
        return (begin, end) if first == "input" else (end, begin)

    source, out = placed(0)
    source[...] = x
    np.testing.assert_array_equal(case(source, out), wanted)  # neighbours are apart
    source, out = placed(-4)
    source[...] = x
    refuses(case, source, out, ValueError, "overlaps")
    tensors = [torch.from_numpy(a) for a in (source, out)]
    with pytest.raises(ValueError, match="overlaps"):
        case(*tensors)


@settings(max_examples=60)
@given(
    case=st.sampled_from(OF_EACH_METHOD),
    height=st.integers(0, 20),
    width=st.integers(0, 40),
    offset=st.tuples(st.integers(0, 3), st.integers(0, 5)),
    margin=st.tuples(st.integers(0, 3), st.integers(0, 5)),
    step=st.tuples(st.sampled_from([1, 2, -1]), st.sampled_from([1, 1, 3, -1])),
    threads=st.integers(1, 3),
)
def test_a_view_gives_what_its_copy_gives(case, height, width, offset, margin, step, threads) -> None:
    height, width = (case.smallest + n // case.step * case.step for n in (height, width))
    x = case.input(height, width)
    before = torch.get_num_threads()
    expected = case(x)

    def view(like: np.ndarray, steps: tuple[int, int], axes: tuple[int, int] = (-2, -1)) -> np.ndarray:
        """A view, with these steps along these axes, into a larger array of sevens."""
        sides, chosen = list(like.shape), [slice(None)] * like.ndim
        for axis, step, before, after in zip(axes, steps, offset, margin, strict=True):
            inside = like.shape[axis] * abs(step)
            sides[axis] = before + inside + after
            stop = before - 1 if before else None
            chosen[axis] = slice(before, before + inside, step) if step > 0 else slice(before + inside - 1, stop, step)
        return np.full(sides, 7, like.dtype)[tuple(chosen)]

    source = view(x, step)
    source[...] = x
    try:
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(case(source), expected)
        if "anscombe" in case.op and "pack" not in case.op:
            return  # out must be contiguous
        out = view(expected, (step[0], 1), (0, 1) if case.interleaved else (-2, -1))
        assert case(source, out) is out
        np.testing.assert_array_equal(out, expected)
        out[...] = 7
        assert (out.base == 7).all()
    finally:
        torch.set_num_threads(before)


def sparse(rows: int, pitch: int, dtype: str) -> np.ndarray:
    """``[rows, pitch]`` of which only what is touched takes memory."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        memory = mmap.mmap(-1, rows * pitch * np.dtype(dtype).itemsize, flags=flags)
    except OSError as error:
        pytest.skip(f"no address space: {error}")
    return np.frombuffer(memory, dtype).reshape(rows, pitch)


@pytest.mark.parametrize("case", STRIDED, ids=label)
def test_strides_that_need_64_bits(case: Case) -> None:
    height, width = 36, 48
    x = case.input(height, width)
    expected = case(x)
    pitch = 1 << 28  # 36 rows of it are more than 2^33 elements

    def place(like: np.ndarray) -> np.ndarray:
        interleaved = like is expected and case.interleaved
        rows = like.shape[0] if interleaved else like.size // like.shape[-1]
        line = like.size // rows
        return sparse(rows, pitch, like.dtype.name)[:, :line].reshape(like.shape, copy=False)

    source, out = place(x), place(expected)
    source[...] = x
    case(source, out)
    np.testing.assert_array_equal(out, expected)


BAYER = {"cfa": "GRBG", "black": 100.0, "white": 60000.0, "gains": cases.GAINS}


def large_mosaic(height: int, width: int) -> np.ndarray:
    """Values that differ from row to row and column to column."""
    x = np.empty((height, width), np.uint16)
    line = (np.arange(width, dtype=np.uint32) * 40503 >> 3).astype(np.uint16)
    for y in range(height):
        np.add(line, np.uint16(y * 7919 & 0xFFFF), out=x[y])
    return x


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_more_than_two_to_the_31_samples() -> None:
    # 4.3 GB each way. The last rows must be those of a crop; 96 rows keep every method's borders apart.
    height, width = 46400, 46342
    x = large_mosaic(height, width)
    assert x.size > 2**31
    planes = ops.pack(x, **BAYER, dtype="float16")
    np.testing.assert_array_equal(planes[:, -48:], ops.pack(x[-96:], **BAYER, dtype="float16"))
    x[-96:, -96:] = 1
    assert ops.unpack(planes, **BAYER, out=x) is x
    np.testing.assert_array_equal(x[-96:], ops.unpack(planes[:, -48:], **BAYER))
    del planes
    balanced = ops.white_balance(x, **BAYER)  # 8.6 GB
    np.testing.assert_array_equal(balanced[-96:], ops.white_balance(x[-96:], **BAYER))
    del balanced
    picture = np.empty((height, width, 3), np.uint8)  # 6.5 GB
    args = {**BAYER, "clip": 1.0, "matrix": cases.MATRIX, "curve": cases.SRGB, "method": "malvar"}
    ops.develop(x, **args, out=picture)
    np.testing.assert_array_equal(picture[-48:], ops.develop(x[-96:], **args)[-48:])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_more_than_two_to_the_31_samples_to_mend_to_count_and_to_shrink() -> None:
    height, width, cfa = 46400, 46342, BAYER["cfa"]
    x = large_mosaic(height, width)
    last = x[-160:].copy()
    small = ops.downscale_mosaic(x, cfa, 2)  # 1.1 GB
    np.testing.assert_array_equal(small[-40:], ops.downscale_mosaic(last, cfa, 2)[-40:])
    del small
    stats = ops.bin_stats(x, cfa, 0, 65535, (height // 160, 3), low=0.2, high=0.8)
    np.testing.assert_array_equal(stats[:, :, -1:], ops.bin_stats(last, cfa, 0, 65535, (1, 3), low=0.2, high=0.8))
    for mosaic in (x, last):  # one hot pixel where it is dark
        mosaic[-20:, -20:] = 1000
        mosaic[-7, -9] = 65535
    mended = ops.hot_pixels(x, cfa)  # 4.3 GB
    np.testing.assert_array_equal(mended[-80:], ops.hot_pixels(last, cfa)[-80:])
    assert mended[-7, -9] == 1000


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("inverse", [False, True])
def test_more_than_two_to_the_31_elements_of_a_transform(inverse: bool) -> None:
    op = ops.inverse_anscombe if inverse else ops.anscombe
    x = np.zeros(2**31 + 4099, np.float32)  # 8.6 GB, and as much out
    x[::65536] = np.arange(len(x[::65536]))
    x[-4099:] = np.arange(4099)
    y = op(x, 2.0, 3.0)
    np.testing.assert_array_equal(y[-4099:], op(x[-4099:], 2.0, 3.0))
    np.testing.assert_array_equal(y[::65536], op(x[::65536], 2.0, 3.0))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cfa", [BAYER["cfa"], cases.XTRANS_PATTERN], ids=["Bayer", "X-Trans"])
def test_more_than_two_to_the_31_values_of_rgb(cfa: str) -> None:
    # 1.4 GB in, 8.6 GB out. Wide: a row of the result is more than 2^31 bytes from the next plane's.
    height, width = 720, 1_000_002
    x = large_mosaic(height, width)
    rgb = np.empty((3, height, width), np.float32)
    assert rgb.size > 2**31
    crop = np.ascontiguousarray(x[-96:, -1200:])
    for method in ops.demosaic_methods(cfa):
        full = None if method == "superpixel" else rgb  # which is half as high and wide
        result = ops.demosaic(x, cfa, method, out=full)[:, -24:, -300:]
        np.testing.assert_array_equal(result, ops.demosaic(crop, cfa, method)[:, -24:, -300:], err_msg=method)
    picture = ops.render(rgb, np.eye(3) / 65535)
    np.testing.assert_array_equal(picture[-48:], ops.render(np.ascontiguousarray(rgb[:, -48:]), np.eye(3) / 65535))
