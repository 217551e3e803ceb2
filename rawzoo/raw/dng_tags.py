"""What the tags of a DNG say (Digital Negative Specification 1.7), as far as :class:`RawImage` has a place for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import tiff
from rawzoo.raw.color import D65_XY, xy_to_xyz
from rawzoo.raw.image import Box, ColorMatrix, Kind

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
SAMPLES, SAMPLE_FORMAT, ROWS_PER_STRIP, PLANAR, TILE_OFFSETS = 277, 339, 278, 284, 324
CFA_REPEAT, CFA_PATTERN, DNG_VERSION, DNG_BACKWARD_VERSION, UNIQUE_CAMERA_MODEL = 33421, 33422, 50706, 50707, 50708
CFA_PLANE_COLOR, CFA_LAYOUT, LINEARIZATION_TABLE = 50710, 50711, 50712
BLACK_REPEAT, BLACK_LEVEL, BLACK_DELTA_H, BLACK_DELTA_V, WHITE_LEVEL = 50713, 50714, 50715, 50716, 50717
CROP_ORIGIN, CROP_SIZE, COLOR_MATRIX, CALIBRATION = 50719, 50720, (50721, 50722), (50723, 50724)
ANALOG_BALANCE, AS_SHOT_NEUTRAL, AS_SHOT_WHITE_XY, BASELINE_EXPOSURE = 50727, 50728, 50729, 50730
ILLUMINANT, ACTIVE_AREA, CALIBRATION_SIGNATURE, PROFILE_SIGNATURE = (50778, 50779), 50829, 50931, 50932
NOISE_PROFILE, NOISE_REDUCTION, ROW_INTERLEAVE, COLUMN_INTERLEAVE = 51041, 50935, 50975, 52547

CFA, LINEAR_RAW = 32803, 34892
UNCOMPRESSED, LOSSLESS_JPEG, LOSSY_JPEG = 1, 7, 34892  # compressions
#: Valid for DNG but not read by the LibRaw of rawpy's wheels: LZW, deflate (integer), PackBits, JPEG XL.
_ONLY_TIFFFILE = (5, 8, 32946, 32773, 52546)


def find(directories: Sequence[tiff.Directory]) -> DngTags | None:
    """The tags of a DNG, or None for another kind of TIFF or a DNG without raw image."""
    if not directories or not any(DNG_VERSION in d.tags for d in directories):
        return None
    raw = [
        d
        for top in directories
        for d in top.with_children()
        if d.integer(PHOTOMETRIC, 0) in (CFA, LINEAR_RAW) and d.integer(WIDTH, 0) > 0 and d.integer(HEIGHT, 0) > 0
    ]
    if not raw:
        return None
    # 0 is the full picture; others are previews, masks, depth maps and enhanced versions of it.
    full = [d for d in raw if d.integer(NEW_SUBFILE_TYPE, 0) == 0] or raw
    return DngTags(directories[0], max(full, key=lambda d: d.integer(WIDTH, 0) * d.integer(HEIGHT, 0)))


@dataclass(frozen=True)
class DngTags:
    """A view of the tags of a DNG: ``main`` is its first directory, ``raw`` that of the raw image.

    Properties are None where the file says nothing or nothing sensible. Levels are in units of the stored data after
    linearisation.
    """

    main: tiff.Directory
    raw: tiff.Directory

    def _anywhere(self, code: int) -> tuple[float, ...] | None:
        """Values of a tag that writers put into either directory."""
        return self.raw.numbers(code) or self.main.numbers(code)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the stored image."""
        return self.raw.integer(HEIGHT, 0), self.raw.integer(WIDTH, 0)

    @property
    def samples(self) -> int:
        return self.raw.integer(SAMPLES, 1)

    @property
    def bits(self) -> int:
        return self.raw.integer(BITS, 16)

    @property
    def is_float(self) -> bool:
        return self.raw.integer(SAMPLE_FORMAT, 1) == 3

    @property
    def is_uncompressed(self) -> bool:
        return self.raw.integer(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED

    @property
    def needs_tifffile(self) -> bool:
        """Whether LibRaw would refuse this DNG, round it, or read it wrongly without saying so.

        It rounds floating point samples to 14 bits, has no integer deflate, and decodes the first strip only of
        lossless JPEG in strips.
        """
        compression = self.raw.integer(COMPRESSION, UNCOMPRESSED)
        strips = TILE_OFFSETS not in self.raw.tags and len(tiff.data_ranges(self.raw)) > 1
        return not self._is_interleaved and (
            self.is_float or compression in _ONLY_TIFFFILE or (compression == LOSSLESS_JPEG and strips)
        )

    @property
    def _is_interleaved(self) -> bool:
        return self.raw.integer(ROW_INTERLEAVE, 1) > 1 or self.raw.integer(COLUMN_INTERLEAVE, 1) > 1

    def plain_strips(self) -> list[tuple[int, int]] | None:
        """``(offset, bytes)`` of the samples of each strip, where these are 16-bit integers as they are, in strips of
        whole rows that hold the image and do not claim more bytes than they need; None for any other way to store
        them."""
        height, width = self.shape
        samples = 3 if self.kind == "linear" else 1
        table = self.raw.tags.get(LINEARIZATION_TABLE)
        if not (
            self.is_uncompressed
            and self.raw.numbers(BITS) in ((16,), (16,) * samples)
            and self.raw.integer(SAMPLE_FORMAT, 1) == 1
            and self.samples == samples
            and self.raw.integer(PLANAR, 1) == 1
            and TILE_OFFSETS not in self.raw.tags
            and (table is None or (table.type == tiff.SHORT and table.count > 0))
            and not self._is_interleaved
        ):
            return None
        ranges = tiff.data_ranges(self.raw)
        rows = min(self.raw.integer(ROWS_PER_STRIP, height), height)
        if rows < 1 or len(ranges) != math.ceil(height / rows):
            return None
        needed = [min(rows, height - first) * width * samples * 2 for first in range(0, height, rows)]
        if any(stored < wanted for (_, stored), wanted in zip(ranges, needed, strict=True)):
            return None
        return [(offset, wanted) for (offset, _), wanted in zip(ranges, needed, strict=True)]

    @property
    def rescaled_by_libraw(self) -> bool:
        """Whether the data LibRaw gives is on another scale than the levels: expanded to 16 bit, or made integer."""
        return self.is_float or self.raw.integer(COMPRESSION, UNCOMPRESSED) == LOSSY_JPEG

    def missing_bytes(self, size: int) -> int:
        """How many bytes of image data a file of ``size`` bytes lacks."""
        ranges = tiff.data_ranges(self.raw)
        stored = sum(count for _, count in ranges)
        if self.is_uncompressed:
            height, width = self.shape
            needed = height * ((width * self.samples * self.bits + 7) // 8)
        else:
            needed = max(1, self._chunks())
        beyond = sum(min(count, max(0, offset + count - size)) for offset, count in ranges)
        return max(beyond, needed - stored, 0)

    def _chunks(self) -> int:
        """How many strips or tiles the image must have, each of one byte at least."""
        height, width = self.shape
        if TILE_OFFSETS in self.raw.tags:
            tile_width, tile_height = self.raw.integer(322, width), self.raw.integer(323, height)
            return math.ceil(width / max(tile_width, 1)) * math.ceil(height / max(tile_height, 1))
        return math.ceil(height / max(self.raw.integer(ROWS_PER_STRIP, height), 1))

    @cached_property
    def kind(self) -> Kind | None:
        """None when the colours are not red, green and blue, or the mosaic is no Bayer or X-Trans one."""
        if self.raw.integer(PHOTOMETRIC, 0) == LINEAR_RAW:
            return {1: "mono", 3: "linear"}.get(self.samples)  # type: ignore[return-value]
        if self.cfa is None:
            return None
        return "bayer" if len(self.cfa) == 4 else "xtrans"

    @cached_property
    def cfa(self) -> str | None:
        """Pattern from the top-left of the active area."""
        rows_columns, cells = self.raw.numbers(CFA_REPEAT) or (2, 2), self.raw.numbers(CFA_PATTERN) or ()
        if self.raw.integer(PHOTOMETRIC, 0) != CFA or self.raw.integer(CFA_LAYOUT, 1) != 1:
            return None
        pattern = "".join("RGB"[int(c)] if c in (0, 1, 2) else "?" for c in cells)
        square = len(rows_columns) == 2 and rows_columns[0] == rows_columns[1] and rows_columns[0] in (2, 6)
        if not square or len(pattern) != rows_columns[0] ** 2 or "?" in pattern:
            return None
        bayer = len(pattern) == 4 and pattern in cfa_patterns.BAYER_PATTERNS
        return pattern if bayer or len(pattern) == 36 else None

    @property
    def channels(self) -> int:
        return {"bayer": 4, "xtrans": 3, "linear": 3}.get(self.kind or "", 1)

    @cached_property
    def black_cells(self) -> npt.NDArray[np.float64] | None:
        """BlackLevel over a whole number of CFA tiles ``[rows, columns, samples]``, mean row and column delta added."""
        values = self.raw.numbers(BLACK_LEVEL)
        if values is None or not np.all(np.isfinite(values)):
            return None
        rows, columns = (int(v) for v in (self.raw.numbers(BLACK_REPEAT) or (1, 1))[:2])
        if not 1 <= rows <= 64 or not 1 <= columns <= 64 or len(values) not in (1, rows * columns * self.samples):
            return None
        cells = np.array(values, dtype=float)
        if cells.size == 1:
            cells = np.full((rows, columns, self.samples), cells[0])
        for code in (BLACK_DELTA_H, BLACK_DELTA_V):
            delta = self.raw.numbers(code)
            if delta is not None and np.all(np.isfinite(delta)):
                cells = cells + np.mean(delta)
        cells = cells.reshape(rows, columns, self.samples)
        n = {"bayer": 2, "xtrans": 6}.get(self.kind or "", 1)
        return np.tile(cells, (math.lcm(rows, n) // rows, math.lcm(columns, n) // columns, 1))

    @property
    def black_level(self) -> tuple[float, ...] | None:
        """Per channel; the mean over the cells of a channel where they differ."""
        cells = self.black_cells
        if cells is None:
            return (0.0,) * self.channels if BLACK_LEVEL not in self.raw.tags else None
        return tuple(float(np.mean(part)) for part in self._by_channel(cells))

    @property
    def black_varies(self) -> bool:
        """Whether the black level differs by more than one unit among the cells of one channel."""
        cells = self.black_cells
        return cells is not None and any(np.ptp(part) > 1.0 for part in self._by_channel(cells))

    def _by_channel(self, cells: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
        if self.cfa is None:
            return [cells[..., i] for i in range(cells.shape[2])]
        tile = cfa_patterns.channel_tile(self.cfa)
        rows, columns = cells.shape[0] // len(tile), cells.shape[1] // len(tile)
        tile = np.tile(tile, (rows, columns))
        return [cells[..., 0][tile == channel] for channel in range(self.channels)]

    @property
    def white_level(self) -> tuple[float, ...] | None:
        """Per channel; by default the largest value the samples can hold, 1 for floating point."""
        values = self.raw.numbers(WHITE_LEVEL)
        if values is None:
            return (1.0 if self.is_float else 2.0**self.bits - 1,) * self.channels
        if len(values) == 1 or self.cfa is not None:
            return (float(values[0]),) * self.channels
        return tuple(float(v) for v in values) if len(values) == self.channels else None

    @property
    def active_area(self) -> Box | None:
        values = self.raw.numbers(ACTIVE_AREA)
        return Box(*(int(v) for v in values)) if values and len(values) == 4 else None

    @property
    def default_crop(self) -> Box | None:
        """Relative to the active area."""
        origin, size = self.raw.numbers(CROP_ORIGIN), self.raw.numbers(CROP_SIZE)
        if not origin or not size or len(origin) != 2 or len(size) != 2 or not np.all(np.isfinite(origin + size)):
            return None
        left, top = round(origin[0]), round(origin[1])
        return Box(top, left, top + round(size[1]), left + round(size[0]))

    @cached_property
    def color_matrices(self) -> tuple[ColorMatrix, ...]:
        """Calibrated: AnalogBalance and the unit's CameraCalibration are multiplied in, as chapter 6 demands.

        Unusable ones (zero, singular, not 3x3) are left out.
        """
        found = []
        balance = self._anywhere(ANALOG_BALANCE) or (1.0, 1.0, 1.0)
        calibrated = self.main.text(CALIBRATION_SIGNATURE) == self.main.text(PROFILE_SIGNATURE)
        for code, calibration_code, illuminant_code in zip(COLOR_MATRIX, CALIBRATION, ILLUMINANT, strict=True):
            values = self._anywhere(code)
            if values is None or len(values) != 9 or len(balance) != 3:
                continue
            matrix = np.array(values).reshape(3, 3)
            calibration = self._anywhere(calibration_code)
            if calibrated and calibration is not None and len(calibration) == 9:
                matrix = np.array(calibration).reshape(3, 3) @ matrix
            matrix = np.diag(balance) @ matrix
            if is_usable_matrix(matrix):
                rows = tuple((float(a), float(b), float(c)) for a, b, c in matrix)
                illuminant = (self._anywhere(illuminant_code) or (0,))[0]
                found.append(ColorMatrix(int(illuminant), rows))
        return tuple(found)

    @property
    def as_shot_neutral(self) -> tuple[float, ...] | None:
        """AsShotNeutral, or the neutral of AsShotWhiteXY under the first matrix; not yet checked."""
        values = self._anywhere(AS_SHOT_NEUTRAL)
        if values is not None:
            return values
        xy = self._anywhere(AS_SHOT_WHITE_XY)
        if xy is None or len(xy) != 2 or not all(math.isfinite(v) and v > 0 for v in xy) or not self.color_matrices:
            return None
        return tuple((np.array(self.color_matrices[0].xyz_to_camera) @ xy_to_xyz((xy[0], xy[1]))).tolist())

    @property
    def noise_profile(self) -> tuple[tuple[float, float], ...] | None:
        """One (scale, offset) pair, or one per channel of :class:`RawImage`."""
        values = self._anywhere(NOISE_PROFILE)
        if values is None or len(values) % 2 or not np.all(np.isfinite(values)) or min(values[::2]) < 0:
            return None
        pairs = tuple(zip(values[::2], values[1::2], strict=True))
        if len(pairs) == 1:
            return pairs
        if len(pairs) != 3 or self.channels < 3:
            return None
        order = [int(c) for c in self.raw.numbers(CFA_PLANE_COLOR) or (0, 1, 2)] if self.cfa else [0, 1, 2]
        if sorted(order) != [0, 1, 2]:
            return None
        r, g, b = (pairs[order.index(color)] for color in range(3))
        return (r, g, g, b) if self.channels == 4 else (r, g, b)

    @property
    def noise_reduction(self) -> float | None:
        """NoiseReductionApplied, 0 to 1."""
        value = (self._anywhere(NOISE_REDUCTION) or (math.nan,))[0]
        return value if 0 <= value <= 1 else None

    @property
    def baseline_exposure(self) -> float:
        value = (self._anywhere(BASELINE_EXPOSURE) or (0.0,))[0]
        return float(value) if math.isfinite(value) and abs(value) <= 20.0 else 0.0


def is_usable_matrix(matrix: npt.NDArray[np.float64]) -> bool:
    """Whether an XYZ-to-camera matrix can be inverted and sees D65 white in every channel."""
    if not np.all(np.isfinite(matrix)) or not np.any(matrix) or np.linalg.cond(matrix) > 1e4:
        return False
    return bool(np.all(matrix @ xy_to_xyz(D65_XY) > 0))
