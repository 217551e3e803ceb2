"""Synthetic raw data: what a camera would have recorded of a developed photograph.

The steps of "unprocessing" (Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section 3) with
the sensor's own faults added: linear sRGB -> camera RGB by a random plausible matrix -> exposure -> white balance
divided out -> mosaic -> photons and reading (:mod:`rawzoo.raw.noise`) -> rows, black level and defects -> saturation
and quantisation -> black subtracted, balanced again, as :func:`rawzoo.develop` hands it to a model.

Everything works on batches of torch tensors on any device, and draws from the given generator only: the same seed
gives the same data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color
from rawzoo.raw.image import ColorMatrix, RawImage
from rawzoo.raw.noise import SENSORS, Sensors

#: XYZ to camera under D65, times 10000, as the makers' DNG files have them: Nexus 6P, Sony A7R and RX100 IV, Olympus
#: E-M10 and E-M1, Canon 5D Mark III, 6D and 7D.
_MATRICES = (
    (10234, -2969, -2266, -5625, 16328, -469, -703, 2188, 6406),
    (4913, -541, -202, -6130, 13513, 2906, -1564, 2151, 7183),
    (6596, -2079, -562, -4782, 13016, 1933, -970, 1581, 5181),
    (8380, -2630, -639, -2887, 10725, 2496, -627, 1427, 5438),
    (7687, -1984, -606, -4327, 11928, 2721, -1381, 2339, 6452),
    (6722, -635, -963, -4287, 12460, 2028, -908, 2162, 5668),
    (7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758),
    (6844, -996, -856, -3876, 11761, 2396, -593, 1772, 6198),
)


# The EXIF number of daylight, in which photographs are taken to be.
_D65 = 21


@dataclass(frozen=True)
class Settings:
    """How varied the exposures are. Pairs are lower and upper bounds.

    Attributes:
        sensors: the noise.
        clean: share of pictures without any noise or fault.
        brightness: of the photograph's white relative to the sensor's, log-uniform; above 1 highlights saturate.
        red_gain, blue_gain: white balance, log-uniform; green is 1.
        bits: of the converter, uniform.
        black_error: of the black level, as the standard deviation in read noises.
        rows: share of pictures with row noise.
        defects: probability that a pixel is stuck, in the pictures with defects.
        defective: share of pictures with defects.
        clip: share of pictures whose balanced mosaic is clipped at 1, as it is for output that ends at white.
        level_error: the stated noise level is wrong by this factor's logarithm, as a standard deviation.
        vivid: share of pictures taken by a sensor that tells sRGB's primaries apart, as no camera does: camera RGB then
            has the saturation of colours outside sRGB, which photographs do not have and scenes do.
    """

    sensors: Sensors = field(default_factory=lambda: SENSORS)
    clean: float = 0.05
    brightness: tuple[float, float] = (0.15, 1.6)
    red_gain: tuple[float, float] = (1.2, 2.8)
    blue_gain: tuple[float, float] = (1.2, 3.0)
    bits: tuple[int, int] = (10, 16)
    black_error: float = 0.05
    rows: float = 0.3
    defects: float = 1e-4
    defective: float = 0.3
    clip: float = 0.5
    level_error: float = 0.0
    vivid: float = 0.0


@dataclass(frozen=True)
class Exposures:
    """What a batch of N pictures is taken with; float32 on one device.

    Attributes:
        matrix: ``[N, 3, 3]`` linear sRGB to white-balanced camera RGB; rows sum to 1.
        gains: ``[N, 3]`` white balance of R, G, B; green 1.
        brightness: ``[N]`` factor of the photograph.
        scale, offset: ``[N]`` the noise model, in units of the sensor's white; both 0 for no noise.
        rows: ``[N]`` standard deviation of whole rows.
        black_error: ``[N]`` added to every pixel.
        defects: ``[N]`` probability that a pixel is stuck.
        levels: ``[N]`` steps of the converter from black to white; infinite for none.
        clip: ``[N]`` upper bound of the balanced mosaic; infinite for none.
        stated: ``[N]`` factor by which the stated noise differs from the real.
    """

    matrix: Tensor
    gains: Tensor
    brightness: Tensor
    scale: Tensor
    offset: Tensor
    rows: Tensor
    black_error: Tensor
    defects: Tensor
    levels: Tensor
    clip: Tensor
    stated: Tensor

    def at_noise(self, scale: float, offset: float) -> Exposures:
        """The same pictures with this noise, photographed without faults, not brighter than the photographs."""
        n = len(self.scale)
        zero, one = self.scale.new_zeros(n), self.scale.new_ones(n)
        return Exposures(
            matrix=self.matrix,
            gains=self.gains,
            brightness=one,
            scale=scale * one,
            offset=offset * one,
            rows=zero,
            black_error=zero,
            defects=zero,
            levels=one * math.inf,
            clip=one * math.inf,
            stated=one,
        )


@dataclass(frozen=True)
class Recorded:
    """A batch of synthetic raw pictures; float32, balanced: 1 is the sensor's white of green.

    Attributes:
        mosaic: ``[N, 1, H, W]`` as recorded.
        target: ``[N, 3, H, W]`` camera RGB without noise and faults, saturated where the sensor is.
        noise: ``[N, C, 2]`` (scale, offset) of ``variance = scale * value + offset`` per channel of the CFA, for
            values of the balanced mosaic.
        to_srgb: ``[N, 3, 3]`` camera RGB to linear sRGB; white stays white.
        cfa: pattern at the top-left of ``mosaic``.
    """

    mosaic: Tensor
    target: Tensor
    noise: Tensor
    to_srgb: Tensor
    cfa: str

    def to_dict(self) -> dict[str, Any]:
        """By attribute name."""
        return dict(vars(self))


def linear(photographs: Tensor) -> Tensor:
    """sRGB-encoded uint8 ``[..., 3, H, W]`` to linear float32 0..1 of the same shape."""
    table = torch.from_numpy(color.srgb_decode(np.arange(256) / 255).astype(np.float32))
    return table.to(photographs.device)[photographs.long()]


def photographed(
    pixels: NDArray[np.float32], noise: tuple[float, float], cfa: str, seed: int
) -> tuple[RawImage, NDArray[np.float32]]:
    """A photograph as a camera would have taken it, with a noise of known strength and no other fault.

    Args:
        pixels: ``[H, W, 3]``, sRGB-encoded, 0..1.
        noise: (a, b): variance = a x + b of the signal between black (0) and white (1).
        cfa: pattern at the top-left pixel.
        seed: of the camera's colours, the light and the noise.

    Returns:
        The raw image, not quantised, and the camera RGB it should become: float32 ``[H, W, 3]``, white-balanced, 1 is
        the sensor's white of green.
    """
    generator = Generator().manual_seed(seed)
    exposures = random_exposures(1, Settings(), generator).at_noise(*noise)
    scene = torch.from_numpy(color.srgb_decode(pixels).astype(np.float32)).permute(2, 0, 1)[None]
    recorded = expose(scene, exposures, cfa, generator)
    gains, matrix = exposures.gains[0].double().numpy(), exposures.matrix[0].double().numpy()
    balance = (torch.from_numpy(gains).float()[:, None, None] * _cells(cfa, *pixels.shape[:2])).sum(0)
    to_camera = matrix / gains[:, None] @ np.linalg.inv(color.rgb_to_xyz("srgb"))
    raw = RawImage.from_array(
        (recorded.mosaic[0, 0] / balance).numpy(),
        cfa=cfa,
        black_level=0.0,
        white_level=1.0,
        as_shot_neutral=tuple((1.0 / gains).tolist()),
        color_matrices=(ColorMatrix(_D65, tuple(map(tuple, to_camera.tolist()))),),
        noise_profile=(noise,),
    )
    return raw, recorded.target[0].permute(1, 2, 0).numpy()


def random_exposures(n: int, settings: Settings, generator: Generator) -> Exposures:
    """Draw what ``n`` pictures are taken with, on the generator's device."""
    device = generator.device

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator, device=device)

    def log_uniform(bounds: tuple[float, float]) -> Tensor:
        return uniform(math.log(bounds[0]), math.log(bounds[1])).exp()

    def log_normal(median: float, sigma: float) -> Tensor:
        return median * (sigma * torch.randn(n, generator=generator, device=device)).exp()

    def share(probability: float) -> Tensor:
        return (torch.rand(n, generator=generator, device=device) < probability).float()

    sensors = settings.sensors
    # Any mixture of real cameras is a plausible one: weights uniform over the simplex.
    weights = -torch.log(1.0 - torch.rand(n, len(_MATRICES), generator=generator, device=device))
    matrix = torch.einsum("nk,kij->nij", weights / weights.sum(1, keepdim=True), _camera_matrices().to(device))
    gains = torch.stack([log_uniform(settings.red_gain), torch.ones(n, device=device), log_uniform(settings.blue_gain)])

    # ISO is log-uniform up to where the sensor is no longer used.
    per_iso = log_uniform(sensors.scale_per_iso)
    last = (sensors.max_scale / per_iso).clamp(*sensors.iso)
    iso = sensors.iso[0] * (last / sensors.iso[0]) ** torch.rand(n, generator=generator, device=device)
    noisy = 1.0 - share(settings.clean)
    electrons = torch.hypot(log_normal(*sensors.read_electrons), log_normal(*sensors.floor_electrons) * 100.0 / iso)
    scale = per_iso * iso * noisy
    read = scale * electrons
    bits = torch.randint(settings.bits[0], settings.bits[1] + 1, (n,), generator=generator, device=device)
    # Black lies at 1/16 of the converter's range, as it does in most cameras.
    levels = torch.where(noisy > 0, 15 / 16 * 2.0**bits, math.inf)
    exposures = Exposures(
        matrix=matrix,
        gains=gains.T.contiguous(),
        brightness=log_uniform(settings.brightness),
        scale=scale,
        offset=read**2,
        rows=read * log_uniform(sensors.row_share) * share(settings.rows),
        black_error=read * settings.black_error * torch.randn(n, generator=generator, device=device),
        defects=noisy * settings.defects * share(settings.defective),
        levels=levels,
        clip=torch.where(share(settings.clip) > 0, 1.0, math.inf),
        stated=log_normal(1.0, settings.level_error),
    )
    if not settings.vivid:
        return exposures
    vivid = share(settings.vivid)[:, None, None] > 0
    return replace(exposures, matrix=torch.where(vivid, torch.eye(3, device=device), matrix))


def expose(photographs: Tensor, exposures: Exposures, cfa: str, generator: Generator) -> Recorded:
    """Photograph the photographs.

    Args:
        photographs: linear sRGB ``[N, 3, H, W]``, 0..1, on the generator's device.
        exposures: of as many pictures.
        cfa: pattern at the top-left pixel, Bayer or X-Trans.

    Raises:
        UsageError: another shape, or no such pattern.
    """
    n, channels, height, width = photographs.shape if photographs.ndim == 4 else (0, 0, 0, 0)
    if channels != 3 or n != len(exposures.scale):
        raise UsageError(
            f"photographs must have shape [{len(exposures.scale)}, 3, H, W], not {list(photographs.shape)}."
        )
    e, device = exposures, photographs.device
    gains = e.gains[:, :, None, None]
    sensor = torch.einsum("nij,njhw->nihw", e.matrix * (e.brightness[:, None, None] / e.gains[:, :, None]), photographs)
    sensor = sensor.clamp(0.0, 1.0)
    target = torch.minimum(sensor * gains, _per_picture(e.clip))

    cells = _cells(cfa, height, width).to(device)
    clean = (sensor * cells).sum(1, keepdim=True)
    values = _with_noise(clean, e, generator)
    levels = _per_picture(e.levels)
    # Stored at 1/16 of the range above 0: noise below black is kept as far as a converter keeps it.
    stored = values.clamp(-1 / 15, 1.0)
    stored = torch.where(levels.isinf(), stored, torch.round(stored * levels) / levels)
    balance = (gains * cells).sum(1, keepdim=True)
    mosaic = torch.minimum(stored * balance, _per_picture(e.clip))

    # Rows and quantisation are part of what a profile of the camera would measure.
    offset = e.offset + e.rows**2 + 1 / (12 * e.levels**2)
    gain = e.gains[:, _color_of_channel(cfa)]
    noise = torch.stack([gain * e.scale[:, None], gain**2 * offset[:, None]], -1) * e.stated[:, None, None]
    return Recorded(mosaic, target, noise, _inverse(e.matrix), cfa)


def _with_noise(clean: Tensor, e: Exposures, generator: Generator) -> Tensor:
    n, _, height, _ = clean.shape
    scale = _per_picture(e.scale)
    shot = scale > 0
    electrons = torch.poisson(clean / torch.where(shot, scale, 1.0), generator=generator)
    values = torch.where(shot, electrons * scale, clean)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=clean.device)

    values = values + _per_picture(e.offset.sqrt()) * normal(*clean.shape)
    values = values + _per_picture(e.rows) * normal(n, 1, height, 1) + _per_picture(e.black_error)
    # A stuck pixel holds any value; one random number says both whether and which.
    draw = torch.rand(clean.shape, generator=generator, device=clean.device)
    defects = _per_picture(e.defects)
    return torch.where(draw < defects, draw / defects.clamp_min(1e-12), values)


def _inverse(matrix: Tensor) -> Tensor:
    """Of ``[N, 3, 3]``, by cofactors: torch.linalg.inv would make a GPU wait."""
    a, b, c = matrix.unbind(1)
    cofactors = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2)
    return cofactors / (a * cofactors[:, :, 0]).sum(1)[:, None, None]


def _per_picture(values: Tensor) -> Tensor:
    return values[:, None, None, None]


@lru_cache(maxsize=1)
def _camera_matrices() -> Tensor:
    """``[K, 3, 3]`` linear sRGB to balanced camera RGB."""
    xyz_to_camera = np.array(_MATRICES).reshape(-1, 3, 3) / 10000
    found = xyz_to_camera @ color.rgb_to_xyz("srgb")
    return torch.from_numpy(found / found.sum(axis=2, keepdims=True)).float()


@lru_cache(maxsize=64)
def _cells(cfa: str, height: int, width: int) -> Tensor:
    """``[3, H, W]``, 1 where the mosaic has that colour."""
    tile = torch.from_numpy(cfa_patterns.color_tile(cfa))
    period = len(tile)
    cells = torch.nn.functional.one_hot(tile, 3).permute(2, 0, 1).float()
    rows, columns = -(-height // period), -(-width // period)
    return cells.repeat(1, rows, columns)[:, :height, :width].contiguous()


def _color_of_channel(cfa: str) -> list[int]:
    return ["RGB".index(name[0]) for name in cfa_patterns.channels(cfa)]
