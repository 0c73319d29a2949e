"""Noisings: the velocity is the derivative, the ends are where they should be."""

import pytest
import torch

from pairedit.noising import ContentPreserving, Noising, Rectified

NOISINGS = [ContentPreserving(noise_scale=1.0), ContentPreserving(noise_scale=2.5), Rectified()]


@pytest.fixture
def clean():
    return torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def noise():
    return torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("noising", NOISINGS, ids=str)
def test_velocity_is_the_derivative_by_sigma(noising, clean, noise):
    assert isinstance(noising, Noising)
    for sigma in (0.1, 0.5, 0.9):
        h = 1e-3
        slope = (
            noising.noisy(clean, noise, sigma + h) - noising.noisy(clean, noise, sigma - h)
        ) / (2 * h)
        torch.testing.assert_close(noising.velocity(clean, noise), slope)


@pytest.mark.parametrize("noising", NOISINGS, ids=str)
def test_no_noise_at_sigma_zero(noising, clean, noise):
    torch.testing.assert_close(noising.noisy(clean, noise, 0.0), clean, rtol=0, atol=0)


def test_ends_at_sigma_one(clean, noise):
    torch.testing.assert_close(Rectified().noisy(clean, noise, 1.0), noise)
    kept = ContentPreserving(noise_scale=2.0).noisy(clean, noise, 1.0)
    torch.testing.assert_close(kept, clean + 2 * noise)
