"""Picture: a developed picture in memory, and reading one from a PNG, JPEG, TIFF, WebP or NumPy file."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rawzoo.errors import PictureError, RawWarning, UsageError
from rawzoo.icc import icc_profile
from rawzoo.raw import dng_tags, metadata, tiff

if TYPE_CHECKING:
    from torch import Tensor

Float32 = npt.NDArray[np.float32]

#: Suffixes taken from a folder given as input. A file named on its own may have any.
PICTURE_SUFFIXES = frozenset({"png", "jpg", "jpeg", "tif", "tiff", "webp", "npy"})

# Two profiles that differ by less than this, in 0..1, are the same space: scanners and cameras round sRGB's numbers.
_SAME_SPACE = 0.01


@dataclass(frozen=True, eq=False)
class Picture:
    """A developed picture, upright.

    Attributes:
        pixels: float32 ``[H, W, 3]``, sRGB-encoded: 0 is black and 1 is white. What a network made may lie beyond.
        exif: of the source as one TIFF block (see :attr:`RawImage.exif`), or empty.
        warnings: what the file got wrong and what was assumed instead, one sentence each.
        source: file name for messages; empty for arrays.
    """

    pixels: Float32
    exif: bytes = b""
    warnings: tuple[str, ...] = ()
    source: str = ""

    @classmethod
    def from_array(cls, pixels: npt.ArrayLike, *, exif: bytes = b"", source: str = "") -> Picture:
        """A picture of uint8, uint16 (full scale is white) or floating (1 is white) ``[H, W, 3]`` or grey ``[H, W]``.

        Raises:
            UsageError: another shape or dtype, or values that are not finite.
        """
        array = np.asarray(pixels)
        if array.ndim == 2:
            array = np.repeat(array[:, :, None], 3, axis=2)
        if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise UsageError(f"a picture must have shape [H, W, 3] or [H, W], not {list(array.shape)}.")
        if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
            raise UsageError(f"a picture must be uint8, uint16 or floating point, not {array.dtype}.")
        values = array.astype(np.float32)
        if array.dtype.kind == "u":
            values /= np.iinfo(array.dtype).max
        elif not np.isfinite(values).all():
            raise UsageError("a picture must not hold NaN or infinity.")
        return cls(values, exif, source=source)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def picture(self) -> Float32:
        """The pixels, clipped to 0..1; a picture is a task's result (:class:`rawzoo.tasks.Result`) as it is."""
        return np.clip(self.pixels, 0.0, 1.0)

    def tensor(self) -> Tensor:
        """The pixels as a torch tensor, float32 ``[3, H, W]``; a view."""
        import torch

        return torch.from_numpy(self.pixels).permute(2, 0, 1)

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"width": self.width, "height": self.height}


def upright(picture: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Apply an EXIF orientation (1 to 8) to ``[H, W, ...]``; contiguous."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def is_picture(path: Path) -> bool:
    """Whether a file is a developed picture rather than a raw file, by what it holds.

    Many raw files are TIFF inside: a TIFF is a picture if it is named so and has no DNG tags.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"\x93NUMPY")) or head[8:12] == b"WEBP":
                return True
            if path.suffix.lower() not in (".tif", ".tiff") or not tiff.has_tiff_header(head):
                return False
            return dng_tags.find(tiff.read(file)) is None
    except OSError:  # whoever opens it says what is wrong
        return False


def open_picture(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG, JPEG, TIFF or WebP file, 8 or 16 bit a sample, or an ``.npy`` as ``rawzoo`` writes it.

    The result is upright and sRGB: an embedded ICC profile of another space is applied, grey becomes three equal
    channels, and what is transparent is laid on white. What had to be assumed is named in :attr:`Picture.warnings` and
    by a :class:`RawWarning` each.

    Raises:
        PictureError: there is no such file, it is no picture of these formats, it is damaged, or it is in a colour
            model such as CMYK.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder; name a picture in it.")
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read ({error.strerror or error}).") from error
    if data.startswith(b"\x93NUMPY"):
        return _from_npy(path, data)
    samples, mode, profile, exif = _decode(path, data)
    said: list[str] = []
    samples, mode = _without_alpha(path, samples, mode, said)
    picture = Picture.from_array(_to_srgb(path, samples, mode, profile, said))
    for sentence in said:
        warnings.warn(sentence, RawWarning, stacklevel=2)
    orientation = exif.orientation or 1
    pixels = upright(picture.pixels, orientation if orientation in range(1, 9) else 1)
    return Picture(pixels, exif.block(), tuple(said), str(path))


def _from_npy(path: Path, data: bytes) -> Picture:
    try:
        return Picture.from_array(np.load(io.BytesIO(data), allow_pickle=False), source=str(path))
    except (ValueError, EOFError) as error:  # a UsageError is a ValueError
        raise PictureError(f"{path} does not hold a picture: {error}") from error


def _decode(path: Path, data: bytes) -> tuple[npt.NDArray[Any], str, bytes | None, metadata.Exif]:
    """Samples as stored, uint8 or uint16 ``[H, W, C]``; their mode L, LA, RGB or RGBA; ICC profile; EXIF."""
    import imagecodecs
    import tifffile
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's on size; the largest sizes are errors, and damage is one too
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "WEBP")) as image:
                profile = image.info.get("icc_profile")
                if image.format == "TIFF":
                    exif = metadata.read(io.BytesIO(data), tiff.read(io.BytesIO(data)))
                    bits = image.tag_v2.get(258, (1,))[0]  # type: ignore[attr-defined]
                else:
                    block = io.BytesIO(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
                    exif = metadata.read(block, tiff.read(block))
                    bits = data[24] if image.format == "PNG" else 8
                if bits <= 8:
                    return *_eight_bits(image), profile, exif
                form = image.format
        except UnidentifiedImageError as error:
            # Pillow does not know every TIFF of 16 bits.
            if not tiff.has_tiff_header(data[:16]):
                raise PictureError(
                    f"{path} is not a picture, or is damaged: rawzoo reads PNG, JPEG, TIFF, WebP and NumPy files."
                ) from error
            exif = metadata.read(io.BytesIO(data), tiff.read(io.BytesIO(data)))
            profile, form = None, "TIFF"
        except Image.DecompressionBombError as error:
            raise PictureError(f"{path} holds, or claims to hold, a picture too large for memory.") from error
        except Exception as error:
            raise PictureError(f"{path} is damaged ({_first_line(error)}); copy it again.") from error
        try:
            if form == "PNG":
                samples = imagecodecs.png_decode(data)
            else:
                with tifffile.TiffFile(io.BytesIO(data)) as file:
                    page = file.pages.first
                    samples = page.asarray(maxworkers=1)
                    profile = profile or page.iccprofile
                    if page.photometric not in (1, 2):  # black is zero, RGB
                        raise PictureError(f"{path} is neither grey nor RGB; save it as RGB.")
        except PictureError:
            raise
        except Exception as error:
            raise PictureError(f"{path} is damaged ({_first_line(error)}); copy it again.") from error
    samples = np.atleast_3d(samples)
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    if samples.dtype != np.uint16 or samples.ndim != 3 or samples.shape[2] not in modes:
        raise PictureError(
            f"{path} holds {samples.dtype} samples of shape {list(samples.shape)}; rawzoo reads pictures of 8 or 16 "
            "bit a sample, grey or RGB."
        )
    return samples, modes[samples.shape[2]], profile, exif


def _eight_bits(image: Any) -> tuple[npt.NDArray[Any], str]:
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"its colour model is {image.mode}: save it as RGB")
    samples = np.asarray(image)
    return (samples if samples.ndim == 3 else samples[:, :, None]), image.mode


def _without_alpha(path: Path, samples: npt.NDArray[Any], mode: str, said: list[str]) -> tuple[npt.NDArray[Any], str]:
    if not mode.endswith("A"):
        return samples, mode
    color, alpha = samples[..., :-1], samples[..., -1:]
    white = np.iinfo(samples.dtype).max
    if np.any(alpha != white):
        said.append(f"{path} is transparent in places; it was laid on white.")
        share = alpha.astype(np.float64) / white
        color = np.rint(color * share + white * (1.0 - share)).astype(samples.dtype)
    return color, mode[:-1]


def _to_srgb(
    path: Path, samples: npt.NDArray[Any], mode: str, profile: bytes | None, said: list[str]
) -> npt.NDArray[Any]:
    """``[H, W, 3]``: samples of the same dtype where they are sRGB already, float32 where a profile was applied."""
    grey = mode == "L"
    if profile:
        space = {b"RGB ": "rgb", b"GRAY": "gray"}.get(profile[16:20])
        if space != ("gray" if grey else "rgb"):
            said.append(f"{path} has a colour profile of another kind of picture; it was taken as sRGB.")
        else:
            try:
                probe = _probe(grey)
                if np.abs(_transformed(probe, profile, space) - probe / np.float32(65535)).max() > _SAME_SPACE:
                    wide = samples if samples.dtype == np.uint16 else samples.astype(np.uint16) * 257
                    return np.clip(_transformed(wide, profile, space), 0.0, 1.0)
            except Exception:  # noqa: BLE001 - Little CMS refuses damaged profiles in its own ways
                said.append(f"{path} has a damaged colour profile; it was taken as sRGB.")
    return np.repeat(samples, 3, axis=2) if grey else samples


def _probe(grey: bool) -> npt.NDArray[np.uint16]:
    """Colours that tell spaces apart: a grid over the cube, or a ramp of grey."""
    steps = np.linspace(0, 65535, 9).astype(np.uint16)
    if grey:
        return steps[:, None, None]
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 9, 3)


def _transformed(samples: npt.NDArray[Any], profile: bytes, space: str) -> Float32:
    import imagecodecs

    srgb = icc_profile("srgb")
    assert srgb is not None
    if space == "gray":
        samples = samples[..., 0]
    found: Float32 = imagecodecs.cms_transform(
        np.ascontiguousarray(samples),
        profile,
        srgb,
        colorspace=space,
        outcolorspace="rgb",
        outdtype="float32",
    )
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
