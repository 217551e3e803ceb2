"""From raw image to network and back, as the published application does it."""

import json

import numpy as np
import pytest
import torch
from naf_golden import arrays
from torch import nn
from torch.nn import functional

import rawzoo
from rawzoo.errors import RawWarning
from rawzoo.inference.predictor import Predictor
from rawzoo.raw.image import ColorMatrix, Metadata
from rawzoo.zoo import registry
from rawzoo_naf import restorer

MATRIX = ColorMatrix(21, ((0.7, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6)))


def test_tiles_and_their_weights(golden):
    cases, masks = json.loads((golden / "tiling.json").read_text()), arrays(golden, "tiling")
    for name, case in cases.items():
        axes = [
            restorer.fades(size, tile, case["overlap"]) for size, tile in zip(case["base"], case["tile"], strict=True)
        ]
        assert [[start for start, _ in axis] for axis in axes] == case["coords"]
        if f"masks_{name}" in masks:
            found = torch.stack([down[:, None] * across for _, down in axes[0] for _, across in axes[1]])
            torch.testing.assert_close(found[:, None], masks[f"masks_{name}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 300), (256, 256), (257, 449), (700, 600)])
def test_tiles_cover_every_pixel_once(height, width):
    x = torch.rand(3, height, width)
    steps = []
    found = restorer.blended(lambda t, l, b, r: x[:, t:b, l:r], height, width, progress=steps.append)  # noqa: E741
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)
    assert steps == sorted(steps)
    assert steps[-1] == 1


def test_colour_of_the_mosaic(golden):
    with np.load(golden / "rawpost.npz") as data:
        camera = ColorMatrix(21, tuple(map(tuple, data["xyz_to_cam"].tolist())))
        raw = rawzoo.RawImage.from_array(
            np.zeros((4, 4), np.uint16), cfa="RGGB", white_level=9, color_matrices=[camera]
        )
        matrix = restorer.camera_to_rec2020(raw)
        np.testing.assert_allclose(matrix, data["cam_to_rec2020"], atol=1e-12)
        np.testing.assert_allclose(restorer.packed_matrix(matrix), data["rggb4x4"], atol=1e-12)
        packed = functional.pixel_unshuffle(torch.from_numpy(data["mosaic"]), 2)
        mixed = torch.einsum("ij,jhw->ihw", torch.from_numpy(restorer.packed_matrix(matrix)), packed)
        np.testing.assert_allclose(functional.pixel_shuffle(mixed, 2).numpy(), data["mosaic_rec2020"], atol=1e-12)


def test_grain(golden):
    data = arrays(golden, "rawpost")
    image, denoised = data["img"].permute(2, 0, 1), data["den"].permute(2, 0, 1)
    for name, luma, chroma in (("l03_c02", 0.3, 0.2), ("0_0", 0.0, 0.0), ("1_1", 1.0, 1.0)):
        found = restorer.keep_grain(image, denoised, luma, chroma).permute(1, 2, 0)
        torch.testing.assert_close(found, data[f"blend_{name}"], rtol=0, atol=1e-6)


class Spy(nn.Module):
    """Gives back the picture, and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, cond):
        self.seen.append((x, cond))
        return x if x.shape[1] == 3 else functional.interpolate(x[:, [0, 1, 3]], scale_factor=2)


def flat(cfa, height=300, width=270, iso=1600.0):
    """A raw image of one camera colour."""
    colors = {"R": 900, "G": 1500, "B": 700}
    tile = np.array([[colors[c] for c in cfa[:2]], [colors[c] for c in cfa[2:]]], np.uint16)
    mosaic = np.tile(tile, (height // 2 + 1, width // 2 + 1))[:height, :width] + 64
    return rawzoo.RawImage.from_array(
        mosaic, cfa=cfa, black_level=64, white_level=4064, as_shot_neutral=(0.5, 1, 0.7), color_matrices=[MATRIX],
        metadata=Metadata(iso=iso), source="flat.dng",
    )  # fmt: skip


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
@pytest.mark.parametrize(("height", "width"), [(300, 270), (33, 47)])
def test_treenet_sees_rec2020_and_gives_back_camera_colours(cfa, height, width):
    spy = Spy()
    predictor = Predictor(registry.card("treenet"), spy)
    raw = flat(cfa, height, width)
    found = restorer.treenet(predictor, raw)
    camera = torch.tensor([900.0, 1500.0, 700.0]) / 4000
    torch.testing.assert_close(found, camera[:, None, None].expand(3, height, width), rtol=0, atol=1e-5)
    expected = torch.from_numpy(restorer.camera_to_rec2020(raw)).float() @ camera
    for x, cond in spy.seen:
        torch.testing.assert_close(x[0], expected[:, None, None].expand(x.shape[1:]), rtol=0, atol=1e-5)
        assert torch.equal(cond, torch.tensor([[0.25]]))
        assert max(x.shape[2:]) <= 256


def test_a_tile_as_large_as_the_picture_runs_it_whole():
    spy = Spy()
    restorer.treenet(Predictor(registry.card("treenet"), spy, tile=512), flat("RGGB"))
    assert [x.shape for x, _ in spy.seen] == [(1, 3, 300, 270)]


def test_cond_naf_sees_the_packed_mosaic():
    spy = Spy()
    restorer.cond_naf(Predictor(registry.card("cond-naf"), spy, tile=128), flat("BGGR"))
    assert all(x.shape[1] == 4 and max(x.shape[2:]) == 64 for x, _ in spy.seen)


def test_developed_it_is_the_network_s_picture():
    """Through develop, with white balance: a silent network's picture is the demosaiced one."""
    raw = flat("GBRG", 64, 80)
    predictor = Predictor(registry.card("treenet"), Spy())
    found = rawzoo.develop(raw, predictor, space="camera", dtype="float32")
    expected = rawzoo.develop(raw, "malvar", space="camera", dtype="float32")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_unknown_iso():
    spy = Spy()
    with pytest.warns(RawWarning, match=r"flat\.dng: its ISO is unknown, so the network is told 100"):
        restorer.treenet(Predictor(registry.card("treenet"), spy), flat("RGGB", 16, 16, iso=None))
    assert torch.equal(spy.seen[0][1], torch.tensor([[100 / 6400]]))


def test_camera_of_unknown_colour():
    raw = rawzoo.RawImage.from_array(np.zeros((8, 8), np.uint16), cfa="RGGB", white_level=9, source="x.nef")
    with pytest.warns(RawWarning, match=r"x\.nef: the camera's colours are unknown"):
        assert np.array_equal(restorer.camera_to_rec2020(raw), np.eye(3))
    zero = rawzoo.RawImage.from_array(
        np.zeros((8, 8), np.uint16), cfa="RGGB", white_level=9, color_matrices=[ColorMatrix(21, ((0.0,) * 3,) * 3)]
    )
    with pytest.warns(RawWarning, match="colours are unknown"):
        assert np.array_equal(restorer.camera_to_rec2020(zero), np.eye(3))
