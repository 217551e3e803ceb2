"""Plugins that are really installed, as far as importlib.metadata can tell, for the length of one test."""

import logging
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from plugin_sources import write_plugin

from rawzoo.zoo import manager as manager_module


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install(distribution, source)`` adds a plugin to those that the zoo, not yet loaded, will find."""
    monkeypatch.delenv("RAWZOO_PLUGINS", raising=False)
    monkeypatch.delenv("RAWZOO_STRICT_PLUGINS", raising=False)
    monkeypatch.setattr(manager_module, "_manager", None)
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    # Plugins that happen to be installed beside rawzoo are none of these tests' business.
    ours = lambda group: [e for e in entry_points(group=group) if Path(e.dist.locate_file("")) == folder]  # noqa: E731
    monkeypatch.setattr(manager_module, "entry_points", ours)
    modules = []

    def install(distribution, source, version="1.0"):
        modules.append(write_plugin(folder, distribution, source, version))

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def warned(caplog):
    """The warning lines so far."""
    caplog.set_level(logging.WARNING, "rawzoo")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "rawzoo"]
