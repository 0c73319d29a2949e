"""The attributes of a face, by name: what the renderer draws and the probe reads back.

Those in `EDITS` are what sliders learn; `TIED` lists what the renderer itself moves along.
"""

from collections.abc import Mapping, Sequence

from pairedit.problems import Invalid, did_you_mean

IDENTITY = (
    "skin",
    "face_width",
    "face_length",
    "jaw",
    "hair_length",
    "hair_volume",
    "hair_tone",
    "hair_red",
    "fringe",
    "parting",
    "eye_size",
    "eye_spacing",
    "eye_color",
    "gaze",
    "brow_thickness",
    "brow_tilt",
    "nose_length",
    "nose_width",
    "mouth_width",
    "lip_fullness",
    "lip_red",
    "ears",
    "shoulders",
    "shirt_hue",
    "shirt_tone",
    "background_hue",
    "background_tone",
)
EDITS = ("tilt", "mouth_open", "smile", "age", "beard", "glasses")
ATTRIBUTES = IDENTITY + EDITS
UNREAD = "none"  # stands for what no reader knows: an edit of which nothing is to be guessed
INDEX = {name: position for position, name in enumerate(ATTRIBUTES)}
# What the renderer moves together with an edit, so that no measure blames the edit for it:
# age greys the hair whatever its colour was, a smile pulls the mouth corners apart.
TIED: Mapping[str, tuple[str, ...]] = {
    "age": ("hair_tone", "hair_red"),
    "smile": ("mouth_width",),
    "mouth_open": (),
    "beard": (),
    "glasses": (),
    "tilt": (),
}


def check_attribute(name: str | None) -> None:
    """Refuse a name that no probe reads.

    Raises:
        Invalid: names the attribute and what is accepted.
    """
    if name is not None and name not in (*ATTRIBUTES, UNREAD):
        raise Invalid({"attribute": unknown(name, ATTRIBUTES)})


def unknown(name: str, known: Sequence[str]) -> str:
    """Say that no reader knows an attribute, and what to write instead."""
    return (
        f"{name}: the probe reads {', '.join(known)}; say {UNREAD} for an edit that it does not "
        f"know{did_you_mean(name, known)}"
    )
