"""Where each pixel of a noisy raw file lies in the clean one of its scene, and how much brighter it is.

A tripod moves by a few pixels and lamps flicker. Features (ORB) find the coarse movement, enhanced correlation (ECC:
Evangelidis and Psarakis, IEEE TPAMI 2008) refines it to a small part of a pixel. Both map coordinates of the noisy
picture to the clean one, so that ``target(x) = clean(M x)``: the clean picture is resampled and the noisy mosaic stays
as it is. (The published code mixes the two directions.)
"""

from __future__ import annotations

import csv
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rawzoo import ops
from rawzoo.errors import RawzooError, UsageError
from rawzoo.files import atomic_path
from rawzoo.raw import color
from rawzoo.raw.image import RawImage
from rawzoo_naf.rawnind import Name

if TYPE_CHECKING:
    from PIL import Image

    from rawzoo.batch import Job
    from rawzoo.raw.worker import DecodeWorker

try:
    import cv2
except ModuleNotFoundError as missing:
    raise UsageError("aligning pictures needs OpenCV: pip install 'rawzoo-naf[align]'.") from missing

Array = NDArray[np.float32]
#: 2x3: coordinates (x, y, 1) of the noisy picture, pixel centres whole, to (x, y) of the clean one.
Matrix = NDArray[np.float64]

#: Correlation below which a pair is not used, as in the published loader.
THRESHOLD = 0.92

_MATRIX = ("m00", "m01", "m02", "m10", "m11", "m12")
_GAINS = ("gain_r", "gain_g", "gain_b")
COLUMNS = ("noisy", "clean", "use", "scene", "group", "iso", "correlation", "correlation_before", *_GAINS, *_MATRIX)

_IDENTITY = np.eye(2, 3)
_FEATURES, _MATCHES, _LEAST_MATCHES = 2000, 50, 10
#: Longest edge of the pictures in which features are sought.
_FEATURE_EDGE = 1600
_BLUR = (5, 5)
#: Above this part of white a sample may be saturated.
_SATURATED = 0.95
#: What moves by less, in pixels, stays where it is: resampling would blur it for nothing.
_STILL = 0.1


@dataclass(frozen=True)
class Reduced:
    """A raw picture at half its size (X-Trans: a third), where all pixels have all colours and noise is less.

    Attributes:
        rgb: ``[3, h, w]`` linear camera RGB, not balanced; 1 is white.
        grey: ``[h, w]`` square roots of a balanced mean.
        factor: by how much it is smaller.
        shape, cfa: of the mosaic.
    """

    rgb: Array
    grey: Array
    factor: int
    shape: tuple[int, int]
    cfa: str


@dataclass(frozen=True)
class Alignment:
    """How a noisy picture lies on a clean one.

    Attributes:
        matrix: see :data:`Matrix`, for the full-size pictures.
        gains: brightness of R, G, B of the noisy picture over the clean one.
        correlation, before: of both pictures, slightly blurred, aligned and as they are; 1 is equal.
    """

    matrix: Matrix
    gains: tuple[float, float, float]
    correlation: float
    before: float


def reduced(raw: RawImage) -> Reduced:
    """The picture that is aligned.

    Raises:
        RawzooError: it is no mosaic.
    """
    if raw.cfa is None:
        raise RawzooError(f"{raw.source} is not a mosaic.")
    flat = ops.white_balance(raw.mosaic, raw.cfa, raw.black_level, raw.white_level, (1.0, 1.0, 1.0), None)
    if len(raw.cfa) == 4:
        factor, rgb = 2, np.asarray(ops.demosaic(flat, raw.cfa, method="superpixel"))
    else:
        # Three by three X-Trans samples hold each colour, always as often.
        factor, whole = 3, np.asarray(ops.demosaic(flat, raw.cfa))
        h, w = (size // factor for size in whole.shape[1:])
        rgb = whole[:, : h * factor, : w * factor].reshape(3, h, factor, w, factor).mean((2, 4))
    neutral, _ = color.white_balance_neutral(raw, "as-shot")
    weights = (np.array([0.25, 0.5, 0.25]) / neutral).astype(np.float32)
    grey = np.sqrt(np.tensordot(weights, rgb, 1).clip(0, 1))
    return Reduced(np.ascontiguousarray(rgb, np.float32), grey, factor, (raw.height, raw.width), raw.cfa)


def align(noisy: Reduced, clean: Reduced, threshold: float = THRESHOLD) -> Alignment:
    """Align two pictures of one size and CFA pattern.

    Args:
        threshold: below this correlation another way to it is tried.
    """
    before = _correlation(noisy.grey, clean.grey, _IDENTITY)
    best, found = before, _IDENTITY
    for features in (True, False):
        start = _by_features(noisy.grey, clean.grey) if features else _IDENTITY
        matrix = _refined(noisy.grey, clean.grey, start)
        correlation = _correlation(noisy.grey, clean.grey, matrix)
        if correlation > best:
            best, found = correlation, matrix
        if best >= threshold:
            break
    if _moved(noisy.shape, _scaled(found, noisy.factor)) < _STILL:
        best, found = before, _IDENTITY
    gains = _gains(noisy.rgb, clean.rgb, found)
    return Alignment(_scaled(found, noisy.factor), gains, best, before)


def _by_features(noisy: Array, clean: Array) -> Matrix:
    """Rotation and shift by ORB features and RANSAC; the identity where too few agree."""
    factor = max(1, -(-max(noisy.shape) // _FEATURE_EDGE))
    small = [_smaller(picture, factor) for picture in (noisy, clean)]
    blurred = [cv2.GaussianBlur(picture, _BLUR, 0) for picture in small]
    seen = [cv2.convertScaleAbs(p, alpha=255 / max(float(np.percentile(p, 99)), 1e-6)) for p in blurred]
    orb = cv2.ORB.create(_FEATURES)
    (points, words), (clean_points, clean_words) = (orb.detectAndCompute(b, None) for b in seen)
    if words is None or clean_words is None:
        return _IDENTITY
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words, clean_words)
    matches = sorted(matches, key=lambda match: match.distance)[:_MATCHES]
    if len(matches) < _LEAST_MATCHES:
        return _IDENTITY
    here = np.array([points[match.queryIdx].pt for match in matches])
    there = np.array([clean_points[match.trainIdx].pt for match in matches])
    matrix, inliers = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC)
    if matrix is None or inliers.sum() < _LEAST_MATCHES:
        return _IDENTITY
    # One lens from one place: what looks like scale is error. The centre of the features stays where it was found.
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    rotation = matrix[:, :2] / scale
    centre = here[inliers[:, 0] > 0].mean(0)
    shift = matrix @ [*centre, 1] - rotation @ centre
    return _scaled(np.column_stack([rotation, shift]), factor)


def _refined(noisy: Array, clean: Array, start: Matrix) -> Matrix:
    """Rotation and shift by ECC, from coarse to fine; ``start`` where it does not converge."""
    matrix = start
    for factor in (4, 1):
        if min(noisy.shape) < 32 * factor:
            continue
        template, picture = (_smaller(x, factor) for x in (noisy, clean))
        coarse = _scaled(matrix, 1 / factor).astype(np.float32)
        everywhere = np.ones(picture.shape, np.uint8)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
        try:
            _, found = cv2.findTransformECC(template, picture, coarse, cv2.MOTION_EUCLIDEAN, criteria, everywhere, 5)
        except cv2.error:
            return start
        matrix = _scaled(np.asarray(found, np.float64), factor)
    return matrix


def _smaller(picture: Array, factor: int) -> Array:
    if factor == 1:
        return picture
    h, w = (size // factor for size in picture.shape)
    found: Array = picture[: h * factor, : w * factor].reshape(h, factor, w, factor).mean((1, 3))
    return found


def _scaled(matrix: Matrix, factor: float) -> Matrix:
    """The same movement in pictures ``factor`` times as large, of which each old pixel covers ``factor`` squared."""
    rotation, origin = matrix[:, :2], np.full(2, (factor - 1) / 2)
    return np.column_stack([rotation, factor * matrix[:, 2] + origin - rotation @ origin])


def warped(clean: Array, matrix: Matrix) -> Array:
    """The clean picture ``[h, w]`` or ``[h, w, C]`` as the noisy one saw it."""
    height, width = clean.shape[:2]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(clean, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(found, np.float32)


def _moved(shape: Sequence[int], matrix: Matrix) -> float:
    """The farthest that a pixel is moved along an axis."""
    corners = np.array([(x, y, 1.0) for x in (0, shape[-1]) for y in (0, shape[-2])])
    return float(np.abs(corners @ matrix.T - corners[:, :2]).max())


def _inner(shape: Sequence[int], matrix: Matrix) -> tuple[slice, slice]:
    """The part of the picture that both saw."""
    height, width = shape[-2:]
    margin = int(np.ceil(_moved(shape, matrix))) + 4
    margin = min(margin, min(height, width) // 3)
    return slice(margin, height - margin), slice(margin, width - margin)


def _correlation(noisy: Array, clean: Array, matrix: Matrix) -> float:
    inner = _inner(noisy.shape, matrix)
    a, b = (cv2.GaussianBlur(x, _BLUR, 0)[inner].astype(np.float64) for x in (noisy, warped(clean, matrix)))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def _gains(noisy: Array, clean: Array, matrix: Matrix) -> tuple[float, float, float]:
    """Least squares through the origin, over means of cells in which nothing is saturated."""
    inner = _inner(noisy.shape, matrix)
    cell = 8
    saturated = np.maximum(noisy.max(0), warped(np.ascontiguousarray(clean.max(0)), matrix)) > _SATURATED
    good = _smaller(saturated[inner].astype(np.float32), cell) == 0
    found = []
    for ours, theirs in zip(noisy, clean, strict=True):
        y, x = (_smaller(p[inner], cell)[good].astype(np.float64) for p in (ours, warped(theirs, matrix)))
        power = float((x * x).sum())
        gain = float((x * y).sum()) / power if power > 0 else 1.0
        found.append(gain if gain > 0 else 1.0)
    return found[0], found[1], found[2]


class Table:
    """The CSV file of pairs that :class:`rawzoo.training.datasets.Pairs` reads; written anew, whole, after each pair.

    Args:
        path: of the file; rows that are in it stay as they are, what a person changed included.

    Raises:
        UsageError: there is a file that is no such table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], dict[str, str]] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != COLUMNS:
                    raise UsageError(f"{path} is not a table of rawzoo naf align; give another --output.")
                self._rows = {(row["noisy"], row["clean"]): row for row in reader}

    @property
    def rows(self) -> list[dict[str, str]]:
        """By scene, and by ISO within it."""
        return sorted(self._rows.values(), key=lambda row: (row["scene"], int(row["iso"]), row["noisy"]))

    def relative(self, path: Path) -> str:
        """A path as the table has it: from its own folder."""
        return Path(os.path.relpath(path.absolute(), self.path.parent.absolute())).as_posix()

    def has(self, noisy: Path, clean: Path) -> bool:
        """Whether the pair is in it."""
        return (self.relative(noisy), self.relative(clean)) in self._rows

    def add(self, noisy: Path, clean: Path, found: Alignment, threshold: float) -> None:
        """Add a pair; ``use`` is 1 where the correlation reaches the threshold, else 0."""
        name = Name.of(noisy.name)
        assert name is not None
        row = {
            "noisy": self.relative(noisy),
            "clean": self.relative(clean),
            "use": str(int(found.correlation >= threshold)),
            "scene": name.scene,
            "group": f"ISO_{name.iso}",
            "iso": str(name.iso),
            "correlation": f"{found.correlation:.5f}",
            "correlation_before": f"{found.before:.5f}",
            **{key: f"{value:.6f}" for key, value in zip(_GAINS, found.gains, strict=True)},
            **{key: f"{value:.8f}" for key, value in zip(_MATRIX, found.matrix.ravel(), strict=True)},
        }
        with self._lock:
            self._rows[row["noisy"], row["clean"]] = row
            with atomic_path(self.path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(self.rows)


@dataclass(frozen=True)
class AlignPair:
    """What :func:`rawzoo.batch.run` does with each noisy file.

    Attributes:
        clean: the truth of each noisy file.
        table: gets each pair as soon as it is done.
        threshold, timeout_s: see :meth:`Table.add` and :class:`rawzoo.raw.worker.DecodeWorker`.
    """

    clean: dict[Path, Path]
    table: Table
    threshold: float = THRESHOLD
    timeout_s: float = 60.0
    # The truth that each decoder opened last; files of a scene come one after another.
    _last: dict[DecodeWorker, tuple[Path, Reduced]] = field(default_factory=dict)

    def __call__(
        self,
        job: Job,
        decoder: DecodeWorker,
        said: list[str],  # noqa: ARG002 - as every recipe
        progress: Callable[[float], None],  # noqa: ARG002
    ) -> None:
        path = self.clean[job.source]
        if self._last.get(decoder, (None,))[0] != path:
            self._last[decoder] = path, reduced(decoder.open(path, self.timeout_s))
        noisy, clean = reduced(decoder.open(job.source, self.timeout_s)), self._last[decoder][1]
        if (noisy.shape, noisy.cfa) != (clean.shape, clean.cfa):
            raise RawzooError(f"{job.source} and {path} have not the same size and CFA pattern.")
        self.table.add(job.source, path, align(noisy, clean, self.threshold), self.threshold)


_THUMBNAIL = 360


@dataclass(frozen=True)
class Look:
    """What :func:`rawzoo.batch.run` does with a badly aligned pair: a strip for the contact sheet.

    Attributes:
        rows: of the table, by the path of the noisy file.
        folder: which paths in the table start from.
    """

    rows: dict[Path, dict[str, str]]
    folder: Path
    timeout_s: float = 60.0

    def __call__(
        self,
        job: Job,
        decoder: DecodeWorker,
        said: list[str],  # noqa: ARG002 - as every recipe
        progress: Callable[[float], None],  # noqa: ARG002
    ) -> Image.Image:
        row = self.rows[job.source]
        noisy = reduced(decoder.open(job.source, self.timeout_s))
        clean = reduced(decoder.open(self.folder / row["clean"], self.timeout_s))
        return strip(noisy, clean, row)


def strip(noisy: Reduced, clean: Reduced, row: dict[str, str]) -> Image.Image:
    """Noisy and aligned clean picture, and the centre of both on each other: noisy red, clean cyan, so that where they
    do not fit there are coloured seams."""
    from PIL import Image, ImageDraw

    matrix = _scaled(np.array([float(row[key]) for key in _MATRIX]).reshape(2, 3), 1 / noisy.factor)
    a, b = noisy.grey, warped(clean.grey, matrix)
    top, left = ((size - min(size, _THUMBNAIL)) // 2 for size in a.shape)
    centre = slice(top, top + _THUMBNAIL), slice(left, left + _THUMBNAIL)
    both = np.stack([a[centre], b[centre], b[centre]], -1)
    out = Image.new("RGB", (3 * _THUMBNAIL, _THUMBNAIL * 3 // 4 + 24), (27, 27, 29))
    for i, picture in enumerate((a, b, both)):
        white = max(float(np.percentile(picture, 99)), 1e-6)
        image = Image.fromarray((picture / white * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
        image.thumbnail((_THUMBNAIL - 4, _THUMBNAIL * 3 // 4))
        out.paste(image, (i * _THUMBNAIL, 20))
    text = f"{Path(row['noisy']).name}   correlation {row['correlation']}, before {row['correlation_before']}"
    ImageDraw.Draw(out).text((2, 4), text, fill=(236, 236, 238))
    return out


def write_sheets(strips: Sequence[Image.Image], table: Path, rows: int = 40) -> list[Path]:
    """Contact sheets, PNG, of so many strips each, beside the table, in place of earlier ones."""
    from PIL import Image

    for old in table.parent.glob(f"{table.stem}-bad-*.png"):
        old.unlink()
    paths = []
    for number, start in enumerate(range(0, len(strips), rows), 1):
        part = strips[start : start + rows]
        sheet = Image.new("RGB", (part[0].width, sum(each.height for each in part)))
        top = 0
        for each in part:
            sheet.paste(each, (0, top))
            top += each.height
        path = table.with_name(f"{table.stem}-bad-{number}.png")
        with atomic_path(path) as aside:
            sheet.save(aside, "png")
        paths.append(path)
    return paths
