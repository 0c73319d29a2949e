"""An evaluation on the fused path finds what one on the plain path finds."""

import json

import pytest

from tiny import strong_lora


def test_a_fused_evaluation_measures_the_same(command, flux, pair_folder, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    found = {}
    for name, more in (("plain", []), ("fused", ["+hardware.fused=true"])):
        words = [f"pairs={pair_folder}", "seeds=[3,5]", "scales=[0.5,1]", "skip=1", "match=0.5"]
        words += ["reader=[probe]", "calibrate=false", *more]
        place = f"hydra.run.dir={tmp_path / name}"
        code, _, err = command("eval", f"lora={lora.path}", *words, place)
        assert (code, err) == (0, "")
        (found[name],) = json.loads((tmp_path / name / "eval.json").read_text())["sliders"]
    plain, fused = (_numbers(found[name]) for name in ("plain", "fused"))
    assert set(plain) == set(fused)
    assert plain
    for key, value in plain.items():
        # Pixels may round the other way.
        assert fused[key] == pytest.approx(value, rel=0.05, abs=0.02), key


def _numbers(value, key=""):
    """Return every number of an evaluation by its place in it."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return {key: value} if known else {}
    return {k: v for name, part in parts for k, v in _numbers(part, f"{key}/{name}").items()}
