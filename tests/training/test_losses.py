import pytest
import torch
from torch.nn import functional

from rawzoo.errors import UsageError
from rawzoo.training import losses, schedules

P = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
T = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_values_are_torchs():
    assert torch.equal(losses.L1()(P, T), functional.l1_loss(P, T))
    assert torch.allclose(losses.L2()(P, T), functional.mse_loss(P, T))
    # Charbonnier is torch's pseudo-Huber form up to a constant: between L1 and L1 + eps.
    l1, smooth = losses.L1()(P, T), losses.Charbonnier(eps=1e-3)(P, T)
    assert l1 < smooth < l1 + 1e-3
    assert losses.Charbonnier(eps=0.5)(P, P) == pytest.approx(0.5)


def test_roots_are_compared_on_request():
    assert torch.allclose(losses.L1("sqrt")(P, T), functional.l1_loss(P.sqrt(), T.sqrt()), atol=2e-3)
    with pytest.raises(UsageError, match="linear, sqrt"):
        losses.L1("gamma")


def test_the_root_has_a_slope_everywhere():
    x = torch.tensor([-1.0, -1e-4, 0.0, 1e-4, 1.0], dtype=torch.float64, requires_grad=True)
    y = losses.signed_sqrt(x)
    assert torch.allclose(y, -y.flip(0))
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.autograd.gradcheck(losses.signed_sqrt, x[[0, 1, 3, 4]].detach().requires_grad_())


def test_schedules():
    assert schedules.constant(0, 100, warmup=9) == pytest.approx(0.1)
    assert schedules.constant(50, 100, warmup=9) == 1
    assert schedules.cosine(0, 100) == 1
    assert schedules.cosine(100, 100, final=0.02) == pytest.approx(0.02)
    assert schedules.linear(50, 100, final=0.0) == pytest.approx(0.5)
    weight = torch.nn.Parameter(torch.zeros(()))
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([weight], lr=1.0), 100, eta_min=0.01)
    for step in range(100):
        assert schedules.cosine(step, 100, final=0.01) == pytest.approx(theirs.get_last_lr()[0], abs=1e-6)
        theirs.optimizer.step()
        theirs.step()
