"""Slider LoRAs for FLUX-class models, learnt from before/after image pairs."""

__version__ = "0.1.0"
