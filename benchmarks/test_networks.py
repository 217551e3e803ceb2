"""The plugins' networks against a straightforward torch implementation of the same layers, with the same weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

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
        conditions: what the module gets besides.
    """

    model: str
    shape: tuple[int, int, int]
    plain: str
    pixels: int = 1
    conditions: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = [
    *(
        Network(f"pynet-{variant}-{level}", (4, edge, edge), "plain_pynet:plain", pixels=4)
        for variant in ("torch", "tf")
        for level, edge in ((0, 128), (2, 128), (3, 256), (5, 512))
    ),
    Network("eusr-x2", (3, 96, 96), "plain_networks:eusr"),
    Network("eusr-x4", (3, 64, 64), "plain_networks:eusr"),
    Network("mobilenet-v1", (3, 224, 224), "plain_networks:with_batch_norm"),
    Network("deeper-mobilenet-v1", (3, 224, 224), "plain_networks:with_batch_norm"),
    Network("dirty-pixels-isp", (4, 512, 512), "plain_networks:with_batch_norm"),
    Network("nafnet-denoise", (3, 128, 128), "plain_networks:as_it_is"),
    Network("treenet", (3, 256, 256), "plain_networks:as_it_is", conditions={"cond": [0.5]}),
    Network("naf-tiny", (4, 256, 256), "plain_networks:as_it_is", pixels=4, conditions={"noise": [[1e-3, 1e-5]] * 4}),
    Network("naf-small", (4, 128, 128), "plain_networks:as_it_is", pixels=4, conditions={"noise": [[1e-3, 1e-5]] * 4}),
    Network("awb-pisp", (3, 32, 32), "plain_networks:awb", conditions={"lux": 400.0}),
]


@pytest.mark.benchmark(group="networks")
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.model)
def test_network(benchmark: BenchmarkFixture, threads: int, network: Network) -> None:
    if network.model not in [card.name for card in registry.models()]:
        pytest.skip(f"the plugin with {network.model} is not installed")
    card = registry.card(network.model)
    torch.manual_seed(0)
    # Time does not depend on the weights, and trained ones cannot be shipped.
    predictor = Predictor(card, registry.build(card), dtype="float32")
    module, function = network.plain.split(":")
    peer: Callable[[Tensor], Tensor] = getattr(import_module(module), function)(predictor.module)
    x = torch.rand(network.shape)
    conditions = {name: torch.tensor(value)[None] for name, value in network.conditions.items()}

    def plain() -> Tensor:
        with torch.inference_mode():
            return peer(x[None], **conditions)[0]

    def own() -> Tensor:
        return predictor.run(x, **network.conditions)

    equal = torch.isclose(own(), plain(), rtol=1e-3, atol=1e-4).float().mean().item()
    versus(
        benchmark,
        own,
        {"plain torch": Peer(plain, Goal(1.0))},
        name=card.name,
        megapixels=round(x[0].numel() * network.pixels / 1e6, 4),
        threads=threads,
        accuracy={"equal": equal},
    )
