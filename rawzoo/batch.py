"""Developing many files: each decoded in a process of its own, so that a damaged one costs only itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rawzoo import output, pipeline
from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import RawImage
from rawzoo.raw.worker import DecodeWorker

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor


@dataclass(frozen=True)
class Job:
    """One input file and the file to make of it."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job. ``error`` is empty when it was done or skipped."""

    job: Job
    error: str = ""
    skipped: bool = False
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How every file of a batch is developed; see :func:`rawzoo.develop` and :func:`rawzoo.open`."""

    model: str | Predictor | None = None
    look: pipeline.Look = field(default_factory=pipeline.Look)
    dtype: str | None = None
    quality: int = 95
    open_options: dict[str, Any] = field(default_factory=dict)


def plan_jobs(inputs: Sequence[Path], target: Path, form: str | None = None) -> list[Job]:
    """Pair inputs with outputs.

    Args:
        inputs: files, and folders that stand for the raw files in them.
        target: a file (one input only) or a folder, which is made when needed. A name with a suffix of letters is a
            file, unless a folder of that name exists.
        form: format for outputs in a folder; ``jpg`` unless given.

    Raises:
        UsageError: no inputs, several inputs for one output file, or an output that would overwrite an input.
    """
    sources = [file for path in inputs for file in (_raw_files(path) if path.is_dir() else [path])]
    if not sources:
        raise UsageError("there are no raw files among the inputs.")
    if not target.is_dir() and target.suffix[1:].isalpha():
        named = output.format_of(target.name)
        if form is not None and named != output.format_of(form):
            raise UsageError(f"{target} and --format {form} contradict each other; give one of them.")
        if len(sources) > 1:
            raise UsageError(f"{target} is one file, and there are {len(sources)} inputs; give a folder.")
        jobs = [Job(sources[0], target)]
    else:
        suffix = output.format_of(form or "jpg")
        jobs = [Job(source, target / f"{source.stem}.{suffix}") for source in sources]
    by_target: dict[Path, Path] = {}
    for job in jobs:
        other = by_target.setdefault(job.target, job.source)
        if other != job.source:
            raise UsageError(f"{other} and {job.source} would both become {job.target}; develop them apart.")
        if job.target.exists() and job.source.exists() and job.target.samefile(job.source):
            raise UsageError(f"{job.target} would overwrite its own input; choose another output.")
    return list({job.target: job for job in jobs}.values())


#: Suffixes taken from a folder given as input. A file named on the command line may have any.
RAW_SUFFIXES = frozenset(
    """3fr ari arw bay cap cr2 cr3 crw dcr dcs dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef ptx qtk raf raw
    rw2 rwl sr2 srf srw x3f""".split()  # noqa: SIM905 - a list of strings would be five times as long
)


def _raw_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower().lstrip(".") in RAW_SUFFIXES)


def run(
    jobs: Sequence[Job],
    recipe: Recipe,
    *,
    workers: int = 1,
    resume: bool = False,
    timeout_s: float = 60.0,
    progress: Callable[[Job, float], None] | None = None,
) -> Iterator[Outcome]:
    """Do the jobs, ``workers`` at a time, and yield each outcome as it comes.

    A file that fails is an outcome, never an exception. With ``resume``, an output newer than its input is left
    as it is. Closing the iterator lets the files in work finish and drops the rest.
    """
    here = threading.local()
    decoders: list[DecodeWorker] = []

    def decoder() -> DecodeWorker:
        if not hasattr(here, "decoder"):
            here.decoder = DecodeWorker()
            decoders.append(here.decoder)
        return here.decoder  # type: ignore[no-any-return]

    def advance(job: Job, fraction: float) -> None:
        if progress:
            progress(job, fraction)

    def work(job: Job) -> Outcome:
        if resume and _is_done(job):
            return Outcome(job, skipped=True)
        began = time.perf_counter()
        warnings: tuple[str, ...] = ()
        try:
            raw = decoder().open(job.source, timeout_s=timeout_s, **recipe.open_options)
            warnings = raw.warnings
            develop_file(raw, job.target, recipe, progress=lambda done: advance(job, done))
        except (RawzooError, OSError, MemoryError) as error:
            return Outcome(job, error=str(error) or type(error).__name__, warnings=warnings)
        return Outcome(job, warnings=warnings, seconds=time.perf_counter() - began)

    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="rawzoo")
    try:
        waiting: set[Future[Outcome]] = set()
        for job in jobs:
            waiting.add(pool.submit(work, job))
            if len(waiting) >= 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for worker in decoders:
            worker.close()


def _is_done(job: Job) -> bool:
    try:
        return job.target.stat().st_mtime >= job.source.stat().st_mtime
    except OSError:
        return False


def develop_file(
    raw: RawImage, target: Path, recipe: Recipe, *, progress: Callable[[float], None] | None = None
) -> None:
    """Develop one raw image into one file of the format its suffix names."""
    form = output.format_of(target.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if form == "dng":
        write_dng(target, pipeline.demosaiced(raw, recipe.model))
        return
    look = recipe.look
    picture = pipeline.develop(
        raw,
        recipe.model,
        white_balance=look.white_balance,
        exposure=look.exposure,
        tone=look.tone,
        space=look.space,
        dtype=recipe.dtype or default_dtype(form, look),
        progress=progress,
    )
    output.write_picture(target, picture, space=look.space, exif=raw.exif, quality=recipe.quality)


def default_dtype(form: str, look: pipeline.Look) -> str:
    """The sample type of a format when none is asked for: linear data is never squeezed into 8 bits unasked."""
    if form == "npy" and not look.linear:
        return "uint16"
    if look.linear and "uint16" in output.FORMATS[form] and form != "npy":
        return "uint16"
    return output.FORMATS[form][0]
