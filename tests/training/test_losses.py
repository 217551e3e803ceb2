import numpy as np
import pytest
import torch
from torch.nn import functional

from rawzoo import metrics
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


def test_ms_ssim_is_that_of_the_golden_values_and_of_the_metric(shared):
    golden = np.load(shared / "specs" / "naf" / "golden" / "losses.npz")
    p, t = (torch.from_numpy(golden[f"{name}_u8"]).double() / 255 for name in ("pred", "target"))
    assert float(1 - losses.MSSSIM()(p, t)) == pytest.approx(0.9046941, abs=2e-6)
    found = metrics.ms_ssim(p[0].movedim(0, -1).numpy(), t[0].movedim(0, -1).numpy())
    assert float(1 - losses.MSSSIM()(p, t)) == pytest.approx(found, abs=1e-6)


def test_ms_ssim_is_that_of_the_metric_on_noise_and_leads_to_the_target():
    g = torch.Generator().manual_seed(0)
    t = torch.rand(2, 3, 24, 24, generator=g).repeat_interleave(8, 2).repeat_interleave(8, 3)
    p = (t + 0.1 * torch.randn(t.shape, generator=g)).requires_grad_()
    loss = losses.MSSSIM()(p, t)
    expected = metrics.ms_ssim(p.detach().movedim(1, -1).numpy(), t.movedim(1, -1).numpy())
    assert 1 - loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert torch.isfinite(p.grad).all()
    assert losses.MSSSIM()(p - 100 * p.grad, t) < loss
    assert losses.MSSSIM()(t, t) == pytest.approx(0, abs=1e-6)
    # Its opposite has terms below 0, whose roots must not become NaN.
    opposite = (1 - t).requires_grad_()
    losses.MSSSIM()(opposite, t).backward()
    assert torch.isfinite(opposite.grad).all()
    with pytest.raises(UsageError, match="at least 176 pixels"):
        losses.MSSSIM()(P, T)


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
