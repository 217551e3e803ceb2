"""Finds plugins, loads each on its own, and keeps what they registered.

pluggy's own entry-point loader stops at the first plugin that raises; here every plugin gets its own guard and its own
pluggy manager, so that nothing one of them does can reach another. A plugin that fails contributes nothing, costs one
warning line, and is shown in full by ``rawzoo plugins``. With ``RAWZOO_STRICT_PLUGINS=1`` it raises instead.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

import pluggy

import rawzoo
from rawzoo.errors import PluginError, UsageError
from rawzoo.zoo import hookspecs
from rawzoo.zoo.card import ModelCard, is_dotted_path, is_name, problems
from rawzoo.zoo.importers import Importer

if TYPE_CHECKING:
    import typer

    from rawzoo.tasks import Task

GROUP = "rawzoo"

#: rawzoo's own plugins, registered through the same hooks as any other.
BUILT_IN = ("rawzoo.tasks.builtin", "rawzoo.inference.torch_runtime", "rawzoo.zoo.classical")

Kind = Literal["task", "model", "importer", "runtime", "command"]
Phase = Literal["import", "registration", "hook"]

_log = logging.getLogger("rawzoo")


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: entry-point name, distribution and its version."""

    name: str
    distribution: str
    version: str
    built_in: bool = False

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class PluginFailure:
    """Why a plugin was left out.

    Attributes:
        name, distribution, version: which plugin.
        phase: ``import`` of its module, ``registration`` (it implements no hook, or one that does not exist), or a
            ``hook`` call.
        error: type and message of the exception, one line.
        traceback: the whole traceback.
    """

    name: str
    distribution: str
    version: str
    phase: Phase
    error: str
    traceback: str


@dataclass
class Plugin:
    """A plugin that works, and the names it registered, by kind."""

    origin: Origin
    hooks: tuple[str, ...]
    manager: pluggy.PluginManager
    registered: dict[Kind, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    value: Any
    origin: Origin


class PluginManager:
    """The plugins of one process and what they registered.

    Use :func:`get_manager`; a second instance is only of use to tests.
    """

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.failures: list[PluginFailure] = []
        self._entries: dict[tuple[Kind, str], _Entry] = {}
        self._disputed: dict[tuple[Kind, str], str] = {}

    def load(self) -> None:
        """Registers rawzoo's own plugins, then every installed one that ``RAWZOO_PLUGINS`` does not leave out.

        Raises:
            UsageError: ``RAWZOO_PLUGINS`` names a distribution that has no plugin.
            Exception: what a plugin raised, with ``RAWZOO_STRICT_PLUGINS=1``.
        """
        for module in BUILT_IN:
            origin = Origin(module.removeprefix("rawzoo."), "rawzoo", rawzoo.__version__, built_in=True)
            self._load(origin, partial(importlib.import_module, module))
        for origin, entry_point in _selected_entry_points():
            self._load(origin, entry_point.load)

    def add(self, plugin: object, name: str, distribution: str = "none", version: str = "0") -> None:
        """Registers a plugin object (module, class or instance) as if it had been installed; for tests of hooks."""
        self._load(Origin(name, distribution, version), lambda: plugin)

    def remove(self, name: str) -> None:
        """Takes back everything the plugin called ``name`` registered."""
        for plugin in [p for p in self.plugins if p.origin.name == name]:
            self._drop(plugin)

    def add_commands(self, app: typer.Typer) -> None:
        """Lets every plugin that has not yet done so add its commands to the command line."""
        import typer

        for plugin in list(self.plugins):
            if "rawzoo_register_commands" not in plugin.hooks or "command" in plugin.registered:
                continue
            # An app of the plugin's own, so that it can only add. Building its click group here makes typer look at
            # every signature now, inside the guard, and gives the final names.
            own = typer.Typer()
            try:
                plugin.manager.hook.rawzoo_register_commands(app=own)
                names = list(typer.main.get_group(own).commands)
                taken = typer.main.get_group(app).commands
                for name in names:
                    if name in taken:
                        entry = self._entries.get(("command", name))
                        raise PluginError(
                            _both("command", name, str(entry.origin) if entry else "rawzoo", plugin.origin)
                        )
            except (Exception, SystemExit) as error:  # noqa: BLE001
                self._drop(plugin)
                self._fail(plugin.origin, "hook", error)
                continue
            app.registered_commands.extend(own.registered_commands)
            app.registered_groups.extend(own.registered_groups)
            self._commit(plugin, {("command", name): None for name in names})

    def names(self, kind: Kind) -> list[str]:
        """Names that can be used, sorted; one that two plugins claim is left out."""
        return sorted(name for k, name in self._entries if k == kind and (k, name) not in self._disputed)

    def get(self, kind: Kind, name: str) -> Any:
        """What was registered under ``name``.

        Raises:
            PluginError: two plugins claim the name.
            UsageError: nothing has it; the message gives the nearest names.
        """
        if (kind, name) in self._disputed:
            raise PluginError(self._disputed[kind, name])
        if (kind, name) in self._entries:
            return self._entries[kind, name].value
        known = self.names(kind)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        guess = " or ".join(repr(n) for n in near)
        message = f"no {kind} is named {name!r}; " + (
            f"did you mean {guess}?" if near else f"known: {', '.join(known)}."
        )
        if self.failures:
            left_out = ", ".join(sorted({f.distribution for f in self.failures}))
            message += f" (Left out because of errors: {left_out}; see `rawzoo plugins`.)"
        raise UsageError(message)

    def origin(self, kind: Kind, name: str) -> Origin:
        """Which plugin registered ``name``, which must exist."""
        return self._entries[kind, name].origin

    def _load(self, origin: Origin, load: Callable[[], object]) -> None:
        phase: Phase = "import"
        try:
            module = load()
            phase = "registration"
            manager = pluggy.PluginManager(GROUP)
            manager.add_hookspecs(hookspecs)
            manager.register(module, name=origin.name)
            manager.check_pending()
            hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(module) or ()))
            if not hooks:
                raise PluginError("it implements no hook; mark its hook functions with @rawzoo.hookimpl.")
            phase = "hook"
            plugin = Plugin(origin, hooks, manager)
            staged = self._collect(plugin)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self._fail(origin, phase, error)
            return
        self.plugins.append(plugin)
        self._commit(plugin, staged)

    def _collect(self, plugin: Plugin) -> dict[tuple[Kind, str], Any]:
        """Calls the plugin's registering hooks; nothing reaches the zoo until all of them have returned."""
        staged: dict[tuple[Kind, str], Any] = {}

        def stage(kind: Kind, name: str, value: Any) -> None:
            key = kind, name
            if key in staged:
                raise PluginError(f"it registers the {kind} {name!r} twice.")
            if key in self._entries:
                first = self._entries[key].origin
                message = _both(kind, name, str(first), plugin.origin)
                # Which of two installed plugins comes first is chance, so neither gets the name; rawzoo keeps its own.
                if not first.built_in:
                    self._disputed[key] = message
                raise PluginError(message)
            staged[key] = value

        def register_task(task: Task) -> None:
            if not is_name(task.name):
                raise PluginError(f"a task cannot be named {task.name!r}: use lower-case letters, digits, '-' and '.'.")
            stage("task", task.name, task)

        def register_model(card: ModelCard) -> None:
            found = problems(card)
            if found:
                raise PluginError(f"model {getattr(card, 'name', card)!r} has a bad card: {'; '.join(found)}.")
            stage("model", card.name, card)

        def register_importer(importer: Importer) -> None:
            if not isinstance(importer, Importer):
                raise PluginError(f"it registers a {type(importer).__name__} in place of an Importer.")
            if not is_name(importer.name):
                raise PluginError(
                    f"an importer cannot be named {importer.name!r}: use lower-case letters, digits, '-' and '.'."
                )
            if not is_dotted_path(importer.detect):
                raise PluginError(
                    f"importer {importer.name!r} must name its function as 'package.module:function', not "
                    f"{importer.detect!r}."
                )
            stage("importer", importer.name, importer)

        def register_runtime(name: str, factory: str) -> None:
            if not is_name(name):
                raise PluginError(f"a runtime cannot be named {name!r}: use lower-case letters, digits, '-' and '.'.")
            if not is_dotted_path(factory):
                raise PluginError(
                    f"runtime {name!r} must name its factory as 'package.module:callable', not {factory!r}."
                )
            stage("runtime", name, factory)

        hook = plugin.manager.hook
        hook.rawzoo_register_tasks(register=register_task)
        hook.rawzoo_register_models(register=register_model)
        hook.rawzoo_register_importers(register=register_importer)
        hook.rawzoo_register_runtimes(register=register_runtime)
        return staged

    def _commit(self, plugin: Plugin, staged: dict[tuple[Kind, str], Any]) -> None:
        for (kind, name), value in staged.items():
            self._entries[kind, name] = _Entry(value, plugin.origin)
            plugin.registered.setdefault(kind, []).append(name)

    def _drop(self, plugin: Plugin) -> None:
        self.plugins.remove(plugin)
        for kind, names in plugin.registered.items():
            for name in names:
                del self._entries[kind, name]

    def _fail(self, origin: Origin, phase: Phase, error: BaseException) -> None:
        if os.environ.get("RAWZOO_STRICT_PLUGINS") == "1":
            raise error
        lines = str(error).strip().splitlines()
        summary = type(error).__name__ + (f": {lines[0]}" if lines else "")
        text = "".join(traceback.format_exception(error))
        self.failures.append(PluginFailure(origin.name, origin.distribution, origin.version, phase, summary, text))
        _log.warning("rawzoo: plugin %s (%s) left out, %s failed: %s", origin.name, origin, phase, summary)


def _both(kind: Kind, name: str, first: str, second: Origin) -> str:
    return f"both {first} and {second} register the {kind} {name!r}; uninstall one, or leave one out of RAWZOO_PLUGINS."


def _canonical(distribution: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _origin(entry_point: EntryPoint) -> Origin:
    if entry_point.dist is None:
        return Origin(entry_point.name, "unknown", "unknown")
    metadata = entry_point.dist.metadata  # parsed at each access
    return Origin(entry_point.name, metadata["Name"] or "unknown", metadata["Version"] or "unknown")


def _selected_entry_points() -> list[tuple[Origin, EntryPoint]]:
    found = sorted(
        ((_origin(e), e) for e in entry_points(group=GROUP)), key=lambda pair: (pair[0].distribution, pair[0].name)
    )
    choice = os.environ.get("RAWZOO_PLUGINS")
    if choice is None:
        return found
    wanted = {_canonical(name.strip()) for name in choice.split(",") if name.strip()}
    have = {_canonical(origin.distribution) for origin, _ in found}
    if wanted - have:
        raise UsageError(
            f"RAWZOO_PLUGINS names {', '.join(sorted(wanted - have))}, which is not an installed rawzoo plugin; "
            f"installed: {', '.join(sorted(have)) or 'none'}."
        )
    return [(origin, e) for origin, e in found if _canonical(origin.distribution) in wanted]


_lock = threading.RLock()
_manager: PluginManager | None = None
_loading = False


def get_manager() -> PluginManager:
    """The process's plugin manager; the first call loads the plugins.

    Raises:
        PluginError: a plugin asked for the zoo while it was itself being loaded.
        UsageError, Exception: see :meth:`PluginManager.load`.
    """
    global _manager, _loading
    if _manager is not None:
        return _manager
    with _lock:
        if _manager is None:
            # The lock is re-entrant so that this is an error and not a deadlock.
            if _loading:
                raise PluginError(
                    "the zoo cannot be used while plugins are being loaded; do it when a model is loaded."
                )
            _loading = True
            try:
                manager = PluginManager()
                manager.load()
                _manager = manager
            finally:
                _loading = False
        return _manager


def register_commands(app: typer.Typer) -> None:
    """Adds the plugins' commands to the command line; loads the plugins when that has not happened yet."""
    get_manager().add_commands(app)
