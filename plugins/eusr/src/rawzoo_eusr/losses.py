"""What 4PP-EUSR and its score predictors were trained by.

Choi, Kim, Cheon, Lee: Deep learning-based image super-resolution considering quantitative and perceptual quality,
Neurocomputing 2020; Talebi, Milanfar: NIMA: neural image assessment, TIP 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo_eusr.predictor import ScorePredictor

#: Weight of each term of :class:`FourPassLoss`, as published.
WEIGHTS = {
    "reconstruction": 0.05,
    "adversarial": 0.1,
    "aesthetic_score": 0.01,
    "aesthetic_features": 0.1,
    "subjective_score": 0.01,
    "subjective_features": 0.1,
}

# How much of the truth's shortfall in score is no loss.
_MARGIN = 0.8


class FourPassLoss(nn.Module):
    """The losses of 4PP-EUSR's generator and of its discriminator.

    Gradients flow through the judges to the pictures; whoever trains with them freezes their weights as is due.

    Args:
        discriminator: :class:`rawzoo_eusr.network.Discriminator`.
        aesthetic, subjective: score predictors.
        weights: of the terms, see :data:`WEIGHTS`.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        aesthetic: ScorePredictor,
        subjective: ScorePredictor,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.predictors = nn.ModuleDict({"aesthetic": aesthetic, "subjective": subjective})
        self.weights = dict(weights)

    def forward(self, outputs: Sequence[Tensor], truth: Tensor) -> Tensor:
        """The generator's loss: the weighted sum of :meth:`terms`."""
        terms = self.terms(outputs, truth)
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def terms(self, outputs: Sequence[Tensor], truth: Tensor) -> dict[str, Tensor]:
        """The generator's losses, each a mean over the passes.

        Args:
            outputs: of the passes, each ``[N, 3, 192, 192]``, about 0..255; the predictors take no other size.
            truth: the same shape, 0..255.
        """
        passes = len(outputs)
        logits = [self.discriminator(output) for output in outputs]
        found = {
            "reconstruction": torch.stack([functional.l1_loss(output, truth) for output in outputs]).mean(),
            "adversarial": torch.stack([_taken_for(x, 1.0) for x in logits]).mean(),
        }
        everything = torch.cat([*outputs, truth])
        for name, predictor in self.predictors.items():
            assert isinstance(predictor, ScorePredictor)
            features = predictor.features(everything)
            *own, true = shortfall(predictor.scored(features)).chunk(passes + 1)
            found[f"{name}_score"] = torch.stack([(q - _MARGIN * true).relu().mean() for q in own]).mean()
            *own, true = features.chunk(passes + 1)
            found[f"{name}_features"] = torch.stack([functional.mse_loss(f, true) for f in own]).mean()
        return found

    def of_discriminator(self, outputs: Sequence[Tensor], truth: Tensor) -> Tensor:
        """The discriminator's loss; arguments as of :meth:`terms`, of any size. No gradient reaches the pictures."""
        false = torch.stack([_taken_for(self.discriminator(output.detach()), 0.0) for output in outputs]).mean()
        return false + _taken_for(self.discriminator(truth), 1.0)


def _taken_for(logits: Tensor, answer: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, answer))


def shortfall(distribution: Tensor) -> Tensor:
    """How much a mean score is below the best: ``10 - sum(k p_k)``, k = 1..10, for both predictors, although the bins
    of TID2013's stand for 0..9. ``[N, 10]`` -> ``[N]``, 0 (best) to 9."""
    return 10.0 - distribution @ torch.arange(1.0, 11.0, dtype=distribution.dtype, device=distribution.device)


class EarthMover(nn.Module):
    """NIMA's earth mover's distance (r = 2): the root of the mean square difference of cumulative distributions."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``[N, K]`` each -> one number, the mean over N."""
        difference = (prediction - target).cumsum(1)
        return difference.square().mean(1).sqrt().mean()


def normal_scores(mean: Tensor, std: Tensor, bins: int = 10) -> Tensor:
    """Distributions of scores 0..bins-1 for means and standard deviations, as targets for TID2013's opinions.

    Args:
        mean, std: ``[N]``, computed with in float64.

    Returns:
        float32 ``[N, bins]``; rows sum to 1.
    """
    edges = torch.arange(bins + 1, dtype=torch.float64, device=mean.device) - 0.5
    z = (edges - mean[:, None].double()) / (std[:, None].double() + 1e-10)
    below = 0.5 * torch.erfc(-z / math.sqrt(2.0))
    mass = below.diff(dim=1)
    return (mass / mass.sum(1, keepdim=True)).float()
