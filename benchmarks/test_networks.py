"""The plugins' networks against a straightforward torch implementation of the same layers, with the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
from measure import Goal, Peer, versus
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from rawzoo.inference.predictor import Predictor
from rawzoo.zoo import registry


@dataclass(frozen=True)
class Network:
    """A model and its peer.

    Attributes:
        model: name of its card.
        shape: of the input tensor, ``[C, H, W]``.
        plain: ``module:function`` that makes the peer of the model's module, with the same weights.
        pixels: sensor or picture pixels to one of the input tensor.
    """

    model: str
    shape: tuple[int, int, int]
    plain: str
    pixels: int = 1


NETWORKS = [
    *(
        Network(f"pynet-{variant}-{level}", (4, edge, edge), "plain_pynet:plain", pixels=4)
        for variant in ("torch", "tf")
        for level, edge in ((0, 128), (2, 256), (3, 256), (5, 512))
    ),
]


@pytest.mark.benchmark(group="networks")
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.model)
def test_network(benchmark: BenchmarkFixture, threads: int, network: Network) -> None:
    if network.model not in [card.name for card in registry.models()]:
        pytest.skip(f"the plugin with {network.model} is not installed")
    card = registry.card(network.model)
    torch.manual_seed(0)
    # Time does not depend on the weights, and trained ones cannot be shipped.
    predictor = Predictor(card, registry.build(card))
    module, function = network.plain.split(":")
    peer: Callable[[Tensor], Tensor] = getattr(import_module(module), function)(predictor.module)
    x = torch.rand(network.shape)

    def plain() -> Tensor:
        with torch.inference_mode():
            return peer(x[None])[0]

    equal = torch.isclose(predictor.run(x), plain(), rtol=1e-3, atol=1e-4).float().mean().item()
    versus(
        benchmark,
        lambda: predictor.run(x),
        {"plain torch": Peer(plain, Goal(1.0))},
        name=card.name,
        megapixels=round(x[0].numel() * network.pixels / 1e6, 2),
        threads=threads,
        accuracy={"equal": equal},
    )
