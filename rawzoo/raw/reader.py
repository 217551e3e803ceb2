"""Reading raw files: pixels through LibRaw, or as they are where a DNG stores them so; levels and colour from the most
exact source each file has."""

from __future__ import annotations

import builtins
import math
import os
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo.errors import RawFileError, RawWarning, UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color, dng_tags, metadata, tiff
from rawzoo.raw.dng_tags import DngTags
from rawzoo.raw.image import Box, ColorMatrix, Kind, Metadata, RawImage

#: LibRaw's flip code (4 = transpose, 2 = mirror rows, 1 = mirror columns) to EXIF orientation.
_ORIENTATION_OF_FLIP = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}

#: Where LibRaw finds what EXIF leaves out: the same in TIFF/EP's place and in other units, and, for anything, XMP,
#: MakerNote, DNGPrivateData and Adobe's own EXIF tags.
_ALSO_TOLD_BY = {
    "lens": (42033, 42034, metadata.LENS_MODEL, 50736),
    "iso": (metadata.ISO, 34864, 34865, metadata.EXPOSURE_INDEX, metadata.ISO_SPEED, 41493),
    "shutter_s": (metadata.EXPOSURE_TIME, 37377),
    "aperture": (metadata.F_NUMBER, 37378),
    "focal_length_mm": (metadata.FOCAL_LENGTH, 41989),
    "time": (metadata.DATE_TIME, metadata.DATE_TIME_ORIGINAL, 36868),
}
_PRIVATE, _ADOBE_EXIF = (700, 37500, 50740), 65000

#: What LibRaw and libjpeg print when the compressed data does not make sense.
_DAMAGE = ("data corrupted", "Unexpected end of file", "premature end", "Premature end")


def open(  # noqa: A001 - rawzoo.open, as in wave.open
    path: str | os.PathLike[str],
    *,
    cfa: str | None = None,
    black: float | Sequence[float] | None = None,
    white: float | Sequence[float] | None = None,
) -> RawImage:
    """Open a raw file.

    Everything LibRaw reads; DNGs also in the compressions LibRaw lacks (integer deflate, JPEG XL, LZW), and floating
    point DNGs at full precision. Uncompressed 16-bit DNGs whose tags say everything are read without LibRaw, much
    faster and with the same result. What a file leaves out or gets wrong is replaced by a sound assumption and named in
    :attr:`RawImage.warnings` and by a :class:`RawWarning` each.

    While LibRaw works, standard error of the process goes aside, since LibRaw prints to it; threads that open files
    take turns therefore. Use :class:`rawzoo.raw.worker.DecodeWorker` to decode in parallel, and to survive files that
    crash or hang the decoder.

    Args:
        path: the file.
        cfa, black, white: for mosaics stored as 8- or 16-bit PNG or TIFF, which do not tell: the pattern of the
            top-left pixel (none for monochrome, or for three channels of linear camera RGB), and the levels, one
            number or one per channel as in :meth:`RawImage.from_array`. ``white`` is needed, ``black`` is 0 by
            default.

    Raises:
        RawFileError: there is no such file, it is no raw file, it is damaged, or its pixels cannot be trusted.
        UsageError: ``cfa``, ``black`` or ``white`` make no sense, or are given for a raw file.
    """
    path = Path(path)
    head = _head(path)
    if (cfa, black, white) != (None, None, None):
        raw = _open_picture(path, head, cfa, black, white)
    else:
        try:
            raw = _open_raw(path, head)
        except (ArithmeticError, LookupError, ValueError, struct.error) as error:  # from tags that make no sense
            raise RawFileError(f"{path} is damaged: its tags make no sense ({_first_line(error)}).") from error
    for sentence in raw.warnings:
        warnings.warn(sentence, RawWarning, stacklevel=2)
    return raw


def _head(path: Path) -> bytes:
    """The first bytes of the file, for recognising it."""
    try:
        if path.is_dir():
            raise RawFileError(f"{path} is a folder; name a raw file in it.")
        if not path.is_file():
            state = "is not a regular file; copy it to one" if path.exists() else "does not exist; check the name"
            raise RawFileError(f"{path} {state}.")
        with builtins.open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise RawFileError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not head:
        raise RawFileError(f"{path} is empty; copy it again from the card.")
    return head


def _is_png(head: bytes) -> bool:
    return head.startswith(b"\x89PNG\r\n\x1a\n")


def _is_jpeg(head: bytes) -> bool:
    return head.startswith(b"\xff\xd8\xff")


def _is_tiff(head: bytes) -> bool:
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _open_picture(
    path: Path,
    head: bytes,
    cfa: str | None,
    black: float | Sequence[float] | None,
    white: float | Sequence[float] | None,
) -> RawImage:
    """A mosaic stored as an ordinary picture, with the levels given."""
    if not _is_png(head) and not _is_tiff(head):
        hint = "JPEG loses what a mosaic is for" if _is_jpeg(head) else "raw files know their own"
        raise UsageError(f"{path}: cfa, black and white are for mosaics stored as PNG or TIFF ({hint}).")
    if white is None:
        raise UsageError(f"{path}: the white level of a mosaic stored as PNG or TIFF must be given too (white).")
    if _is_tiff(head):
        with builtins.open(path, "rb") as file:
            if dng_tags.find(tiff.read(file)) is not None:
                raise UsageError(f"{path} is a DNG and knows its own levels; leave out cfa, black and white.")
    try:
        if _is_png(head):
            import imagecodecs

            data = imagecodecs.png_decode(path.read_bytes())
        else:
            import tifffile

            data = tifffile.imread(path)
    except Exception as error:
        raise RawFileError(f"{path} is damaged: {_first_line(error)}; copy it again.") from error
    try:
        raw = RawImage.from_array(
            data, cfa=cfa, black_level=0.0 if black is None else black, white_level=white, source=str(path)
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if data.dtype.kind == "u" and max(raw.white_level) > np.iinfo(data.dtype).max:
        raise UsageError(f"{path}: white level {max(raw.white_level):g} is more than {data.dtype} samples can hold.")
    return raw


@dataclass(frozen=True)
class _Decoded:
    """Pixels, and what the decoder knows about them; None where it knows nothing."""

    data: npt.NDArray[Any]
    kind: Kind
    cfa: str | None
    black: tuple[float, ...] | None = None
    white: tuple[float, ...] | None = None
    active_area: Box | None = None
    default_crop: Box | None = None
    flip: int = 0
    gains: tuple[float, ...] | None = None
    daylight_gains: tuple[float, ...] | None = None
    xyz_to_camera: npt.NDArray[np.float64] | None = None
    camera_to_srgb: npt.NDArray[np.float64] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    damaged: bool = False


def _open_raw(path: Path, head: bytes) -> RawImage:
    size = path.stat().st_size
    with builtins.open(path, "rb") as file:
        directories = tiff.read(file)
        exif = metadata.read(file, directories)
    if not directories and tiff.has_tiff_header(head):
        raise RawFileError(f"{path} is damaged or cut short: its directory of contents is missing; copy it again.")
    dng = dng_tags.find(directories)
    if dng is not None:
        missing = dng.missing_bytes(size)
        if missing:
            raise RawFileError(
                f"{path} is cut short or a mere header: {missing} bytes or more of its image data are missing; "
                "copy it again."
            )
        if dng.kind is None:
            raise RawFileError(
                f"{path} does not say which colour each pixel has, or has other colours than red, green and blue; "
                "rawzoo develops Bayer, X-Trans, monochrome and linear RGB files."
            )
    decoded = _decode(path, head, dng, exif)
    if dng is None and _is_cut_short(directories, size):
        raise RawFileError(f"{path} is cut short: its image data goes on behind the end of the file; copy it again.")
    if dng is not None and dng.shape != decoded.data.shape[:2]:
        dng = None  # LibRaw chose another image of the file, to which these tags do not apply
    return _Assembly(path, decoded, dng, exif).image()


def _is_cut_short(directories: Sequence[tiff.Directory], size: int) -> bool:
    """Whether a TIFF-like raw file lacks image data. Makers' byte counts are not exact, so 1 % may be missing."""
    for directory in (d for top in directories for d in top.with_children()):
        if directory.integer(dng_tags.NEW_SUBFILE_TYPE, 0) & 1:
            continue  # a preview
        for offset, count in tiff.data_ranges(directory):
            if offset != 0xFFFFFFFF and count > 0 and offset + 0.99 * count > size:
                return True
    return False


# Decoding


def _decode(path: Path, head: bytes, dng: DngTags | None, exif: metadata.Exif) -> _Decoded:
    ours = None
    if dng is not None and dng.needs_tifffile:
        ours = _decode_with_tifffile(path, dng)
    elif dng is not None and _tags_suffice(dng, exif):
        ours = _decode_plain(path, dng)
    if ours is not None:
        return ours
    import rawpy

    decoded, opened = None, False
    with _standard_error_aside() as said:
        try:
            with rawpy.imread(str(path)) as reader:
                opened = True
                decoded = _from_libraw(path, reader, dng)
        except (rawpy.LibRawError, rawpy.NotSupportedError, MemoryError, ValueError, NotImplementedError) as error:
            refused = error
    if decoded is not None:
        return replace(decoded, damaged=any(word in line for line in said for word in _DAMAGE))
    if dng is not None and (not opened or dng.is_uncompressed):
        again = _decode_with_tifffile(path, dng)
        if again is not None:
            return again
    raise RawFileError(_refusal(path, head, dng, opened, refused)) from refused


def _refusal(path: Path, head: bytes, dng: DngTags | None, opened: bool, error: Exception) -> str:
    """One sentence on why LibRaw did not open the file, or open it but did not decode it."""
    import rawpy

    if isinstance(error, (MemoryError, rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawTooBigError)):
        return f"{path} holds, or claims to hold, a picture too large for memory."
    if _is_jpeg(head):
        return f"{path} is a JPEG picture, whatever its name says; give the raw file that it was made from."
    if not opened and dng is None and (_is_png(head) or _is_tiff(head)):
        return (
            f"{path} is a picture or mosaic without raw metadata; if it is a mosaic, give its CFA pattern and levels "
            "(cfa, black, white)."
        )
    if not opened and dng is None:
        version = ".".join(map(str, rawpy.libraw_version))
        return (
            f"{path} is not a raw file, or is damaged, or comes from a camera that LibRaw {version} does not know; "
            "check that it is what its name says."
        )
    if isinstance(error, (rawpy.LibRawIOError, rawpy.LibRawDataError)):
        return f"{path} is damaged or cut short: the decoder ran out of sensible data; copy it again from the card."
    return f"{path} cannot be decoded ({_first_line(error)}); convert it to an uncompressed DNG."


def _first_line(error: Exception) -> str:
    value = error.args[0] if error.args else ""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return (text.splitlines() or [type(error).__name__])[0].rstrip(". ")


_standard_error_lock = threading.Lock()


@contextmanager
def _standard_error_aside() -> Iterator[list[str]]:
    """Standard error of the process goes to a file; when the block ends, its lines are in the list given."""
    said: list[str] = []
    with _standard_error_lock, tempfile.TemporaryFile() as aside:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            saved = os.dup(2)
        except (OSError, ValueError):  # a process without standard error
            yield said
            return
        os.dup2(aside.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            aside.seek(0)
            said.extend(aside.read(1 << 16).decode("utf-8", "replace").splitlines())


def _tags_suffice(dng: DngTags, exif: metadata.Exif) -> bool:
    """Whether LibRaw knows nothing about this picture that its tags leave out: see where :class:`_Assembly` asks it."""
    if dng.kind != "mono" and (_neutral(dng.as_shot_neutral) is None or not dng.color_matrices):
        return False
    if exif.orientation is None or (dng.active_area is None and dng_tags.ACTIVE_AREA in dng.raw.tags):
        return False
    shot = exif.metadata()
    unknown = {code for name, codes in _ALSO_TOLD_BY.items() if getattr(shot, name) is None for code in codes}
    if dng.default_crop is None:
        unknown |= {dng_tags.CROP_ORIGIN, dng_tags.CROP_SIZE}
    tags = {*dng.main.tags, *dng.raw.tags, *exif.exif}
    return not unknown or (tags.isdisjoint(unknown.union(_PRIVATE)) and max(tags) < _ADOBE_EXIF)


def _decode_plain(path: Path, dng: DngTags) -> _Decoded | None:
    """Samples of a DNG that stores them as they are, copied from the file once; None for any other."""
    strips = dng.plain_strips()
    if strips is None or dng.kind is None:
        return None
    shape = (*dng.shape, 3) if dng.kind == "linear" else dng.shape
    with builtins.open(path, "rb") as file:
        if sum(count for _, count in strips) > os.fstat(file.fileno()).st_size:
            return None  # strips over each other: more memory than the file is worth
        data = np.empty(shape, np.uint16)
        rest = data.data.cast("B")
        for offset, count in strips:
            file.seek(offset)
            if file.readinto(rest[:count]) != count:
                return None
            rest = rest[count:]
    if (dng.raw.tags[dng_tags.WIDTH].order == "<") != (sys.byteorder == "little"):
        data.byteswap(inplace=True)
    return _Decoded(_linearised(data, dng), dng.kind, dng.cfa)


def _linearised(data: npt.NDArray[np.uint16], dng: DngTags) -> npt.NDArray[np.uint16]:
    table = dng.raw.numbers(dng_tags.LINEARIZATION_TABLE)
    return data if table is None else np.array(table, np.uint16)[np.minimum(data, len(table) - 1)]


def _decode_with_tifffile(path: Path, dng: DngTags) -> _Decoded | None:
    """Pixels of a DNG that LibRaw does not read well; None when tifffile cannot either."""
    if dng.kind is None:
        return None
    import tifffile

    try:
        with _standard_error_aside(), tifffile.TiffFile(path) as file:
            pages = [page for top in file.pages for page in (top, *(top.pages or ()))]  # type: ignore[union-attr]
            data = next(page for page in pages if page.offset == dng.raw.offset).asarray(maxworkers=1)
    except Exception:  # noqa: BLE001 - tifffile raises whatever the file provokes; LibRaw has its say next
        return None
    if data.shape[:2] != dng.shape or data.shape[2:] not in ((), (dng.samples,)):
        return None
    if data.ndim == 3 and dng.samples == 1:
        data = data[..., 0]
    if data.dtype.kind == "u" and data.dtype.itemsize <= 2:
        data = _linearised(data, dng).astype(np.uint16, copy=False)
    elif data.dtype.kind == "f":
        data = data.astype(np.float32, copy=False)
    else:
        return None
    return _Decoded(data, dng.kind, dng.cfa)


def _from_libraw(path: Path, reader: Any, dng: DngTags | None) -> _Decoded:
    import rawpy

    pattern = reader.raw_pattern
    channel_colors: list[list[int]] = [[0], [1], [2]]
    if reader.raw_type == rawpy.RawType.Stack:
        kind, cfa = "linear", None
        if reader.num_colors != 3:
            raise RawFileError(f"{path} has {reader.num_colors} colours a pixel, and rawzoo develops three.")
        # A fourth plane is a second green, or empty.
        data = np.ascontiguousarray(reader.raw_image[..., :3])
    else:
        data = reader.raw_image.copy()
        if dng is not None and dng.shape == data.shape and dng.cfa is not None:
            cfa = dng.cfa  # LibRaw's is wrong for X-Trans with margins
        elif pattern is None or pattern.shape == (1, 1):
            cfa = None
        else:
            cfa = _pattern_of(path, pattern, reader.color_desc.decode("ascii", "replace"))
        kind = {None: "mono", 4: "bayer", 36: "xtrans"}[None if cfa is None else len(cfa)]
        if kind == "mono":
            channel_colors = [[0]]
        elif kind == "bayer" and pattern is not None and pattern.shape == (2, 2):
            # LibRaw numbers colours R, G1, B, G2; which green is which depends on the phase.
            tile = cfa_patterns.channel_tile(str(cfa))
            channel_colors = [sorted(set(pattern[tile == c].tolist())) for c in range(4)]
    if data.dtype != np.uint16:
        data = data.astype(np.float32)

    def by_channel(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(np.mean([values[i] for i in colors])) for colors in channel_colors)

    sizes = reader.sizes
    top, left = sizes.top_margin, sizes.left_margin
    crop = None
    if sizes.crop_width > 0 and sizes.crop_height > 0:
        y, x = sizes.crop_top_margin - top, sizes.crop_left_margin - left
        crop = Box(y, x, y + sizes.crop_height, x + sizes.crop_width)
    white = by_channel([float(reader.white_level)] * 4)
    linear_limit = reader.camera_white_level_per_channel
    if linear_limit is not None and all(reader.white_level / 2 < v <= reader.white_level for v in linear_limit):
        white = by_channel(linear_limit)
    return _Decoded(
        data=data,
        kind=kind,  # type: ignore[arg-type]
        cfa=cfa,
        black=by_channel(reader.black_level_per_channel),
        white=white,
        active_area=Box(top, left, top + sizes.height, left + sizes.width),
        default_crop=crop,
        flip=sizes.flip,
        gains=tuple(reader.camera_whitebalance[:3]),
        daylight_gains=tuple(reader.daylight_whitebalance[:3]),
        xyz_to_camera=np.asarray(reader.rgb_xyz_matrix, dtype=float)[:3],
        camera_to_srgb=np.asarray(reader.color_matrix, dtype=float)[:, :3],
        metadata=_libraw_metadata(reader),
    )


def _pattern_of(path: Path, pattern: npt.NDArray[Any], names: str) -> str:
    """Letters of LibRaw's colour numbers."""
    cfa = "".join(names[i] if i < len(names) else "?" for i in pattern.ravel())
    try:
        cfa_patterns.period(cfa)
    except UsageError as error:
        raise RawFileError(
            f"{path} comes from a sensor with {names} filters in {pattern.shape[0]} x {pattern.shape[1]} cells, and "
            "rawzoo develops Bayer and X-Trans ones."
        ) from error
    return cfa


def _libraw_metadata(reader: Any) -> Metadata:
    """LibRaw's fields start as 0, or 1 where it keeps the logarithm, and 1970: these mean unknown."""
    other = reader.other
    time: datetime | None = other.timestamp
    shutter_and_aperture = (other.shutter_speed, other.aperture) not in ((0.0, 0.0), (1.0, 1.0))
    return Metadata(
        lens=(reader.lens.model or "").strip() or None,
        iso=_known(other.iso_speed),
        shutter_s=_known(other.shutter_speed) if shutter_and_aperture else None,
        aperture=_known(other.aperture) if shutter_and_aperture else None,
        focal_length_mm=_known(other.focal_length),
        time=time.replace(tzinfo=None) if time is not None and time.year > 1970 else None,
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) and value > 0 else None


# From what decoder, DNG tags and EXIF say to one sound picture


class _Assembly:
    """Chooses among the sources of each fact, checks it, and notes what had to be assumed."""

    def __init__(self, path: Path, decoded: _Decoded, dng: DngTags | None, exif: metadata.Exif) -> None:
        self.path, self.decoded, self.dng, self.exif = path, decoded, dng, exif
        self.warnings: list[str] = []
        self.kind, self.cfa = decoded.kind, decoded.cfa
        if dng is not None and dng.kind is not None:
            self.kind, self.cfa = dng.kind, dng.cfa

    def assume(self, sentence: str) -> None:
        self.warnings.append(f"{self.path}: {sentence}.")

    def image(self) -> RawImage:
        self.data = self._data()
        active = self._active_area()
        sample = self.data[active.slices]
        sample = sample[:: max(1, active.height // 512), :: max(1, active.width // 512)]
        if not sample.any() and not self.data.any():
            raise RawFileError(f"{self.path} holds no image data: every sample is zero.")
        black, white = self._levels(sample)
        matrices = self._color_matrices()
        return RawImage(
            data=self.data,
            kind=self.kind,
            cfa=self.cfa,
            black_level=black,
            white_level=white,
            active_area=active,
            default_crop=self._default_crop(active),
            orientation=self._orientation(),
            as_shot_neutral=self._as_shot_neutral(),
            daylight_neutral=self._daylight_neutral(matrices),
            color_matrices=matrices,
            noise_profile=self.dng.noise_profile if self.dng else None,
            noise_reduction=self.dng.noise_reduction if self.dng else None,
            baseline_exposure=self.dng.baseline_exposure if self.dng else 0.0,
            metadata=self._metadata(),
            exif=self.exif.block(),
            warnings=tuple(self.warnings),
            source=str(self.path),
        )

    def _data(self) -> npt.NDArray[Any]:
        data = self.decoded.data
        if (data.ndim == 3) != (self.kind == "linear"):
            raise RawFileError(f"{self.path} was decoded as another kind of image than it says it is; convert it.")
        if self.decoded.damaged:
            self.assume("some of its compressed data is damaged, so parts of the picture are wrong")
        if data.dtype == np.float32 and not np.isfinite(data.sum()):
            self.assume("samples that are not a number are taken as 0")
            data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
        return data

    def _active_area(self) -> Box:
        height, width = self.data.shape[:2]
        whole = Box(0, 0, height, width)
        area = (self.dng.active_area if self.dng else None) or self.decoded.active_area or whole
        clamped = _clamped(area, whole)
        if clamped is None:
            self.assume(f"its active area {tuple(area)} lies outside the sensor, so the whole sensor is used")
            return whole
        if clamped != area:
            self.assume(f"its active area {tuple(area)} reaches beyond the sensor and is cut to {tuple(clamped)}")
        return clamped

    def _default_crop(self, active: Box) -> Box:
        whole = Box(0, 0, active.height, active.width)
        crop = (self.dng.default_crop if self.dng else None) or self.decoded.default_crop or whole
        clamped = _clamped(crop, whole)
        if clamped is None:
            self.assume(f"its default crop {tuple(crop)} lies outside the active area, so all of that is shown")
            return whole
        return clamped

    def _orientation(self) -> int:
        stated = self.exif.orientation
        if stated is None:
            return _ORIENTATION_OF_FLIP.get(self.decoded.flip, 1)
        if stated not in range(1, 9):
            self.assume(f"its orientation {stated} is none of 1 to 8, so it is taken as upright")
            return 1
        return stated

    def _levels(self, sample: npt.NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        black, white = self.decoded.black, self.decoded.white
        if self.dng is not None and (white is None or not self.dng.rescaled_by_libraw):
            black, white = self.dng.black_level, self.dng.white_level
            if self.dng.black_varies:
                self.assume("its black level varies within a colour, and the mean is used")
        channels = {"bayer": 4, "xtrans": 3, "linear": 3, "mono": 1}[self.kind]
        if black is None or len(black) != channels or not all(map(math.isfinite, black)):
            self.assume("it states no usable black level, so 0 is used")
            black = (0.0,) * channels
        largest = float(np.iinfo(self.data.dtype).max) if self.data.dtype.kind == "u" else math.inf
        if white is not None and max(white) > largest:
            self.assume(f"its white level {max(white):g} is more than the samples can hold, so {largest:g} is used")
            white = tuple(min(w, largest) for w in white)
        high = np.percentile(sample, 99.0)
        if high < min(black):
            black = (float(np.percentile(sample, 0.1)),) * channels
            self.assume(f"nearly all of its data is below its black level, so {black[0]:g} is taken as black")
        if white is None or len(white) != channels or not all(low < w for low, w in zip(black, white, strict=True)):
            # The smallest full scale of a converter that holds the data.
            peak = float(self.data.max())
            assumed = 2.0 ** math.ceil(math.log2(max(peak, max(black), 1.0) + 1.0)) - 1.0
            if self.data.dtype.kind == "f" or assumed <= max(black):
                assumed = max(peak, max(black) + 1.0)
            self.assume(f"its white level is not above its black level, so {assumed:g} is taken as white")
            white = (assumed,) * channels
        return black, white

    def _color_matrices(self) -> tuple[ColorMatrix, ...]:
        if self.kind == "mono":
            return ()
        if self.dng is not None and self.dng.color_matrices:
            return self.dng.color_matrices
        for matrix in (self.decoded.xyz_to_camera, self._matrix_from_camera_to_srgb()):
            if matrix is not None and dng_tags.is_usable_matrix(matrix):
                return (ColorMatrix(21, tuple((float(a), float(b), float(c)) for a, b, c in matrix)),)
        self.assume("it has no usable colour matrix, so its colours are taken as sRGB")
        return ()

    def _matrix_from_camera_to_srgb(self) -> npt.NDArray[np.float64] | None:
        """LibRaw's inverse(row-normalised(CM * sRGB to XYZ)) turned back; its daylight gains undo the normalisation."""
        camera_to_srgb, gains = self.decoded.camera_to_srgb, self.decoded.daylight_gains
        if camera_to_srgb is None or gains is None or not all(math.isfinite(g) and g > 0 for g in gains):
            return None
        if not np.all(np.isfinite(camera_to_srgb)) or abs(np.linalg.det(camera_to_srgb)) < 1e-6:
            return None
        normalised = np.linalg.inv(camera_to_srgb) @ np.linalg.inv(color.rgb_to_xyz("srgb"))
        return np.asarray(normalised / np.array(gains)[:, None])

    def _as_shot_neutral(self) -> tuple[float, float, float] | None:
        if self.kind == "mono":
            return None
        stated = self.dng.as_shot_neutral if self.dng else None
        neutral = _neutral(stated)
        if neutral is None and self.decoded.gains is not None:
            neutral = _neutral(_inverse(self.decoded.gains))
        if neutral is None:
            self.assume("it has no usable as-shot white balance, so grey-world takes its place")
        return neutral

    def _daylight_neutral(self, matrices: tuple[ColorMatrix, ...]) -> tuple[float, float, float] | None:
        if self.kind == "mono":
            return None
        if matrices:
            neutral = _neutral(color.matrix_at(matrices, 6504.0) @ color.xy_to_xyz(color.D65_XY))
            if neutral is not None:
                return neutral
        gains = self.decoded.daylight_gains
        # Without a matrix LibRaw's daylight is all ones and means nothing.
        return None if gains is None or set(gains) == {1.0} else _neutral(_inverse(gains))

    def _metadata(self) -> Metadata:
        own, libraw = self.exif.metadata(), self.decoded.metadata
        # A tag that is there and says 0 means unknown, and LibRaw's value comes from nothing better.
        stated = {
            "iso": metadata.ISO,
            "shutter_s": metadata.EXPOSURE_TIME,
            "aperture": metadata.F_NUMBER,
            "focal_length_mm": metadata.FOCAL_LENGTH,
        }
        found = {
            name: getattr(libraw, name)
            for name in ("lens", "time", *stated)
            if getattr(own, name) is None and stated.get(name) not in self.exif.exif
        }
        return replace(own, **found)


def _clamped(box: Box, outer: Box) -> Box | None:
    """The part of ``box`` inside ``outer``; None when there is nothing left worth showing."""
    top, left = max(box.top, outer.top), max(box.left, outer.left)
    bottom, right = min(box.bottom, outer.bottom), min(box.right, outer.right)
    return Box(top, left, bottom, right) if bottom > top and right > left else None


def _inverse(gains: Sequence[float]) -> list[float]:
    return [1.0 / g if math.isfinite(g) and g > 0 else math.nan for g in gains]


def _neutral(values: Sequence[float] | npt.NDArray[np.float64] | None) -> tuple[float, float, float] | None:
    """Three positive numbers scaled so that the largest is 1, or None."""
    if values is None or len(values) != 3:
        return None
    array = np.asarray(values, dtype=float)
    if not np.all(np.isfinite(array)) or array.min() <= 0 or array.max() / array.min() > 100.0:
        return None
    r, g, b = (array / array.max()).tolist()
    return r, g, b
