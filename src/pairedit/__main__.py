"""Run `python -m pairedit`: list the commands, or run one."""

from pairedit.cli import commands

commands()
