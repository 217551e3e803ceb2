"""The ``torch`` runtime, registered as a plugin would. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rawzoo.zoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from rawzoo.zoo.hookspecs import RegisterRuntime


@hookimpl
def rawzoo_register_runtimes(register: RegisterRuntime) -> None:
    register("torch", "rawzoo.inference.predictor:Predictor")
