"""The two sides of a pair: what is refused, what is said with figures, what is left in peace."""

import io
import logging
import re
import time

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFilter

from pairedit.data.compare import compare
from pairedit.data.examples import find_pairs
from pairedit.files import locate


def photograph(side: int = 512, seed: int = 0) -> Image.Image:
    """Draw detail at every scale, as photographs have it."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for share in (64, 16, 4, 1):
        noise = random.normal(size=(side // share, side // share, 3)) * 12 * share**0.4
        pixels += np.kron(noise, np.ones((share, share, 1)))
    return Image.fromarray((128 + pixels).clip(0, 255).astype(np.uint8))


PHOTO = photograph()
EDITED = PHOTO.copy()
EDITED.paste(photograph(128, seed=1), (200, 200))
HALF = (256, 256)
LANCZOS, BICUBIC = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def zoomed(image: Image.Image, percent: int, across: float, down: float) -> Image.Image:
    """Enlarge about any point; 0, 0 is the upper left corner."""
    side = image.width * 100 / (100 + percent)
    x, y = ((image.width - side) * share for share in (across, down))
    return image.resize(image.size, BICUBIC, box=(x, y, x + side, y + side))


FINE = {
    "an edit": EDITED,
    "saved as JPEG": jpeg(EDITED, 75),
    "darker": EDITED.point(lambda value: value * 0.9),
    "larger, a little": EDITED.resize((600, 600), LANCZOS),
    "rounded to a px": EDITED.resize((512, 511), LANCZOS),
}


@pytest.mark.parametrize("name", FINE)
def test_good_pairs_are_left_in_peace(name):
    found = compare(PHOTO, FINE[name])
    assert found.refusal is None
    assert not found.doubts


DOUBTFUL = {
    "smaller": (EDITED.resize(HALF, LANCZOS), "2.0 times as large"),
    "enlarged": (EDITED.resize(HALF, LANCZOS).resize((512, 512), BICUBIC), "target is less sharp"),
    "blurred": (EDITED.filter(ImageFilter.GaussianBlur(1.5)), "target is less sharp"),
    "moved": (ImageChops.offset(EDITED, 5, -3), r"moved by \+5 px across and -3 px down"),
    "moved far": (ImageChops.offset(EDITED, 40, 24), r"moved by \+40 px across and \+24 px down"),
    "zoomed": (EDITED.resize((528, 528), BICUBIC).crop((8, 8, 520, 520)), "enlarged by 3 %"),
    "turned by a degree": (
        EDITED.rotate(1, BICUBIC),
        r"target is turned by 1 degree to the left; without that the sides differ by \d+\.\d l",
    ),
    "turned about a corner": (
        EDITED.rotate(-5, BICUBIC, center=(100, 400)),
        "target is turned by 5 degrees to the right",
    ),
    "hardly turned": (EDITED.rotate(-0.6, BICUBIC), "turned by 0.5 degrees to the right"),
    "zoomed into a corner": (zoomed(EDITED, 6, 0, 0), "target is enlarged by 6 %"),
    "zoomed at the side": (zoomed(EDITED, 9, 0.2, 0.9), "target is enlarged by 9 %"),
    "turned": (EDITED.transpose(Image.Transpose.ROTATE_90), "turned by 90 degrees"),
    "upside down": (EDITED.transpose(Image.Transpose.ROTATE_180), "turned by 180 degrees"),
    "mirrored": (EDITED.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored left to right"),
    "another picture": (photograph(seed=7).point(lambda v: 255 - v // 2), "nearly everything"),
    "one dot": (ImageChops.offset(PHOTO, 0).point(lambda v: v), "nearly nothing differs: 0 %"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_may_be_wrong_is_said_with_figures(name):
    target, expected = DOUBTFUL[name]
    found = compare(PHOTO, target)
    assert found.refusal is None
    assert re.search(expected, " ".join(found.doubts)), found.doubts


def test_a_source_that_is_enlarged_is_told_from_a_target():
    doubts = compare(zoomed(EDITED, 5, 0.9, 0.1), PHOTO).doubts
    assert "the source is enlarged by 5 %" in doubts[0]


@pytest.mark.parametrize("name", [name for name in DOUBTFUL if "turned" in name or "zoom" in name])
def test_what_is_not_aligned_is_said_with_both_differences(name):
    said = " ".join(compare(PHOTO, DOUBTFUL[name][0]).doubts)
    found = re.search(
        r"without that the sides differ by ([\d.]+) levels of 255 instead of ([\d.]+)", said
    )
    assert float(found[1]) < 0.6 * float(found[2])


def test_figures_are_of_the_files():
    large = photograph(1536)
    doubts = compare(large, ImageChops.offset(large, 30, 0)).doubts
    assert "moved by +30 px across and +0 px down" in doubts[0]


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((512, 768), "the two are cut differently"),
        ((512, 480), "the two are cut differently"),
        ((480, 640), "one of them is turned"),
    ],
)
def test_sides_of_two_shapes_are_refused(size, reason):
    before = photograph().resize((640, 480)) if reason.endswith("turned") else PHOTO
    text = compare(before, PHOTO.resize(size)).refusal
    assert f"{before.width} x {before.height} px and {size[0]} x {size[1]} px" in text
    assert reason in text


@pytest.mark.parametrize(
    ("size", "other"), [((1000, 667), (500, 334)), ((33, 22), (16, 11)), ((1000, 667), (1024, 688))]
)
def test_rounding_is_no_other_shape(size, other):
    assert compare(PHOTO.resize(size), PHOTO.resize(other)).refusal is None


def test_a_folder_says_it(tmp_path, caplog):
    for side, image in (("source", PHOTO), ("target", ImageChops.offset(EDITED, 6, 0))):
        (tmp_path / side).mkdir()
        image.save(tmp_path / side / "a.png")
    find_pairs(tmp_path)
    assert "source/a.png and target/a.png: the target is moved by +6 px" in caplog.text
    PHOTO.resize((512, 768)).save(tmp_path / "target" / "a.png")
    with pytest.raises(ValueError, match="512 x 512 px and 512 x 768 px are two shapes"):
        find_pairs(tmp_path)


def test_exif_rotation_counts_before_shapes_are_compared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned left, to be shown turned right
    upright = EDITED.crop((0, 0, 512, 384))
    for side, image, note in (
        ("source", PHOTO.crop((0, 0, 512, 384)), None),
        ("target", upright.transpose(Image.Transpose.ROTATE_90), exif),
    ):
        (tmp_path / side).mkdir()
        image.save(tmp_path / side / "a.png", exif=note)
    assert len(find_pairs(tmp_path)) == 1
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "target" / "a.png")
    with pytest.raises(ValueError, match="one of them is turned"):
        find_pairs(tmp_path)


EDITS = ("age", "smile", "glasses", "beard", "mouth_open", "eye_size", "hair_length", "nose_width")


# Not tilt: that is a turn, as the warning says.
@pytest.mark.parametrize("name", [*EDITS, "one"])
def test_shipped_pairs_give_no_warning(name, caplog):
    find_pairs(locate(f"pkg://data/{name}"))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_three_pairs_of_a_megapixel_take_less_than_half_a_second():
    large = photograph(1024)
    other = large.copy()
    other.paste("red", (300, 300, 500, 500))
    started = time.process_time()
    for _ in range(3):
        compare(large, other)
    assert time.process_time() - started < 0.5
