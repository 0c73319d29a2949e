"""Slider LoRAs for FLUX-class models, learnt from before/after image pairs."""

import logging

__version__ = "0.1.0"

# Without torchvision transformers says, at import, that the image processors of pipelines' unused
# IP-adapter parts fall back to Pillow.
logging.getLogger("transformers.utils.import_utils").addFilter(
    lambda record: "requires torchvision" not in record.getMessage()
)
