"""``rawzoo doctor``."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import typer

from rawzoo.cli.console import JsonOption, columns, print_json, write

#: Distribution and the module it provides.
_REQUIRED = (
    ("torch", "torch"),
    ("numpy", "numpy"),
    ("rawpy", "rawpy"),
    ("tifffile", "tifffile"),
    ("imagecodecs", "imagecodecs"),
    ("Pillow", "PIL"),
    ("safetensors", "safetensors"),
    ("pluggy", "pluggy"),
    ("pooch", "pooch"),
    ("typer", "typer"),
    ("rich", "rich"),
)
_OPTIONAL_RUNTIMES = ("onnxruntime", "tensorrt", "tensorrt_rtx")


class Finding(NamedTuple):
    """One line of the report; ``broken`` makes the command exit with 1."""

    section: str
    name: str
    value: str
    broken: bool = False


def doctor(as_json: JsonOption = False) -> None:
    """Report versions, native modules, GPUs, runtimes and plugins; exit status 1 if anything is broken."""
    findings = [*_versions(), *_ops(), *_gpus(), *_runtimes(), *_plugins(), *_machine()]
    broken = [f for f in findings if f.broken]
    if as_json:
        print_json({"ok": not broken, "findings": [f._asdict() for f in findings]})
    else:
        table = columns()
        table.add_column(overflow="fold")
        section = ""
        for f in findings:
            fresh = f.section != section
            if fresh and section:
                table.add_row()
            section = f.section
            table.add_row(section if fresh else "", f.name, f.value, style="bold red" if f.broken else None)
        write(table)
        write()
        if broken:
            write(f"Broken: {', '.join(f'{f.section} {f.name}'.strip() for f in broken)}.", style="bold red")
        else:
            write("Nothing is broken.", style="green")
    if broken:
        raise typer.Exit(1)


def _versions() -> Iterator[Finding]:
    import rawzoo

    yield Finding("version", "rawzoo", rawzoo.__version__)
    yield Finding("version", "python", f"{platform.python_version()} on {platform.platform()}")
    for distribution, module in _REQUIRED:
        try:
            loaded = importlib.import_module(module)
            text = version(distribution)
        except PackageNotFoundError:
            text = str(getattr(loaded, "__version__", "unknown"))
        except Exception as error:  # noqa: BLE001 - an import can fail in any way, and saying so is the purpose
            yield Finding("version", distribution, f"cannot be imported: {_one_line(error)}", broken=True)
            continue
        if module == "rawpy":
            text += f" (LibRaw {'.'.join(map(str, loaded.libraw_version))})"
        yield Finding("version", distribution, text)


def _ops() -> Iterator[Finding]:
    try:
        from rawzoo import ops

        backends = ops.available()
    except Exception as error:  # noqa: BLE001
        yield Finding("ops", "", f"cannot be imported: {_one_line(error)}", broken=True)
        return
    for device, what in backends.items():
        yield Finding("ops", device, str(what))


def _gpus() -> Iterator[Finding]:
    try:
        import torch

        count = torch.cuda.device_count()
        for index in range(count):
            gpu = torch.cuda.get_device_properties(index)
            memory = f"{gpu.total_memory / 2**30:.0f} GiB"
            yield Finding("gpu", str(index), f"{gpu.name}, {memory}, compute capability {gpu.major}.{gpu.minor}")
    except Exception as error:  # noqa: BLE001
        yield Finding("gpu", "", f"torch cannot tell: {_one_line(error)}", broken=True)
        return
    if count == 0:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        yield Finding("gpu", "", f"none seen by torch (built with {built})")


def _runtimes() -> Iterator[Finding]:
    from rawzoo.zoo import registry
    from rawzoo.zoo.manager import get_manager

    for name in registry.runtimes():
        yield Finding("runtime", name, f"from {get_manager().origin('runtime', name)}")
    for module in _OPTIONAL_RUNTIMES:
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name == module:
                continue
            yield Finding("runtime", module, f"cannot be imported: {_one_line(error)}", broken=True)
        except Exception as error:  # noqa: BLE001
            yield Finding("runtime", module, f"cannot be imported: {_one_line(error)}", broken=True)
        else:
            yield Finding("runtime", module, f"{getattr(loaded, '__version__', 'version unknown')}, installed")


def _plugins() -> Iterator[Finding]:
    from rawzoo.zoo.manager import get_manager

    manager = get_manager()
    for plugin in manager.plugins:
        if not plugin.origin.built_in:
            yield Finding("plugin", plugin.origin.name, str(plugin.origin))
    for failure in manager.failures:
        text = f"{failure.distribution} {failure.version}, {failure.phase} failed: {failure.error}"
        yield Finding("plugin", failure.name, f"{text} (in full: rawzoo plugins)", broken=True)


def _machine() -> Iterator[Finding]:
    from rawzoo.zoo.weights import cache_folder

    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    problem = "" if writable else " cannot be written; set RAWZOO_CACHE to a folder that can"
    yield Finding("cache", "weights", f"{folder}{problem}", broken=not writable)
    try:
        from rawzoo import ops

        threads = str(ops.num_threads())
    except Exception:  # noqa: BLE001 - reported under ops
        return
    yield Finding("cpu", "threads", f"{threads} of {os.cpu_count()} CPUs")


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")
