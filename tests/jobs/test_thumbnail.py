"""A trained slider carries a small picture of its preview, for programs that show one."""

import base64
import io

from PIL import Image

from pairedit.lora.file import read_lora
from pairedit.lora.header import read_header
from pairedit.pictures.png import thumbnail


def decoded(uri):
    kind, content = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_thumbnail_is_small_and_leaves_the_picture_alone():
    picture = Image.effect_noise((600, 300), 60).convert("RGB")
    assert decoded(thumbnail(picture)).size == (256, 128)
    assert picture.size == (600, 300)
    assert thumbnail(picture) == thumbnail(picture.copy())


def test_a_training_with_preview_leaves_one(command, pair_folder, tmp_path):
    words = ["dataset=folder", f"pairs={pair_folder}", "steps=2", "report=false", "lora.rank=2"]
    files = {}
    for preview in ("true", "false"):
        folder = tmp_path / preview
        code, _, err = command("train", *words, f"preview={preview}", f"hydra.run.dir={folder}")
        assert (code, err) == (0, ""), err
        (files[preview],) = folder.glob("*/semantic.safetensors")
    header = read_header(files["true"]).texts
    assert max(decoded(header["modelspec.thumbnail"]).size) <= 256
    assert header["modelspec.title"] == f"{files['true'].parent.name} slider"
    assert "modelspec.thumbnail" not in read_header(files["false"]).texts
    assert read_lora(files["true"]).sha256 == read_lora(files["false"]).sha256
