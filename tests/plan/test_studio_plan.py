"""The plan of the studio: what is refused, what its jobs are given."""

import importlib.util
import socket
import sys

import pytest

from composing import composed
from pairedit.plan import studio
from pairedit.plan.studio import is_loopback, plan_studio


@pytest.fixture(autouse=True)
def _gradio(monkeypatch):
    """Let Gradio be installed, and nobody serve at any port."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(studio, "_is_free", lambda host, port: True)


def test_by_default_nobody_but_this_machine_reaches_the_page():
    plan = plan_studio(composed("studio"))
    assert plan.alone
    assert plan.password is None
    assert (plan.port, plan.folder.name, plan.browser) == (7860, "outputs", True)


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("127.0.0.1.example", False),
    ],
)
def test_addresses_of_this_machine_are_known(host, alone):
    assert is_loopback(host) is alone


def test_its_jobs_are_given_the_model_and_the_hardware():
    words = ["model=flux-mini", "model.resolution=64", "device=cpu", "port=8000"]
    choices = {"model": "flux-mini", "hardware": "auto", "hydra/help": "studio"}
    plan = plan_studio(composed("studio", *words), words=words, choices=choices)
    assert plan.parts == {"model": "flux-mini", "hardware": "auto"}
    assert plan.keys == {"model.resolution": 64, "device": "cpu"}
    assert plan.words == words[:3]


def test_what_cannot_be_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    words = ["port=0", "host=a/b", "password=' '", f"folder={tmp_path}/file", "device=tpu"]
    with pytest.raises(ValueError, match="5 problems") as caught:
        plan_studio(composed("studio", *words))
    for word in ("port=0", "host=a/b", "password=", "is a file", "device=tpu"):
        assert word in str(caught.value)


def test_without_gradio_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ValueError, match="needs Gradio") as caught:
        plan_studio(composed("studio"))
    assert str(caught.value) == (
        "pairedit-studio needs Gradio, which is not installed: pip install 'pairedit[studio]'"
    )


def test_without_gradio_the_environment_of_make_studio_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    apart = tmp_path / "studio/bin/pairedit-studio"
    apart.parent.mkdir(parents=True)
    apart.touch()
    with pytest.raises(ValueError, match="make studio") as caught:
        plan_studio(composed("studio"))
    assert f"start {apart}" in str(caught.value)


def test_a_port_that_is_taken_is_refused_with_the_next_free_one(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        one.listen()
        assert not studio._is_free("127.0.0.1", port)
        monkeypatch.setattr(studio, "_is_free", lambda host, asked: asked > port + 1)
        expected = rf"^port={port}: is in use on 127.0.0.1; write port={port + 2}, which is free"
        with pytest.raises(ValueError, match=expected):
            plan_studio(composed("studio", f"port={port}"))
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
    monkeypatch.undo()
    assert studio._is_free("127.0.0.1", free)
