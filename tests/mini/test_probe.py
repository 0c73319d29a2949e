"""The probe reads faces."""

from __future__ import annotations

import pytest
import torch

from pairedit.mini.faces import INDEX
from pairedit.mini.probe import read


def test_the_probe_reads_unseen_faces(unseen):
    attributes, images = unseen
    error = (read(images) - attributes).abs().mean(0)
    for name in ("smile", "age", "glasses", "beard", "tilt", "mouth_open"):
        assert float(error[INDEX[name]]) < 0.07, name


def test_the_probe_refuses_other_sizes():
    with pytest.raises(ValueError, match="expected"):
        read(torch.zeros(1, 3, 64, 64))
