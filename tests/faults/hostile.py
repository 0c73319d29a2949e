"""What others may put into a file: code that runs when it is read, and noise."""

import io
import os

from PIL import Image


def image_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 60).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


class Bomb:
    """Write a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
