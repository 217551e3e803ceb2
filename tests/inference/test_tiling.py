"""The tiling plan as a pure function."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawzoo.errors import UsageError
from rawzoo.inference.tiling import extend, plan
from rawzoo.raw import cfa as cfa_patterns

sizes = st.integers(1, 60)
plans = st.builds(
    plan,
    sizes,
    sizes,
    tile=st.none() | st.integers(1, 64),
    halo=st.integers(0, 40),
    period=st.sampled_from([1, 2, 3, 4, 6, 16]),
    scale=st.sampled_from([Fraction(1), Fraction(2), Fraction(4), Fraction(1, 2), Fraction(3, 2), Fraction(2, 3)]),
    bounded=st.booleans(),
)


@settings(deadline=None)
@given(plans)
def test_output_is_covered_once_and_in_order(p):
    seen = np.zeros((p.out_height, p.out_width), int)
    y = 0
    for row in p.rows():
        x = 0
        for tile in row:
            assert (tile.out.top, tile.out.left) == (y, x)
            seen[tile.out.slices] += 1
            x = tile.out.right
        y = row[0].out.bottom
        assert {t.out.bottom for t in row} == {y}
    assert np.all(seen == 1)


@settings(deadline=None)
@given(plans)
def test_cores_cover_the_picture_completed_to_the_lattice(p):
    height, width = (math.ceil(n / p.lattice) * p.lattice for n in (p.height, p.width))
    seen = np.zeros((height, width), int)
    for row in p.rows():
        for tile in row:
            seen[tile.core.slices] += 1
    assert np.all(seen == 1)


@settings(deadline=None)
@given(plans)
def test_edges_lie_on_the_lattice_and_crops_match(p):
    for row in p.rows():
        for tile in row:
            assert all(edge % p.lattice == 0 for box in (tile.core, tile.read) for edge in box)
            margin = [c - r for c, r in zip(tile.core, tile.read, strict=True)]
            if not p.bounded:
                assert margin == [p.halo, p.halo, -p.halo, -p.halo]
            else:
                # All of the halo that is in the picture, completed to the lattice.
                height, width = (math.ceil(n / p.lattice) * p.lattice for n in (p.height, p.width))
                room = [tile.core.top, tile.core.left, tile.core.bottom - height, tile.core.right - width]
                assert margin[:2] == [min(p.halo, n) for n in room[:2]]
                assert margin[2:] == [max(-p.halo, n) for n in room[2:]]
            # The crop is the place of `out` within the model's output for `read`.
            assert (tile.crop.height, tile.crop.width) == (tile.out.height, tile.out.width)
            assert tile.read.top * p.scale + tile.crop.top == tile.out.top
            assert tile.read.left * p.scale + tile.crop.left == tile.out.left
            assert tile.crop.bottom <= tile.read.height * p.scale
            assert tile.crop.right <= tile.read.width * p.scale


def test_numbers_of_one_plan():
    p = plan(100, 70, tile=50, halo=5, period=4, scale=2)
    assert (p.tile, p.halo, p.lattice) == (48, 8, 4)
    first, second = p.row(48)
    assert first.core == (48, 0, 96, 48)
    assert second.core == (48, 48, 96, 72)  # 70 columns completed to 72
    assert second.read == (40, 40, 104, 80)
    assert second.crop == (16, 16, 112, 60)
    assert second.out == (96, 96, 192, 140)


def test_whole_picture_is_one_tile():
    rows = list(plan(37, 91, period=6).rows())
    assert [[t.core for t in row] for row in rows] == [[(0, 0, 42, 96)]]


@pytest.mark.parametrize("bad", [{"height": 0}, {"tile": 0}, {"halo": -1}, {"period": 0}, {"scale": 0}])
def test_senseless_numbers_are_refused(bad):
    with pytest.raises(UsageError):
        plan(**({"height": 8, "width": 8} | bad))


@given(st.integers(1, 50), st.integers(0, 200))
def test_mirror_equals_numpy_reflect(size, margin):
    # numpy's reflect mode reflects repeatedly and does not repeat the edge.
    expected = np.pad(np.arange(size), margin, mode="reflect")
    assert np.array_equal(extend(-margin, size + margin, size, 2), expected)


@given(st.integers(6, 40), st.integers(-100, 100), st.integers(0, 100))
def test_xtrans_extension_keeps_the_phase(size, start, count):
    index = extend(start, start + count, size, 6)
    position = np.arange(start, start + count)
    assert np.all((index - position) % 6 == 0)
    inside = (position >= 0) & (position < size)
    assert np.array_equal(index[inside], position[inside])
    # 6k further in with the smallest k: nothing comes from deeper than one period.
    assert np.all(index[position < 0] < 6)
    assert np.all(index[position >= size] >= size - 6)


@pytest.mark.parametrize("cfa", [*cfa_patterns.BAYER_PATTERNS, cfa_patterns.XTRANS_PATTERN])
def test_extended_mosaic_continues_the_cfa(cfa):
    n = cfa_patterns.period(cfa)
    tile = cfa_patterns.color_tile(cfa)
    height, width = 13, 10
    colors = np.tile(tile, (3 * 6 // n, 3 * 6 // n))[:height, :width]
    extended = colors[extend(-24, 48, height, n)][:, extend(-24, 48, width, n)]
    assert np.array_equal(extended, np.tile(tile, (72 // n, 72 // n)))
