"""The hooks a plugin may implement. ``docs/plugins.md`` shows each at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    import typer

    from rawzoo.tasks import Task
    from rawzoo.zoo.card import ModelCard
    from rawzoo.zoo.importers import Importer

hookspec = pluggy.HookspecMarker("rawzoo")
hookimpl = pluggy.HookimplMarker("rawzoo")


class RegisterModel(Protocol):
    """Adds one model to the zoo."""

    def __call__(self, card: ModelCard) -> None: ...


class RegisterTask(Protocol):
    """Adds one task: what a kind of model takes and gives."""

    def __call__(self, task: Task) -> None: ...


class RegisterImporter(Protocol):
    """Adds one importer of published checkpoints."""

    def __call__(self, importer: Importer) -> None: ...


class RegisterRuntime(Protocol):
    """Adds one way of running models.

    ``factory`` is the dotted path ``"package.module:callable"`` of
    ``callable(card, module, *, device, dtype, tile) -> Predictor``; it is imported when the runtime is first used.
    """

    def __call__(self, name: str, factory: str) -> None: ...


@hookspec
def rawzoo_register_models(register: RegisterModel) -> None:
    """Call ``register(card)`` for each model. Must not import torch: the card names its factory by dotted path."""


@hookspec
def rawzoo_register_tasks(register: RegisterTask) -> None:
    """Call ``register(task)`` for each task. Must not import torch."""


@hookspec
def rawzoo_register_importers(register: RegisterImporter) -> None:
    """Call ``register(importer)`` for each importer. Must not import NumPy or torch: it names its function by path."""


@hookspec
def rawzoo_register_runtimes(register: RegisterRuntime) -> None:
    """Call ``register(name, factory)`` for each runtime. Must not import the runtime's package."""


@hookspec
def rawzoo_register_commands(app: typer.Typer) -> None:
    """Add commands to the ``rawzoo`` command line, e.g. ``app.command("mycommand")(function)``.

    Called only by the command line. Import anything heavy inside the command function.
    """
