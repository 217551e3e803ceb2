"""RawNIND, the raw natural image noise dataset (Brummer and De Vleeschouwer, arXiv 2501.08924): where it is, and what
its file names say.

Scenes were photographed from a tripod at several ISO. Names are
``<Bayer|X-Trans>_[TEST_]<scene>[_GT]_ISO<n>_sha1=<40 hex>.<suffix>``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SERVER = "https://dataverse.uclouvain.be"
DATASET = "doi:10.14428/DVN/DEQCIM"

_NAME = re.compile(
    r"(?P<scene>(?P<sensor>Bayer|X-Trans)_(?:TEST_)?(?P<title>.+?))(?P<truth>_GT)?_ISO(?P<iso>\d+)_[^/\\]*"
    r"\.(?P<suffix>\w+)$"
)


@dataclass(frozen=True)
class Name:
    """What a file's name says.

    Attributes:
        file: the name.
        scene: with the sensor in front, so that one scene has one kind of mosaic.
        title: the scene alone.
        sensor: ``Bayer`` or ``X-Trans``.
        truth: it is marked as ground truth.
        iso: as EXIF has it, at most 65535.
        suffix: in lower case.
    """

    file: str
    scene: str
    title: str
    sensor: str
    truth: bool
    iso: int
    suffix: str

    @classmethod
    def of(cls, file: str) -> Name | None:
        """None for a file that is not one of the dataset's pictures."""
        found = _NAME.match(file)
        if found is None:
            return None
        scene, title, sensor, iso = found["scene"], found["title"], found["sensor"], int(found["iso"])
        return cls(file, scene, title, sensor, bool(found["truth"]), iso, found["suffix"].lower())

    def is_camera(self, pattern: str) -> bool:
        """Whether a pattern such as ``A7C``, ``X-Trans`` or ``cr2`` fits the sensor, a word of the title, or the
        suffix: names do not say more about the camera."""
        words = (self.sensor, self.suffix, *re.split(r"[-_]", self.title))
        return any(fnmatch.fnmatch(word.lower(), pattern.lower()) for word in words)

    def is_scene(self, pattern: str) -> bool:
        """Whether a pattern such as ``MuseeL-*`` fits the title, or the scene with what is in front of it."""
        return any(fnmatch.fnmatch(text.lower(), pattern.lower()) for text in (self.title, self.scene))


@dataclass(frozen=True)
class Scene:
    """The files of one scene: the truth and its noisy partners, by rising ISO."""

    name: str
    truth: Path
    noisy: tuple[Path, ...]


def scenes(files: Iterable[Path]) -> list[Scene]:
    """Pairs by scene: the truth is the file of the lowest ISO, of several the marked one; all others are its partners.

    (The published code leaves out files below ISO 100, and with them the truth of scenes that have it at ISO 50.)
    """
    by_scene: dict[str, list[tuple[int, bool, Path]]] = {}
    for file in files:
        name = Name.of(file.name)
        if name is not None:
            by_scene.setdefault(name.scene, []).append((name.iso, not name.truth, file))
    found = []
    for scene, members in sorted(by_scene.items()):
        truth, *noisy = (file for _, _, file in sorted(members))
        if noisy:
            found.append(Scene(scene, truth, tuple(noisy)))
    return found


def chosen(names: Iterable[Name], cameras: Sequence[str], scene_patterns: Sequence[str]) -> list[Name]:
    """Those of which a camera pattern and a scene pattern fit; no patterns fit all."""
    return [
        name
        for name in names
        if (not cameras or any(name.is_camera(p) for p in cameras))
        and (not scene_patterns or any(name.is_scene(p) for p in scene_patterns))
    ]
