"""The fast float32 form of log erfcx, against torch's own in float64."""

import torch

from wbsr_losses.log_erfcx import log_erfcx


def test_float32_is_as_exact_as_its_rounding_everywhere():
    u = torch.cat([torch.linspace(0, 30, 20_001), torch.logspace(1, 20, 1001)])
    exact = torch.special.erfcx(u.double()).log()
    error = (log_erfcx(u).double() - exact).abs()
    assert (error <= 4e-7 + 1.2e-7 * exact.abs()).all()


def test_float64_is_exact():
    u = torch.linspace(0, 30, 101, dtype=torch.float64)
    torch.testing.assert_close(log_erfcx(u).exp(), torch.special.erfcx(u), rtol=1e-13, atol=0)
