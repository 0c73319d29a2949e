"""The untrained FLUX has the layout of the model that ships."""

import json

from pairedit.files import locate
from pairedit.mini.untrained import CLIP_WORDS, TINY, autoencoder, networks, scheduler


def shipped(part: str, file: str) -> dict:
    config = json.loads((locate("pkg://flux_mini") / part / file).read_text())
    return {key: value for key, value in config.items() if not key.startswith("_")}


def test_the_scheduler_is_the_shipped_one():
    expected = shipped("scheduler", "scheduler_config.json")
    assert {key: scheduler().config[key] for key in expected} == expected


def test_autoencoders_differ_in_size_alone():
    expected, vae = shipped("vae", "config.json"), autoencoder(**TINY.vae)
    differ = {key for key in expected if json.loads(json.dumps(vae.config[key])) != expected[key]}
    assert differ == set(TINY.vae) - {"layers_per_block"}


def test_sizes_win_over_what_follows_from_the_letters():
    parts = networks(TINY)
    assert list(parts) == ["transformer", "vae", "text_encoder", "text_encoder_2"]
    assert parts["text_encoder"].config.vocab_size == len(CLIP_WORDS)
    wide = networks(type(TINY)(**{**vars(TINY), "clip": {**TINY.clip, "vocab_size": 99}}))
    assert wide["text_encoder"].config.vocab_size == 99
