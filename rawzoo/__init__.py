"""rawzoo: a model zoo for camera raw data.

>>> raw = rawzoo.open("IMG_0042.CR2")     # mosaic and metadata, nothing lost
>>> net = rawzoo.load("malvar")           # registry: architecture, weights and how to feed it
>>> rgb = rawzoo.develop(raw, model=net)  # tiled, any size, CPU or GPU

Importing this package imports neither torch nor LibRaw; each name is loaded at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rawzoo.picture import Picture, open_picture
    from rawzoo.pipeline import develop
    from rawzoo.raw.dng import write_dng
    from rawzoo.raw.image import RawImage
    from rawzoo.raw.reader import open  # noqa: A004
    from rawzoo.running import run
    from rawzoo.zoo.card import ModelCard, Weights
    from rawzoo.zoo.hookspecs import hookimpl
    from rawzoo.zoo.registry import load, models

    __version__: str

_HOME = {
    "ModelCard": "rawzoo.zoo.card",
    "Picture": "rawzoo.picture",
    "RawImage": "rawzoo.raw.image",
    "Weights": "rawzoo.zoo.card",
    "develop": "rawzoo.pipeline",
    "hookimpl": "rawzoo.zoo.hookspecs",
    "load": "rawzoo.zoo.registry",
    "models": "rawzoo.zoo.registry",
    "open": "rawzoo.raw.reader",
    "open_picture": "rawzoo.picture",
    "run": "rawzoo.running",
    "write_dng": "rawzoo.raw.dng",
}

__all__ = [
    "ModelCard",
    "Picture",
    "RawImage",
    "Weights",
    "develop",
    "hookimpl",
    "load",
    "models",
    "open",
    "open_picture",
    "run",
    "write_dng",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("rawzoo")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'rawzoo' has no attribute {name!r}")
    globals()[name] = value
    return value
