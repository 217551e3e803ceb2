"""The predictor against untiled runs of the same modules."""

import gc
import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rawzoo.errors import RawzooError, UsageError
from rawzoo.inference import predictor as predictor_module
from rawzoo.inference.predictor import Predictor
from rawzoo.inference.statistics import PictureMean
from rawzoo.inference.tiling import extend
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.zoo.card import ModelCard


def card(**fields):
    return ModelCard(
        **({"name": "test", "task": "demosaic", "architecture": "tests:none", "input": "camera-rgb"} | fields)
    )


def extended(x, margin, period=1):
    """The picture with a margin on all sides, from numpy's own reflection or, for X-Trans, the documented rule."""
    if period <= 2:
        return torch.from_numpy(np.pad(x.numpy(), ((0, 0), (margin, margin), (margin, margin)), mode="reflect"))
    y, z = (extend(-margin, n + margin, n, period) for n in x.shape[1:])
    return x[:, y][:, :, z]


class Unshuffle(nn.Module):
    """A network on a lattice of 4: space to depth, 3x3 convolution, depth to space. Halo 4 + 3 pixels."""

    def __init__(self, up=4):
        super().__init__()
        self.conv = nn.Conv2d(16, up * up, 3, padding=1)
        self.up = up

    def forward(self, x):
        return functional.pixel_shuffle(self.conv(functional.pixel_unshuffle(x, 4)), self.up)


class Coordinates(nn.Module):
    """Adds each pixel's place in the tile modulo 6: sees any tile that starts off a lattice of 6."""

    def forward(self, x):
        y = torch.arange(x.shape[2]) % 6
        z = torch.arange(x.shape[3]) % 6
        return x + (100 * y[:, None] + 10 * z).to(x)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.none() | st.integers(1, 24),
    st.integers(0, 50),
    st.sampled_from([1, 2, 4, 6]),
    st.sampled_from(["mosaic", "packed", "camera-rgb"]),
)
@example(1, 1, None, 50, 6, "mosaic")
def test_identity_is_bit_exact(height, width, tile, halo, period, domain):
    x = torch.rand(3, height, width)
    predictor = Predictor(card(halo=halo, period=period, input=domain), nn.Identity(), tile=tile)
    assert torch.equal(predictor(x), x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (5, 40), (33, 47), (64, 64)])
@pytest.mark.parametrize("tile", [7, 16, 31, None])
def test_convolution_equals_untiled(height, width, tile):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 7, padding=3)
    x = torch.rand(3, height, width)
    with torch.no_grad():
        expected = functional.conv2d(extended(x, 3), conv.weight, conv.bias)
    actual = Predictor(card(halo=3), conv, tile=tile)(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_too_small_a_halo_would_show():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 7, padding=3)
    x = torch.rand(3, 64, 64)
    good, bad = (Predictor(card(halo=halo), conv, tile=16)(x) for halo in (3, 2))
    assert (good - bad).abs().max() > 1e-3


@pytest.mark.parametrize("up", [2, 4, 8])
def test_strided_network_equals_untiled(up):
    torch.manual_seed(0)
    net = Unshuffle(up)
    x = torch.rand(1, 61, 50)
    with torch.no_grad():
        # 61 x 50 completed to 64 x 52, plus the halo of 8 the predictor reads.
        whole = net(extended(x, 12)[:, 4:84, 4:72][None])[0]
    scale = Fraction(up, 4)
    margin = 8 * up // 4
    height, width = math.ceil(61 * scale), math.ceil(50 * scale)
    expected = whole[:, margin : margin + height, margin : margin + width]
    for tile in (4, 13, 20, None):
        actual = Predictor(card(halo=7, period=4, scale=scale), net, tile=tile)(x)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3])
def test_whole_scale(scale):
    x = torch.rand(4, 19, 23)
    predictor = Predictor(card(scale=Fraction(scale), halo=2), nn.Upsample(scale_factor=scale, mode="nearest"), tile=5)
    expected = x.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    assert torch.equal(predictor(x), expected)


def test_fraction_of_a_pixel_at_the_end_counts_as_one():
    x = torch.rand(1, 7, 6)
    actual = Predictor(card(scale=Fraction(1, 2)), nn.AvgPool2d(2), tile=4)(x)
    expected = functional.avg_pool2d(extended(x, 1)[:, 1:9, 1:7], 2)  # row 7 mirrored from row 5
    torch.testing.assert_close(actual, expected)
    assert actual.shape == (1, 4, 3)


class Padded(nn.Module):
    """Two layers that pad with what no picture holds: the picture's edge shows at either of them. Lattice 2, halo 6."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 4, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)
        self.bias = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.up(functional.conv2d(self.down(x) + self.bias, torch.ones(4, 1, 3, 3), padding=1, groups=4))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (14, 40), (64, 50)])
@pytest.mark.parametrize("tile", [2, 6, 17, None])
def test_the_models_own_padding_at_the_edges(height, width, tile):
    torch.manual_seed(0)
    net = Padded()
    x = torch.rand(3, height, width)
    with torch.no_grad():
        expected = net(x[None])[0]
    actual = Predictor(card(halo=6, period=2, border="model"), net, tile=tile)(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    mirrored = Predictor(card(halo=6, period=2), net, tile=tile)(x)
    assert (mirrored - expected).abs().max() > 0.1


def test_a_picture_off_the_lattice_is_completed_by_mirroring():
    torch.manual_seed(0)
    net = Padded()
    x = torch.rand(3, 13, 21)
    with torch.no_grad():
        expected = net(functional.pad(x[None], (0, 1, 0, 1), mode="reflect"))[0, :, :13, :21]
    for tile in (4, None):
        actual = Predictor(card(halo=6, period=2, border="model"), net, tile=tile)(x)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_shifting_the_grid_changes_nothing():
    torch.manual_seed(0)
    net = Unshuffle()
    x = torch.rand(1, 96, 96)
    predictor = Predictor(card(halo=7, period=4), net, tile=24)
    whole = predictor(x)
    for dy, dx in itertools.product((0, 4, 12), (0, 8, 20)):
        part = predictor(x[:, dy:, dx:])
        torch.testing.assert_close(part[:, 8:, 8:], whole[:, dy + 8 :, dx + 8 :], rtol=0, atol=1e-6)


@pytest.mark.parametrize("height", [6, 7, 25, 60])
def test_xtrans_tiles_keep_the_phase(height):
    x = torch.zeros(1, height, 40)
    predictor = Predictor(card(input="mosaic", cfa="xtrans", halo=1), Coordinates(), tile=16)
    y, z = (torch.arange(n) % 6 for n in (height, 40))
    assert torch.equal(predictor(x, cfa=cfa_patterns.XTRANS_PATTERN)[0], (100 * y[:, None] + 10 * z).float())


def test_xtrans_border_is_taken_one_period_further_in():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 5, padding=2)
    x = torch.rand(1, 31, 44)
    with torch.no_grad():
        expected = functional.conv2d(extended(x, 2, period=6), conv.weight, conv.bias)
    actual = Predictor(card(input="mosaic", halo=2), conv, tile=12)(x, cfa=cfa_patterns.XTRANS_PATTERN)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_bayer_tiles_start_on_even_pixels():
    x = torch.zeros(1, 21, 33)

    class Even(nn.Module):
        def forward(self, x, cfa):
            assert cfa == "GBRG"
            return x + (torch.arange(x.shape[2])[:, None] % 2 * 2 + torch.arange(x.shape[3]) % 2)

    predictor = Predictor(card(input="mosaic", halo=1, conditioning=("cfa",)), Even(), tile=5)
    expected = torch.arange(21)[:, None] % 2 * 2 + torch.arange(33) % 2
    assert torch.equal(predictor(x, cfa="GBRG")[0], expected.float())
    with pytest.raises(UsageError, match="CFA"):
        predictor(x)


def test_stream_gives_rows_in_order_and_asks_only_for_rows_of_the_picture():
    x = torch.rand(3, 50, 30)
    asked = []

    def source(y0, y1):
        asked.append((y0, y1))
        return x[:, y0:y1].numpy()  # arrays are welcome

    parts = list(Predictor(card(halo=4), nn.Identity(), tile=16).stream(source, 50, 30))
    assert [p[:2] for p in parts] == [(0, 16), (16, 32), (32, 48), (48, 50)]
    assert torch.equal(torch.cat([p[2] for p in parts], 1), x)
    # The last row of tiles mirrors rows 45 to 48 of the picture behind its end, so these are read once more.
    assert asked == [(0, 20), (12, 36), (28, 50), (44, 50)]


@pytest.mark.parametrize(("halo", "tile"), [(0, 512), (64, 512), (93, 744), (130, 764), (300, 600)])
def test_tile_on_a_cpu_where_none_is_given(halo, tile):
    parts = Predictor(card(halo=halo, border="model"), nn.Identity()).stream(
        lambda a, b: torch.ones(3, b - a, 1), 3 * tile, 1
    )
    assert next(iter(parts))[1] == tile


def test_output_can_be_changed_in_place():
    x = torch.rand(3, 8, 8)
    for _, _, rows in Predictor(card(), nn.Conv2d(3, 3, 1)).stream(lambda a, b: x[:, a:b], 8, 8):
        rows.mul_(2)


def test_source_of_wrong_shape_is_refused():
    with pytest.raises(UsageError, match="asked for"):
        list(Predictor(card(), nn.Identity()).stream(lambda a, b: torch.zeros(3, b - a, 9), 10, 10))


def live_bytes(height):
    """Peak of the bytes torch holds for tensors while a picture of this height is streamed, by torch's own count."""
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    predictor = Predictor(card(input="mosaic", halo=2), net, tile=32)
    gc.collect()
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _, _, rows in predictor.stream(lambda a, b: torch.ones(1, b - a, 96), height, 96):
            del rows
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert len(events) > height // 32
    return max(itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


def test_memory_is_flat_as_the_picture_grows():
    short, tall = live_bytes(96), live_bytes(1536)
    assert short > 0
    assert tall <= 1.05 * short


def test_global_context_runs_whole():
    class Whole(nn.Module):
        def forward(self, x):
            return x - x.mean(dim=(2, 3), keepdim=True)

    x = torch.rand(3, 40, 60)
    whole = x - x.mean(dim=(1, 2), keepdim=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(Predictor(card(halo=None), Whole())(x), whole)
        torch.testing.assert_close(Predictor(card(halo=None), Whole(), tile=60)(x), whole)
    with pytest.warns(UserWarning, match="may differ between tiles"):
        tiled = Predictor(card(halo=None), Whole(), tile=20)(x)
    assert (tiled - whole).abs().max() > 1e-3


class Hungry(nn.Identity):
    """Runs out of memory, as CUDA does, for inputs above a size."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, x):
        if x.shape[2] * x.shape[3] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x


def test_out_of_memory_halves_the_tile_and_says_so():
    x = torch.rand(3, 70, 90)
    predictor = Predictor(card(halo=2, period=4), Hungry(24 * 24), tile=50)
    with pytest.warns(UserWarning, match="not enough memory") as caught:
        assert torch.equal(predictor(x), x)
    assert [str(w.message).split("in tiles of ")[1] for w in caught] == ["48; using 24.", "24; using 12."]
    assert predictor.tile == 12


def test_out_of_memory_in_the_middle_goes_on_from_there():
    x = torch.rand(3, 60, 30)

    class Tiring(nn.Identity):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 3 and x.shape[2] > 8:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return x

    with pytest.warns(UserWarning, match="using 5"):
        parts = list(Predictor(card(), Tiring(), tile=10).stream(lambda a, b: x[:, a:b], 60, 30))
    assert [p[0] for p in parts] == [0, *range(10, 60, 5)]
    assert torch.equal(torch.cat([p[2] for p in parts], 1), x)


def test_out_of_memory_without_a_way_out_is_an_error():
    x = torch.rand(3, 8, 8)
    with pytest.raises(RawzooError, match="as a whole"):
        Predictor(card(halo=None), Hungry(1))(x)
    with pytest.warns(UserWarning, match="using"), pytest.raises(RawzooError, match="smallest tile"):
        Predictor(card(period=4), Hungry(1))(x)


def test_wrong_card_is_found():
    with pytest.raises(RawzooError, match="card"):
        Predictor(card(scale=Fraction(2)), nn.Identity())(torch.rand(3, 8, 8))


@pytest.mark.parametrize(
    "arguments",
    [{"device": "nowhere"}, {"device": "cuda:99"}, {"dtype": "float16"}, {"dtype": "int9"}, {"tile": 0}],
)
def test_bad_options_are_refused(arguments):
    with pytest.raises(UsageError):
        Predictor(card(), nn.Identity(), **arguments)


def test_conditions_reach_every_tile():
    class Scaled(nn.Module):
        def forward(self, x, *, cfa, gain, noise):
            assert cfa == "BGGR"
            assert gain.shape == (1,)
            assert noise.shape == (1, 2, 2)
            assert gain.dtype == noise.dtype == torch.float32
            return x * gain + noise[0, 1, 0]

    predictor = Predictor(card(conditioning=("cfa", "gain", "noise")), Scaled(), tile=16)
    x = torch.rand(3, 40, 40)
    for noise in ([[0, 1], [2, 3]], np.array([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([[0.0, 1.0], [2.0, 3.0]])):
        assert torch.equal(predictor(x, cfa="BGGR", gain=0.5, noise=noise), x * 0.5 + 2)


@pytest.mark.parametrize("given", [{}, {"noise": 1.0, "lux": 2.0}])
def test_other_conditions_than_the_card_asks_for_are_refused(given):
    predictor = Predictor(card(conditioning=("noise",)), nn.Identity())
    with pytest.raises(UsageError, match="takes noise beside its input"):
        predictor(torch.zeros(3, 8, 8), **given)


def test_run_passes_the_conditions_on_and_drops_the_batch():
    class Scaled(nn.Module):
        def forward(self, x, *, lux):
            assert lux.shape == (1,)
            return x.mean((1, 2, 3)) * lux

    predictor = Predictor(card(conditioning=("lux",)), Scaled())
    y = predictor.run(torch.full((3, 4, 5), 0.5), lux=3.0)
    assert y.shape == ()
    assert y.item() == 1.5
    for wrong in ({}, {"lux": 1.0, "cfa": 2.0}):
        with pytest.raises(UsageError, match="takes lux"):
            predictor.run(torch.zeros(3, 4, 5), **wrong)


def test_dtype_is_the_cards_first_and_output_is_float32(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)

    class Spy(nn.Conv2d):
        def forward(self, x):
            seen.append((x.dtype, x.is_contiguous(memory_format=torch.channels_last), self.training))
            return super().forward(x)

    fields = {"dtypes": ("bfloat16", "float32")}
    assert Predictor(card(**fields), Spy(3, 3, 1))(torch.rand(3, 8, 8)).dtype == torch.float32
    assert Predictor(card(**fields), Spy(3, 3, 1), dtype="float32")(torch.rand(3, 8, 8)).dtype == torch.float32
    assert seen == [(torch.bfloat16, True, False), (torch.float32, True, False)]


def test_default_dtype_is_one_that_the_device_computes_in(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    fields = {"dtypes": ("bfloat16", "float16", "float32")}
    assert Predictor(card(**fields), nn.Identity()).dtype == torch.float32
    assert Predictor(card(**fields), nn.Identity(), dtype="bfloat16").dtype == torch.bfloat16
    assert Predictor(card(dtypes=("float16",)), nn.Identity()).dtype == torch.float16


def test_module_under_autocast_keeps_its_weights_and_gets_its_input_in_float32():
    class Mixed(nn.Conv2d):
        autocast = True

        def forward(self, x):
            y = super().forward(x)
            assert (x.dtype, self.weight.dtype, y.dtype) == (torch.float32, torch.float32, self.expected)
            return y + x

    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        net = Mixed(3, 3, 1)
        net.expected = dtype
        Predictor(card(dtypes=("bfloat16", "float16", "float32")), net, dtype=dtype)(torch.rand(3, 8, 8))


class Levelled(nn.Module):
    """Each pixel less the picture's mean, less the mean of the squares of that, and a 3x3 convolution."""

    reach = 1

    def __init__(self):
        super().__init__()
        self.first, self.second = PictureMean(), PictureMean()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, x):
        x = x - self.first(x)
        return self.conv(x - self.second(x * x))


GLOBAL = {"halo": None, "border": "model"}


@pytest.mark.parametrize(("tile", "period"), [(8, 1), (13, 1), (16, 4)])
def test_tiles_agree_on_the_means_of_the_picture(tile, period):
    torch.manual_seed(0)
    net = Levelled()
    x = torch.rand(3, 44, 60) * torch.linspace(0, 3, 60)
    steps = []
    whole = Predictor(card(**GLOBAL, period=period), net)(x)
    tiled = Predictor(card(**GLOBAL, period=period), net, tile=tile)(x, progress=steps.append)
    # Two means, one after the other: two passes make both exact.
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    assert steps == sorted(steps)
    assert steps[-1] == pytest.approx(1)
    assert net.first.given is None
    assert net.first.measuring is None


def test_means_are_of_the_cores_of_tiles():
    """The halo is in several tiles, but counts once."""
    net = Levelled()
    net.reach = 6
    x = torch.rand(3, 40, 40) + torch.linspace(0, 3, 40)
    whole, tiled = (Predictor(card(**GLOBAL), net, tile=tile)(x) for tile in (None, 10))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_progress_ends_at_one():
    steps = []
    Predictor(card(), nn.Identity(), tile=16)(torch.rand(3, 40, 40), progress=steps.append)
    assert steps == sorted(steps)
    assert len(steps) == 9
    assert steps[-1] == 1


def test_runs_without_autograd():
    class Spy(nn.Conv2d):
        def forward(self, x):
            assert torch.is_inference_mode_enabled()
            return super().forward(x)

    assert not Predictor(card(), Spy(3, 3, 1))(torch.rand(3, 8, 8)).requires_grad


def test_default_tiles_leave_no_sliver():
    """Nor grow by more than an eighth, nor off the lattice."""
    assert predictor_module._evened(728, 8, 1500, 2000) == 752
    assert predictor_module._evened(512, 2, 600, 100) == 512
    for side in range(1, 3000, 7):
        tile = predictor_module._evened(512, 6, side)
        assert 512 <= tile <= 576
        assert -(-side // tile) <= -(-side // 512)


def test_autocast_of_the_caller_does_not_reach_the_module():
    x, net = torch.rand(3, 8, 8), nn.Conv2d(3, 3, 1)
    predictor = Predictor(card(halo=0), net, dtype="float32")
    alone = predictor(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(predictor(x), alone)
