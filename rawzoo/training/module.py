"""One step of training and one of validation, as a LightningModule."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from rawzoo.errors import UsageError
from rawzoo.inference.predictor import memory_format
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.training.datasets import Batch, TrainingData, generator_for, loader
from rawzoo.training.recipe import Recipe

#: What a network gives: a picture, or several of which the last is the picture.
Output = Tensor | Sequence[Tensor]


class TrainingModule(pl.LightningModule):
    """A network, the moving average of its weights, its loss and its optimizer.

    The loss compares the network's output with the target. A network that should be judged in another domain than its
    output's, say before the way back from square roots, has two methods: ``encoded(x, **conditions)``, which gives its
    output in that domain, and ``encode(target)``; training uses them, validation does not.

    A loss that needs more of the batch names it in its attribute ``inputs``, and gets it by keyword.

    Args:
        network: to be trained.
        inputs: what it is called with, see :class:`rawzoo.training.recipe.Model`.
        data: to train and validate on.
        recipe: the rest.
        config: keyword arguments of the network's factory.

    Attributes:
        network, data, recipe, config: as given.
        average: the moving average of the network, where the recipe asks for one.
    """

    def __init__(
        self, network: nn.Module, inputs: tuple[str, ...], data: TrainingData, recipe: Recipe, config: dict[str, Any]
    ) -> None:
        super().__init__()
        self.network = network.train()
        self.inputs, self.data, self.recipe, self.config = inputs, data, recipe, config
        self._encoded: Callable[..., Output] | None = getattr(network, "encoded", None)
        if self._encoded is not None and not hasattr(network, "encode"):
            raise UsageError(f"{type(network).__name__} has a method encoded(x), so it also needs encode(target).")
        if recipe.trainer.compile and self._encoded is not None:
            self._encoded = torch.compile(self._encoded)
        elif recipe.trainer.compile:
            network.compile()
        self.loss: nn.Module = recipe.part("loss")()
        self._memory_format = memory_format(network)
        network.to(memory_format=self._memory_format)  # type: ignore[call-overload]  # torch's stub lacks it
        if recipe.trainer.average:
            self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self._totals: dict[str, list[float]] = {}
        self._started = self._validating = 0.0

    # Data

    def train_dataloader(self) -> Any:
        """Batches up to the next checkpoint, from the step that was reached."""
        trainer = self.recipe.trainer
        every, start = trainer.checkpoint_every, self.global_step
        stop = min(start - start % every + every, trainer.steps)
        return loader(
            self.data,
            range(start * trainer.accumulate, stop * trainer.accumulate),
            batch=trainer.batch,
            seed=trainer.seed,
            rank=self.global_rank,
            world=self.trainer.world_size,
            workers=trainer.workers,
        )

    def val_dataloader(self) -> Any:
        """Numbers of the validation examples that are this process's share; -1 for a process that has none."""
        return list(range(self.global_rank, self.data.validation_size, self.trainer.world_size)) or [-1]

    def prepared(self, batch: Batch) -> Batch:
        """A batch from the loader, finished on its device."""
        number = batch.pop("number")
        generator = generator_for(self.recipe.trainer.seed, number, self.global_rank, self.device)
        with self.full_precision():
            return self.data.finish(batch, generator)

    def full_precision(self) -> Any:
        """Where data are made and judged: mixed precision is for the network only."""
        return torch.autocast(self.device.type, enabled=False)

    # Training

    def call(self, network: Callable[..., Output], batch: Batch) -> Output:
        """The network's output for a batch, in float32."""
        x, *conditions = (network_input(batch, name) for name in self.inputs)
        names = self.inputs[1:]
        x = x.contiguous(memory_format=self._memory_format) if x.ndim == 4 else x
        output = network(x, **dict(zip(names, conditions, strict=True)))
        return output.float() if isinstance(output, Tensor) else [each.float() for each in output]

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a finished batch, and the mean absolute difference in the same domain."""
        network: Any = self.network
        output = self.call(self._encoded or network, batch)
        target: Tensor = network.encode(batch["target"]) if self._encoded else batch["target"]
        with self.full_precision():
            return self._compared(output, target, batch), (_last(output).detach() - target).abs().mean()

    def _compared(self, output: Output, target: Tensor, batch: Batch) -> Tensor:
        inputs = {name: batch_entry(batch, name, "the loss") for name in getattr(self.loss, "inputs", ())}
        loss: Tensor = self.loss(output, target, **inputs)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; Lightning does the rest."""
        # What a network draws itself (dropout) must not depend on what came before, or a resumed run would differ.
        number = batch["number"]
        torch.manual_seed(hash((self.recipe.trainer.seed, number, self.global_rank)))
        loss, l1 = self.loss_of(self.prepared(batch))
        self.log("train_loss", loss, prog_bar=True)
        self.log("l1_loss", l1)
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    def on_train_epoch_start(self) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.log("epoch_duration_s", time.perf_counter() - self._started)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer and its schedule, which counts steps."""
        schedule, steps = self.recipe.part("schedule"), self.recipe.trainer.steps
        optimizer = self.recipe.part("optimizer")(self.network.parameters())
        factor = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factor, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, and the moving average after it: before anything can write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.recipe.trainer.average:
            step = self.global_step + 1  # this one is counted later
            # Early on the average is over fewer steps, or it would remember the random weights.
            decay = min(self.recipe.trainer.average, (1 + step) / (10 + step))
            with torch.no_grad():
                ours: list[Tensor] = list(self.average.parameters())
                theirs: list[Tensor] = list(self.network.parameters())
                torch._foreach_lerp_(ours, theirs, 1 - decay)
                for mine, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                    mine.copy_(buffer)

    # Validation

    @property
    def judged(self) -> nn.Module:
        """The weights that are validated and exported."""
        return self.average if self.recipe.trainer.average else self.network

    def on_validation_epoch_start(self) -> None:
        self._totals = defaultdict(lambda: [0.0, 0.0])
        self._validating = time.perf_counter()

    def validation_step(self, index: int, batch_idx: int) -> dict[str, Any] | None:
        """Metrics of one validation example; gives callbacks the example and the network's output."""
        if index < 0:
            return None
        started = time.perf_counter()
        with self.full_precision():
            group, batch = self.data.validation(index)
        batch = self.transfer_batch_to_device(batch, self.device, 0)
        outputs = self.call(self.judged, batch)
        output = _last(outputs)
        with self.full_precision():
            target: Tensor = batch["target"]
            metrics = {
                "loss": float(self._compared(outputs, target, batch)),
                "l1_loss": float((output - target).abs().mean()),
                **self.data.measure(output, batch),
            }
        for name, value in metrics.items():
            for key in (f"val_{name}", f"val_{name}_{group}"):
                total = self._totals[key]
                total[0] += value
                total[1] += 1
        duration = self._totals[f"val_duration_s_{group}"]
        duration[0], duration[1] = duration[0] + time.perf_counter() - started, 1
        return {"index": index, "group": group, "output": output, "batch": batch}

    def on_validation_epoch_end(self) -> None:
        totals = self._totals
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, dict(totals))
            totals = defaultdict(lambda: [0.0, 0.0])
            for part in gathered:
                for key, (value, count) in part.items():
                    totals[key][0] += value
                    totals[key][1] += count
        means = {key: value / count for key, (value, count) in sorted(totals.items())}
        self.log_dict(means)
        self.log("val_duration_s", time.perf_counter() - self._validating)


def _last(output: Output) -> Tensor:
    return output if isinstance(output, Tensor) else output[-1]


def network_input(batch: Batch, name: str) -> Any:
    """What a network is called with under ``name``: an entry of the batch, or ``packed``, made of its mosaic.

    Raises:
        UsageError: the batch has no such entry.
    """
    if name == "packed" and "mosaic" in batch:
        order = torch.from_numpy(cfa_patterns.channel_tile(batch["cfa"]).ravel().argsort())
        return nn.functional.pixel_unshuffle(batch["mosaic"], 2)[:, order.to(batch["mosaic"].device)]
    return batch_entry(batch, name, "model.inputs")


def batch_entry(batch: Batch, name: str, where: str) -> Any:
    """What the batch has under ``name``, which ``where`` asks for; UsageError where it has no such entry."""
    if name not in batch:
        raise UsageError(f"{where}: the data have no {name!r}; they have {', '.join(sorted(batch))}.")
    return batch[name]
