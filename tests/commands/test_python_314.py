"""Python 3.14 checks the help of every option when it is added; one of Hydra's is no text."""

import argparse
import sys

import pytest

from pairedit import cli


@pytest.fixture
def checking(monkeypatch):
    """Let argparse check help texts as Python 3.14 does."""
    add = argparse._ActionsContainer.add_argument

    def check(parser, action):
        if action.help is not None and not isinstance(action.help, str):
            raise ValueError("badly formed help string")

    def adding(parser, *words, **values):
        action = add(parser, *words, **values)
        parser._check_help(action)
        return action

    monkeypatch.setattr(argparse._ActionsContainer, "_check_help", check, raising=False)
    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", adding)


@pytest.mark.parametrize(("word", "shown"), [("--help", "Groups"), ("--cfg=job", "flux-mini")])
def test_a_command_starts_although_a_help_of_hydra_is_no_text(
    checking, monkeypatch, capsys, tmp_path, word, shown
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pairedit-gen", word])
    cli.gen()
    assert shown in capsys.readouterr().out
    # Parsers of others are checked as before.
    with pytest.raises(ValueError, match="badly formed"):
        argparse.ArgumentParser().add_argument("--x", help=object())
