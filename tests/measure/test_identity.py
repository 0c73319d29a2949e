"""Identity: what the edit itself moves is not held against it."""

import torch

from pairedit.measure.effect import identity
from seen import probed


def test_an_edited_attribute_of_identity_does_not_count_as_lost():
    moved = {"eye_size": [0.0, 0.3, 0.6]}
    edited = identity(probed(moved, attribute="eye_size"))
    blamed = identity(probed(moved, attribute="smile"))
    assert (edited[:, 2] < blamed[:, 2]).all()
    torch.testing.assert_close(edited, identity(probed({"smile": [0.0, 0.3, 0.6]})))
