"""The small models of toy_models as a plugin, and the command line as a user calls it."""

import sys

import pytest
import torch
from safetensors.torch import save_file
from toy_models import CARDS, NET, NETWORKS

import rawzoo
from rawzoo.cli import main
from rawzoo.zoo import registry
from rawzoo.zoo.manager import get_manager


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The models, and a file of generated weights for each."""
    (tmp_path / f"{NET}.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)

    class Plugin:
        @rawzoo.hookimpl
        def rawzoo_register_models(self, register):
            for card in CARDS:
                register(card)

    get_manager().add(Plugin(), "jobs")
    files = {}
    for card in CARDS:
        torch.manual_seed(0)
        state = {key: 0.1 * torch.randn_like(value) for key, value in registry.build(card).state_dict().items()}
        files[card.name] = tmp_path / f"{card.name}.safetensors"
        save_file(state, files[card.name])
    yield files
    get_manager().remove("jobs")


@pytest.fixture
def command(monkeypatch, capfd):
    """``command(*arguments)`` runs rawzoo: exit status, standard output, standard error."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["rawzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            sys.exit(main())
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return command
