"""Many files: each decoded in a process of its own, so that a damaged one costs only itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rawzoo import output, pipeline
from rawzoo.developer import Choice, Developer
from rawzoo.errors import RawzooError, UsageError
from rawzoo.picture import Picture, is_picture
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import RawImage
from rawzoo.raw.worker import DecodeWorker

if TYPE_CHECKING:
    from rawzoo.running import Runner


#: Suffixes taken from a folder given as input. A file named on the command line may have any.
RAW_SUFFIXES = frozenset(
    """3fr ari arw bay cap cr2 cr3 crw dcr dcs dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef ptx qtk raf raw
    rw2 rwl sr2 srf srw x3f""".split()  # noqa: SIM905 - a list of strings would be five times as long
)


@dataclass(frozen=True)
class Job:
    """One input file and the file to make of it, if any."""

    source: Path
    target: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job. ``error`` is empty when it was done or skipped; ``found`` is what the recipe gave."""

    job: Job
    error: str = ""
    skipped: bool = False
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    found: Any = None


class Recipe(Protocol):
    """What is done with every file of a batch, in any number of threads.

    Args:
        job: the file, and where its output goes.
        decoder: opens it.
        said: takes what was assumed about it, one sentence each.
        progress: to be called with the finished fraction, 0 to 1.

    Raises:
        RawzooError, OSError, MemoryError: the file cannot be done; the others will be.
    """

    def __call__(
        self, job: Job, decoder: DecodeWorker, said: list[str], progress: Callable[[float], None]
    ) -> object: ...


@dataclass(frozen=True)
class Develop:
    """The recipe of ``rawzoo develop``; gives what developed the file. See :func:`rawzoo.develop`, :func:`rawzoo.open`.

    Attributes:
        dng: what a DNG is to hold: ``linear``, camera RGB, or ``cfa``, the mosaic without its noise.
    """

    developer: Developer = field(default_factory=Developer)
    look: pipeline.Look = field(default_factory=pipeline.Look)
    denoise: pipeline.Denoise = field(default_factory=pipeline.Denoise)
    dng: Literal["linear", "cfa"] = "linear"
    dtype: str | None = None
    quality: int = 95
    timeout_s: float = 60.0
    open_options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, job: Job, decoder: DecodeWorker, said: list[str], progress: Callable[[float], None]) -> Choice:
        raw = decoder.open(job.source, timeout_s=self.timeout_s, **self.open_options)
        said.extend(raw.warnings)
        choice = self.developer.choose(raw)
        if choice.noise is not None and choice.noise.assumed and choice.denoises:
            said.append(f"{raw.source}: noise {choice.noise.source}.")
        assert job.target is not None
        self._write(choice.told(raw), choice, job.target, progress)
        return choice

    def _write(self, raw: RawImage, choice: Choice, target: Path, progress: Callable[[float], None]) -> None:
        form = output.format_of(target.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # What was chosen for want of noise takes no options of a denoiser.
        denoise = self.denoise if choice.denoises or not choice.why else pipeline.Denoise()
        if form == "dng":
            convert = pipeline.demosaiced if self.dng == "linear" else pipeline.denoised
            write_dng(target, convert(raw, choice.model, denoise, progress=progress), compression="ljpeg")
            return
        look = self.look
        picture = pipeline.develop(
            raw,
            choice.model,
            white_balance=look.white_balance,
            exposure=look.exposure,
            tone=look.tone,
            space=look.space,
            dtype=self.dtype or default_dtype(form, look),
            strength=denoise.strength,
            grain=denoise.grain,
            progress=progress,
        )
        output.write_picture(target, picture, space=look.space, exif=raw.exif, quality=self.quality)


@dataclass(frozen=True)
class Run:
    """The recipe of ``rawzoo run``: gives the result in words and as JSON values, and writes its picture."""

    runner: Runner
    dtype: str | None = None
    quality: int = 95
    timeout_s: float = 60.0
    open_options: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self, job: Job, decoder: DecodeWorker, said: list[str], progress: Callable[[float], None]
    ) -> tuple[str, dict[str, Any]]:
        source = open_source(job.source, decoder, self.timeout_s, **self.open_options)
        said.extend(source.warnings)
        exif = source.exif
        source, how = self.runner.suited(source)
        said.extend([how] * bool(how))
        result = self.runner(source, progress=progress)
        if job.target is not None:
            picture = result.picture
            if picture is None:
                raise UsageError(f"model {self.runner.card.name} gave no picture of {job.source} to write.")
            job.target.parent.mkdir(parents=True, exist_ok=True)
            dtype = self.dtype or output.FORMATS[output.format_of(job.target.name)][0]
            output.write_picture(job.target, output.quantised(picture, dtype), exif=exif, quality=self.quality)
        return str(result), result.to_dict()


def open_source(path: Path, decoder: DecodeWorker, timeout_s: float = 60.0, **raw_options: Any) -> RawImage | Picture:
    """A file as what it is; ``raw_options`` (``cfa``, ``black``, ``white``) make a PNG or TIFF a mosaic."""
    if not raw_options and is_picture(path):
        return decoder.open_picture(path, timeout_s)
    return decoder.open(path, timeout_s, **raw_options)


def plan_jobs(
    inputs: Sequence[Path],
    target: Path | None,
    form: str | None = None,
    *,
    suffixes: Collection[str] = RAW_SUFFIXES,
    what: str = "raw files",
) -> list[Job]:
    """Pair inputs with outputs.

    Args:
        inputs: files, and folders that stand for the files in them with one of the suffixes.
        target: a file (one input only) or a folder, which is made when needed. A name with a suffix of letters is a
            file, unless a folder of that name exists. None: there are no outputs.
        form: format for outputs in a folder; ``jpg`` unless given.
        suffixes, what: which files of a folder are taken: lower-case suffixes, and what they are called.

    Raises:
        UsageError: no inputs, several inputs for one output file, or an output that would overwrite an input.
    """
    sources = [file for path in inputs for file in (_files(path, suffixes) if path.is_dir() else [path])]
    if not sources:
        raise UsageError(f"there are no {what} among the inputs.")
    if target is None:
        return [Job(source) for source in dict.fromkeys(sources)]
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
        assert job.target is not None
        other = by_target.setdefault(job.target, job.source)
        if other != job.source:
            raise UsageError(f"{other} and {job.source} would both become {job.target}; do them apart.")
        if job.target.exists() and job.source.exists() and job.target.samefile(job.source):
            raise UsageError(f"{job.target} would overwrite its own input; choose another output.")
    return list({job.target: job for job in jobs}.values())


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower().lstrip(".") in suffixes)


def run(
    jobs: Sequence[Job],
    recipe: Recipe,
    *,
    workers: int = 1,
    resume: bool = False,
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
        said: list[str] = []
        try:
            found = recipe(job, decoder(), said, lambda done: advance(job, done))
        except (RawzooError, OSError, MemoryError) as error:
            return Outcome(job, error=str(error) or type(error).__name__, warnings=tuple(said))
        return Outcome(job, warnings=tuple(said), seconds=time.perf_counter() - began, found=found)

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
    if job.target is None:
        return False
    try:
        return job.target.stat().st_mtime >= job.source.stat().st_mtime
    except OSError:
        return False


def default_dtype(form: str, look: pipeline.Look) -> str:
    """The sample type of a format when none is asked for: linear data is never squeezed into 8 bits unasked."""
    if form == "npy" and not look.linear:
        return "uint16"
    if look.linear and "uint16" in output.FORMATS[form] and form != "npy":
        return "uint16"
    return output.FORMATS[form][0]
