"""Photographs to train on, generated; and one thread while Lightning trains in this process."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs") / "album"
    folder.mkdir()
    y, x = np.mgrid[0:48, 0:64].astype(np.float32)
    for i in range(8):
        waves = [0.5 + 0.4 * np.sin(x * (0.1 + 0.02 * i) + c) * np.cos(y * 0.15 + i) for c in range(3)]
        Image.fromarray((np.stack(waves, -1) * 255).astype(np.uint8)).save(folder / f"photo-{i}.png")
    return folder


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
