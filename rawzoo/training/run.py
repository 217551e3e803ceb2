"""A run: everything a recipe names, put together, trained by Lightning, and written as safetensors.

A run's folder holds ``recipe.yaml`` (resolved), ``metrics.jsonl``, ``last.ckpt`` and ``best.ckpt``, ``samples/``,
``weights.safetensors`` (of the best validation so far), and what the loggers write.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import rawzoo
from rawzoo.errors import RawzooError, UsageError
from rawzoo.files import atomic_path
from rawzoo.training import recipe as recipes
from rawzoo.training.datasets import Batch, TrainingData, loader
from rawzoo.training.module import TrainingModule
from rawzoo.training.recipe import Recipe
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard
from rawzoo.zoo.weights import Provenance

_log = logging.getLogger("rawzoo")


def build(recipe: Recipe) -> TrainingModule:
    """The network, its data and its loss, on the CPU.

    Raises:
        UsageError: the data or the model cannot be had as the recipe asks.
        WeightsError: the weights to start from do not fit.
    """
    torch.manual_seed(recipe.trainer.seed)
    network, inputs, config = _network(recipe)
    data: TrainingData = recipe.part("data")()
    _check_cfa(recipe, data)
    trainer = recipe.trainer
    if trainer.epochs:
        steps = max(round(trainer.epochs * len(data) / (trainer.batch * trainer.accumulate)), 1)
        recipe = replace(recipe, trainer=replace(trainer, steps=steps))
    return TrainingModule(network, inputs, data, recipe, config)


def card_of(recipe: Recipe) -> ModelCard | None:
    """The card of the recipe's model with the recipe's configuration; None where it has no card."""
    if not recipe.model.name:
        return None
    card = registry.card(recipe.model.name)
    return replace(card, config={**card.config, **recipe.model.config})


def _network(recipe: Recipe) -> tuple[nn.Module, tuple[str, ...], dict[str, Any]]:
    """It, what it is called with, and its configuration."""
    model, card = recipe.model, card_of(recipe)
    network: nn.Module
    if card is None:
        network = registry.resolve(model.architecture, "model.architecture of the recipe")(**model.config)
        if model.weights:
            registry.load_weights(network, Path(model.weights), model.architecture)
    elif model.weights:
        loaded = registry.load(card.name, weights=model.weights)
        network, card = loaded.module, loaded.card
    else:
        network = registry.build(card)
    if not any(p.requires_grad for p in network.parameters()):
        raise UsageError(f"model {model.name or model.architecture} has nothing to train.")
    inputs = model.inputs or ((card.input, *card.conditioning) if card is not None else ())
    return network.float(), inputs, dict(model.config if card is None else card.config)


def _check_cfa(recipe: Recipe, data: TrainingData) -> None:
    card = card_of(recipe)
    cfas = getattr(data, "cfas", ())
    if card is not None and len(card.cfa) in (4, 36) and any(cfa != card.cfa for cfa in cfas):
        raise UsageError(f"model {card.name} takes {card.cfa} mosaics; set data.cfa={card.cfa}.")


def train(
    recipe: Recipe, *, resume: bool = False, progress: bool = False, report: Callable[[str], None] | None = None
) -> Path:
    """Train, or go on training, and write the best weights.

    Args:
        recipe: what :func:`rawzoo.training.recipe.read` gave.
        resume: go on from the last checkpoint in ``recipe.output``; start where there is none.
        progress: show a progress bar on standard error.
        report: gets a sentence after each validation.

    Returns:
        The safetensors file.

    Raises:
        UsageError: the folder holds a run already and ``resume`` is not set, or that run had another recipe; a device
            that is not there.
        RawzooError: it was interrupted, or the loss is not finite.
    """
    folder = Path(recipe.output)
    last = folder / "last.ckpt"
    _prepare(folder, recipe, resume)
    if recipe.trainer.threads:
        torch.set_num_threads(recipe.trainer.threads)
    module = build(recipe)
    recipe = module.recipe
    start = last if resume and last.exists() else None
    reached = _reached(start)
    if reached >= recipe.trainer.steps:
        return folder / "weights.safetensors"
    with _quiet():
        trainer = _trainer(module, folder, reached, progress, report or _log.info)
        try:
            trainer.fit(module, ckpt_path=start, weights_only=True)
        except SystemExit as error:  # how Lightning ends after Ctrl-C
            raise RawzooError(f"interrupted after {trainer.global_step} steps; go on with --resume.") from error
    return folder / "weights.safetensors"


def first_process() -> bool:
    """Whether this is the one of a run's processes that writes and prints."""
    return bool(rank_zero_only(lambda: True)())


def _reached(checkpoint: Path | None) -> int:
    """Steps behind a checkpoint."""
    if checkpoint is None:
        return 0
    try:
        return int(torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["global_step"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RawzooError(f"{checkpoint} is damaged ({error}); delete it to start anew.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its advice: that few workers load data, that metrics are not averaged over processes, which
    here they are, and that the average of the weights is not in training mode, as it should be."""
    loggers = [logging.getLogger(f"{name}.utilities.rank_zero") for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        advice = ("does not have many workers", "sync_dist=True", "in eval mode at the start", "isinstance.treespec")
        for message in advice:
            warnings.filterwarnings("ignore", f".*{message}.*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@rank_zero_only
def _prepare(folder: Path, recipe: Recipe, resume: bool) -> None:
    """The run's folder with the recipe in it."""
    kept = folder / "recipe.yaml"
    if kept.exists() and not resume:
        raise UsageError(f"{folder} holds a run already; go on with --resume, or give another output=FOLDER.")
    if kept.exists():
        before, now = (_flat({**r.to_dict(), "trainer": {}}) for r in (recipes.read(kept), recipe))
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and key != "output"]
        if changed:
            raise UsageError(
                f"{', '.join(changed)} of the recipe differ from the run in {folder}; only trainer.* may change when "
                "a run goes on. Give another output=FOLDER to start anew."
            )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(kept) as path:
        path.write_text(recipe.to_yaml(), encoding="utf-8")


def _trainer(
    module: TrainingModule, folder: Path, reached: int, progress: bool, report: Callable[[str], None]
) -> pl.Trainer:
    recipe, t = module.recipe, module.recipe.trainer
    callbacks: list[Callback] = [_Keeper(folder, recipe, report)]
    if progress:
        callbacks.append(_Bar(t.log_every))
    return pl.Trainer(
        accelerator=t.accelerator,
        devices=t.devices,
        num_nodes=t.nodes,
        strategy=t.strategy,
        precision=t.precision,  # type: ignore[arg-type]  # Lightning checks it
        max_steps=t.steps,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        check_val_every_n_epoch=t.validate_every // t.checkpoint_every,
        accumulate_grad_batches=t.accumulate,
        gradient_clip_val=t.clip or None,
        num_sanity_val_steps=0,
        log_every_n_steps=t.log_every,
        use_distributed_sampler=False,
        enable_progress_bar=False,  # Lightning's counts epochs, which here only lead to checkpoints
        enable_model_summary=False,
        enable_checkpointing=False,  # ours renames into place, on whatever disk the folder is
        logger=_loggers(module, folder, reached),
        callbacks=callbacks,
        default_root_dir=folder,
    )


def _loggers(module: TrainingModule, folder: Path, reached: int) -> list[Logger]:
    recipe = module.recipe
    lines = JsonLines(folder / "metrics.jsonl")
    lines.rewind(reached)
    loggers: list[Logger] = [lines]
    for name in recipe.trainer.loggers:
        try:
            if name == "tensorboard":
                loggers.append(TensorBoardLogger(folder, name="", version="tensorboard", purge_step=reached))
            else:
                loggers.append(_mlflow(recipe, folder))
        except ModuleNotFoundError as error:
            raise UsageError(
                f"trainer.loggers: {name} is not installed ({error}); pip install 'rawzoo[train]', or leave it out."
            ) from error
    values = {**_flat(recipe.to_dict()), **_flat(module.config, "model.config.")}
    parameters = {key: value for key, value in values.items() if value not in ("", [], {})}
    base = Path(recipe.model.weights)
    if recipe.model.weights and (base.parent / "mlflow-run").is_file():  # weights of another of our runs
        parameters["base_run_id"] = (base.parent / "mlflow-run").read_text().strip()
        parameters["base_artifact_path"] = base.name
    if not reached:  # MLflow does not let them change
        for logger in loggers[1:]:
            logger.log_hyperparams(parameters)
    return loggers


def _mlflow(recipe: Recipe, folder: Path) -> Logger:
    beside = folder.resolve().parent
    uri, artifacts = recipe.trainer.mlflow_uri, None
    if not uri:  # a server has its own place for pictures and weights
        uri, artifacts = f"sqlite:///{beside / 'mlflow.db'}", str(beside / "mlflow-artifacts")
    # The id of MLflow's run lies in the folder, so that a resumed run goes on in it.
    kept = folder / "mlflow-run"
    run = kept.read_text().strip() if kept.exists() else None
    logger = MLFlowLogger(
        recipe.trainer.experiment, folder.name, tracking_uri=uri, run_id=run, artifact_location=artifacts
    )

    @rank_zero_only
    def keep() -> None:
        with atomic_path(kept) as path:
            path.write_text(str(logger.run_id))

    keep()
    return logger


class JsonLines(Logger):
    """Every metric, one JSON object a line; a resumed run cuts off what lies behind its checkpoint."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return "0"

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forget what was logged after ``step`` steps."""
        if self._path.exists():
            # A process killed while writing leaves half a line.
            text = self._path.read_text().rpartition("\n")[0]
            lines = [line for line in text.splitlines() if json.loads(line)["step"] <= step]
            with atomic_path(self._path) as path:
                path.write_text("".join(f"{line}\n" for line in lines))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning counts the step that is being done from 0.
        record = {"step": (step or 0) + 1, **{k: v for k, v in metrics.items() if k != "epoch"}}
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The recipe lies beside."""


class _Keeper(Callback):
    """Writes checkpoints, the best weights and pictures; keeps the best metric over a resume."""

    def __init__(self, folder: Path, recipe: Recipe, report: Callable[[str], None]) -> None:
        self._folder, self._recipe, self._report = folder, recipe, report
        self._best: float | None = None
        self._improved = False
        self._pictures: list[list[Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict["best"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last steps are validated, wherever they end."""
        t = self._recipe.trainer
        if trainer.global_step + t.checkpoint_every >= t.steps:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Lightning's count for the loggers is one too many after some resumptions (2.6).
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Not at every step, since looking at the loss makes a GPU wait; but always before a checkpoint.
        due = batch_idx + 1 == trainer.num_training_batches or trainer.global_step % self._recipe.trainer.log_every == 0
        if due and not torch.isfinite(outputs["loss"]):
            raise RawzooError(
                f"the loss is not finite after {trainer.global_step} steps; lower optimizer.lr, set trainer.clip, or "
                "go on from the last checkpoint with --resume."
            )

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Spread over all examples, so that every group has its turn; of the first process only.
        assert isinstance(pl_module, TrainingModule)
        count = self._recipe.trainer.samples
        if outputs is None or trainer.global_rank or not count:
            return
        wanted = {i * pl_module.data.validation_size // count for i in range(count)}
        if any(outputs["index"] <= i < outputs["index"] + trainer.world_size for i in wanted):
            with pl_module.full_precision():
                self._pictures.append(pl_module.data.pictures(outputs["output"], outputs["batch"]))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._pictures:
            picture = _sheet(self._pictures)
            self._pictures = []
            path = self._folder / "samples" / f"step-{trainer.global_step:07d}.png"
            path.parent.mkdir(exist_ok=True)
            with atomic_path(path) as aside:
                Image.fromarray(picture).save(aside, "png")
            _log_picture(trainer.loggers, picture, path, trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Is it the best so far?"""
        monitor = self._recipe.trainer.monitor
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        if monitor not in metrics:
            raise UsageError(f"trainer.monitor {monitor!r} is none of {', '.join(sorted(metrics))}.")
        value = metrics[monitor]
        better = math.isfinite(value) and (
            self._best is None or (value < self._best if "loss" in monitor else value > self._best)
        )
        if trainer.is_global_zero:
            self._report(f"step {trainer.global_step}: {monitor} {value:.4f}" + (", the best so far" if better else ""))
        if better:
            self._best, self._improved = value, True
            assert isinstance(pl_module, TrainingModule)
            if trainer.is_global_zero:
                write_weights(self._folder / "weights.safetensors", pl_module, trainer.global_step, metrics)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After validation, if there was one, so that the checkpoint knows of it."""
        names = ("best.ckpt", "last.ckpt") if self._improved else ("last.ckpt",)
        self._improved = False
        for name in names:
            aside = self._folder / f".{name}.part"
            trainer.save_checkpoint(aside, weights_only=False)
            if trainer.is_global_zero:
                os.replace(aside, self._folder / name)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            if trainer.is_global_zero and isinstance(logger, MLFlowLogger):
                for name in ("recipe.yaml", "weights.safetensors"):
                    logger.experiment.log_artifact(logger.run_id, str(self._folder / name))


class _Bar(Callback):
    """One progress bar over all steps, of the first process."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._bars = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bars.disable = not trainer.is_global_zero
        self._bars.start()
        self._task = self._bars.add_task("", total=trainer.max_steps, completed=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self._every == 0:
            self._bars.update(self._task, completed=step, description=f"loss {float(outputs['loss']):.4g}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bars.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bars.stop()


def write_weights(path: Path, module: TrainingModule, step: int, metrics: dict[str, float]) -> None:
    """The weights that were validated, as a file that :func:`rawzoo.load` takes, with where they come from."""
    from safetensors.torch import save  # save_file makes files that only their owner may read

    recipe = module.recipe
    text = recipe.to_yaml()
    provenance = Provenance(
        model=recipe.model.name or recipe.model.architecture,
        config=module.config,
        description=f"trained for {step} of {recipe.trainer.steps} steps",
        sources={"recipe.yaml": hashlib.sha256(text.encode()).hexdigest()},
        importer=None,
        rawzoo=rawzoo.__version__,
    )
    metadata = {
        "rawzoo": json.dumps(provenance.to_dict()),
        "recipe": text,
        "metrics": json.dumps({name: round(value, 6) for name, value in metrics.items()}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.judged.state_dict().items()}
    with atomic_path(path) as aside:
        aside.write_bytes(save(tensors, metadata))


def _sheet(rows: list[list[Tensor]]) -> np.ndarray:
    """Pictures side by side, uint8 ``[H, W, 3]``; each row is cut to the smallest of all pictures."""
    height, width = (min(picture.shape[axis] for row in rows for picture in row) for axis in (1, 2))
    lines = [torch.cat([picture[:, :height, :width] for picture in row], 2) for row in rows]
    widest = max(line.shape[2] for line in lines)
    lines = [nn.functional.pad(line, (0, widest - line.shape[2])) for line in lines]
    return (torch.cat(lines, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def _log_picture(loggers: list[Logger], picture: np.ndarray, path: Path, step: int) -> None:
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("input, output, target", picture, step, dataformats="HWC")
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(path), "samples")


@dataclass(frozen=True)
class Trial:
    """What one step costs.

    Attributes:
        parameters: of the network.
        weights: bytes of weights, gradients, optimizer and moving average.
        activations: bytes kept from the forward pass for the backward pass; on a GPU the peak of a step instead.
        data_s: seconds to prepare a batch.
        step_s: seconds for forward, backward and optimizer.
        loss: of that step.
        steps: of the whole training.
    """

    parameters: int
    weights: int
    activations: int
    data_s: float
    step_s: float
    loss: float
    steps: int


def try_step(recipe: Recipe) -> Trial:
    """Times one step of one process, after one that is not counted; writes nothing.

    Raises:
        UsageError, WeightsError: as :func:`build`.
    """
    trainer = recipe.trainer
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    module = build(recipe)
    cuda = trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    module.to(device)
    optimizer = recipe.part("optimizer")(module.network.parameters())
    share = max(trainer.batch // (trainer.devices * trainer.nodes), 1)
    batches = loader(module.data, range(1), batch=share, seed=trainer.seed).dataset
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(trainer.precision)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for _ in range(2):
        started = time.perf_counter()
        batch = module.data.finish(_to(batches[0], device), torch.Generator(device).manual_seed(trainer.seed))
        _wait(device)
        ready = time.perf_counter()
        kept.clear()
        with (
            torch.autocast(device.type, dtype, enabled=dtype is not None),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            loss, _ = module.loss_of(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        done = time.perf_counter()
    own = [*module.network.parameters(), *module.network.buffers()]
    parameters = sum(p.numel() for p in module.network.parameters())
    weights = sum(t.nbytes for t in own) * (2 if trainer.average else 1) + 4 * parameters
    weights += sum(v.nbytes for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor))
    fixed = {t.untyped_storage().data_ptr() for t in own}
    activations = sum(size for pointer, size in kept.items() if pointer not in fixed)
    if cuda:
        activations = torch.cuda.max_memory_allocated(device) - weights
    return Trial(
        parameters,
        weights,
        activations,
        ready - started,
        done - ready,
        float(loss.detach()),
        module.recipe.trainer.steps,
    )


def _to(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with keys such as ``model.name``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found
