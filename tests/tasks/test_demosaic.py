"""The demosaic task: how a mosaic of any CFA becomes a model's input, and its output the picture."""

import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rawzoo.errors import UsageError
from rawzoo.inference.predictor import Predictor
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.tasks import builtin
from rawzoo.tasks.demosaic import accepts, demosaic, stream
from rawzoo.zoo.card import ModelCard

sizes = st.integers(1, 30)
patterns = st.sampled_from(cfa_patterns.BAYER_PATTERNS)


def card(**fields):
    return ModelCard(**({"name": "test", "task": "demosaic", "architecture": "tests:none"} | fields))


def mosaic_of(cfa, height, width, colors=(1.0, 2.0, 3.0)):
    """A mosaic of one constant colour."""
    n = cfa_patterns.period(cfa)
    tile = torch.tensor(colors)[torch.from_numpy(cfa_patterns.color_tile(cfa))]
    return tile.repeat(-(-height // n), -(-width // n))[:height, :width]


class Subpixels(nn.Module):
    """Packed RGGB to RGB: each sample is put back where it came from, in all three channels."""

    def forward(self, x):
        return nn.functional.pixel_shuffle(x, 2).expand(-1, 3, -1, -1)


PACKED = {"input": "packed", "scale": Fraction(2), "halo": 1}


@settings(deadline=None)
@given(patterns, st.sampled_from(["RGGB", "GBRG"]), sizes, sizes, st.sampled_from([3, None]))
def test_fixed_pattern_sees_every_sample_in_its_place(cfa, wanted, height, width, tile):
    """Origins move, borders are extended, and what comes back is cropped to the same pixels."""
    x = torch.rand(height, width)

    class Check(nn.Module):
        def forward(self, x, cfa):
            assert cfa == wanted
            return x.expand(-1, 3, -1, -1)

    predictor = Predictor(card(cfa=wanted, halo=2, conditioning=("cfa",)), Check(), tile=tile)
    assert torch.equal(demosaic(predictor, x, cfa), x.expand(3, -1, -1))


@settings(deadline=None)
@given(patterns, sizes, sizes, st.sampled_from([3, None]))
def test_packed_model_of_one_pattern_gives_back_the_mosaic(cfa, height, width, tile):
    x = torch.rand(height, width)
    predictor = Predictor(card(**PACKED, cfa="RGGB"), Subpixels(), tile=tile)
    assert torch.equal(demosaic(predictor, x, cfa), x.expand(3, -1, -1))


@pytest.mark.parametrize("cfa", cfa_patterns.BAYER_PATTERNS)
@pytest.mark.parametrize("wanted", ["bayer", "RGGB", "BGGR"])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (2, 3)])
def test_planes_are_r_gr_gb_b_borders_included(cfa, wanted, height, width):
    # Gr carries 2 and Gb 2.5: a plane in the wrong place, or extension of the wrong phase, shows as another value.
    tile = torch.tensor([1.0, 2.0, 2.5, 3.0])[torch.from_numpy(cfa_patterns.channel_tile(cfa))]
    x = tile.repeat(height, width)[:height, :width]
    seen = []

    class Planes(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3)

    demosaic(Predictor(card(**{**PACKED, "halo": 3}, cfa=wanted), Planes()), x, cfa)
    expected = torch.tensor([1.0, 2.0, 2.5, 3.0])[:, None, None].expand(seen[0].shape[1:])
    assert torch.equal(seen[0][0], expected)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 4), (5, 2)])
def test_xtrans_phase_is_shifted_to_the_cards(down, right):
    cfa = cfa_patterns.shift(cfa_patterns.XTRANS_PATTERN, down, right)
    x = mosaic_of(cfa, 20, 17)

    class Check(nn.Module):
        def forward(self, x):
            assert torch.equal(x[0, 0], mosaic_of(cfa_patterns.XTRANS_PATTERN, *x.shape[2:]))
            return x.expand(-1, 3, -1, -1)

    predictor = Predictor(card(cfa=cfa_patterns.XTRANS_PATTERN, halo=2), Check(), tile=6)
    assert torch.equal(demosaic(predictor, x, cfa), x.expand(3, -1, -1))


@pytest.mark.parametrize(("cfa", "count"), [("GRBG", 4), (cfa_patterns.XTRANS_PATTERN, 3)])
def test_noise_reaches_the_module_for_each_channel(cfa, count):
    class Noise(nn.Module):
        def forward(self, x, noise):
            seen.append(noise)
            return x.expand(-1, 3, -1, -1)

    predictor = Predictor(card(cfa="any", conditioning=("noise",)), Noise(), tile=6)
    pairs = [(0.1 * (i + 1), 0.01 * i) for i in range(count)]
    for profile, expected in (([(0.1, 0.2)], [(0.1, 0.2)] * count), (pairs, pairs)):
        seen = []
        demosaic(predictor, torch.rand(12, 12), cfa, noise=profile)
        assert len(seen) == 4
        assert all(torch.equal(noise, torch.tensor([expected])) for noise in seen)
    with pytest.raises(UsageError, match="how noisy"):
        demosaic(predictor, torch.rand(12, 12), cfa)
    for wrong in ([(1e-3, 0)] * 2, [(1e-3, float("nan"))], [(-1.0, 0.0)]):
        with pytest.raises(UsageError, match="pairs"):
            demosaic(predictor, torch.rand(12, 12), cfa, noise=wrong)


def test_stream_gives_every_row_once_when_the_origin_is_shifted():
    x = torch.rand(11, 6)
    predictor = Predictor(card(**PACKED, cfa="RGGB"), Subpixels(), tile=1)
    parts = list(stream(predictor, lambda a, b: x[a:b], 11, 6, "BGGR"))
    # Two mosaic rows a tile; the first tile begins with the extension row above the picture.
    assert [p[:2] for p in parts] == [(0, 1), (1, 3), (3, 5), (5, 7), (7, 9), (9, 11)]
    assert torch.equal(torch.cat([p[2] for p in parts], 1), x.expand(3, -1, -1))


def test_what_a_model_accepts():
    xtrans = cfa_patterns.XTRANS_PATTERN
    assert accepts(card(cfa="RGGB"), "GBRG")
    assert accepts(card(cfa="any"), xtrans)
    assert accepts(card(cfa=xtrans), cfa_patterns.shift(xtrans, 2, 3))
    assert not accepts(card(cfa="RGGB"), xtrans)
    assert not accepts(card(cfa="bayer"), xtrans)
    assert not accepts(card(cfa="xtrans"), "RGGB")
    assert not accepts(card(cfa="any", input="packed"), xtrans)
    with pytest.raises(UsageError, match="bayer mosaics, not GG"):
        stream(Predictor(card(cfa="bayer"), nn.Identity()), lambda a, b: torch.zeros(b - a, 6), 6, 6, xtrans)


def test_card_that_does_not_lead_to_full_size_is_refused():
    with pytest.raises(UsageError, match="full size"):
        demosaic(Predictor(card(input="packed"), nn.Identity()), torch.zeros(4, 4), "RGGB")


def test_task_describes_every_domain_a_card_can_name():
    task = builtin.DEMOSAIC
    assert {*task.inputs, *task.outputs} == {"mosaic", "packed", "camera-rgb", "network"}


def test_tasks_import_no_torch():
    modules = "rawzoo.tasks.builtin, rawzoo.tasks.demosaic, rawzoo.inference.tiling"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
