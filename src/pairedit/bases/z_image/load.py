"""Own how a Z-Image is loaded, and kept for the next job of the process."""

from __future__ import annotations

from diffusers import ZImagePipeline

from pairedit.bases.loading import loader, needs_of
from pairedit.bases.z_image.zimage import ZImageBase

load = loader(ZImagePipeline, ZImageBase, family="Z-Image", needs=needs_of, fuses=True)
