"""Own which base model is meant if none is named: an export reads nothing but a LoRA file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairedit.bases.flux1.model import Flux1
from pairedit.bases.flux1.workflow import FILES, make_workflow

if TYPE_CHECKING:
    from pairedit.bases.base import Loadable

USUAL: type[Loadable] = Flux1
usual_workflow = make_workflow
usual_workflows = frozenset(FILES)  # the models that it is for, by name
