"""The model does what its card says; rawzoo's own bilinear demosaicer gives the same picture."""

import torch

import rawzoo
from rawzoo.tasks.demosaic import demosaic
from rawzoo.testing import assert_model_contract


def test_contract():
    assert_model_contract("packed-bilinear")


def test_equals_bilinear():
    mosaic = torch.rand(65, 83, generator=torch.Generator().manual_seed(0))
    for cfa in ("RGGB", "BGGR", "GRBG", "GBRG"):
        found = demosaic(rawzoo.load("packed-bilinear", tile=16), mosaic, cfa)
        torch.testing.assert_close(found, demosaic(rawzoo.load("bilinear"), mosaic, cfa))
