"""Own what is said of a model's weights before torch is imported: they may lie on the hub alone."""

from __future__ import annotations

import logging
from typing import Any

from pairedit.files import locate, near_path

log = logging.getLogger(__name__)


def look_for(model: Any) -> None:
    """Say that a model is fetched from the hub, as that takes long; say at once that it cannot be.

    Args:
        model: a `bases.base.Loadable`, whose path is a folder or a model hub id.

    Raises:
        ValueError: it lies nowhere on this machine, and the hub may not be asked.
    """
    folder = locate(model.path)
    if folder.is_dir():
        return
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        # Every pipeline of diffusers has this file; its other files are the loader's to find.
        if isinstance(try_to_load_from_cache(model.path, "model_index.json"), str):
            return
    except ValueError:
        return  # no name on the hub: a model of somebody's own knows what its path means
    missing = f"model.path={model.path}: no such folder, and not in the model hub's local cache"
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"{missing}, and HF_HUB_OFFLINE=1 forbids to ask the hub; unset HF_HUB_OFFLINE, or "
            f"name a folder that holds the model{near_path(folder)}"
        )
    log.warning(
        "%s; the hub is asked for it now, and the first download takes long "
        "(model.path=FOLDER takes a copy that you have)",
        missing,
    )
