"""Names of output files: short, plain, and one for each thing."""

import re

import pytest
from PIL import Image

from pairedit.data.names import plain_name, plain_names
from pairedit.edits import Photo
from pairedit.jobs.sheets import sheet_paths
from pairedit.sample import Sample, file_name

ODD = [
    "José",
    "Josè",
    "写真一",
    "写真二",
    "写真 1",
    "…",
    "-",
    "a b",
    "a-b",
    "a,b",
    "A-B",
    "x" * 235,
]


def test_every_name_is_plain_short_and_its_own():
    found = plain_names([*ODD, *ODD])
    assert len({name.casefold() for name in found}) == 2 * len(ODD)
    assert all(re.fullmatch(r"[\w.+-]{1,64}", name, re.ASCII) for name in found)
    assert found[:2] == ["Jose", "Jose-2"] or plain_name("José").startswith("Jose")


@pytest.mark.parametrize("name", ["610", "astronaut", "IMG_1.2", "a b"])
def test_usual_names_stay(name):
    assert plain_name(name) == name.replace(" ", "-")


def test_composed_and_decomposed_accents_are_one_name():
    assert plain_name("Jose\u0301") == plain_name("José")


def sample(scales, **more) -> Sample:
    image = Image.new("RGB", (16, 16))
    return Sample(seed=2**63 - 1, prompt="", column=0, scales=scales, image=image, **more)


def test_file_names_fit_whatever_is_in_them(tmp_path):
    path = tmp_path / ("ö" * 120 + ".png")
    photo = Photo(path=path, image=Image.new("RGB", (16, 16)))
    name = file_name(sample(tuple(k / 3 for k in range(12)), photo=photo), 123)
    assert len(name.encode()) < 200
    assert re.fullmatch(r"[\w.+-]+", name, re.ASCII)


def test_scales_that_are_equal_in_six_digits_have_a_file_each():
    scales = [0.30000000000000004, 0.3, 0.2999999, -0.3, 1.0, 1e-9, 1e6, 123456.7]
    names = [file_name(sample((scale,)), 0).split("scale")[1] for scale in scales]
    assert len(set(names)) == len(scales)
    assert names[:2] == ["+0.30000000000000004.png", "+0.3.png"]
    assert names[4:7] == ["+1.png", "+1e-09.png", "+1e+06.png"]


def test_sheets_of_edits_have_a_file_each(tmp_path):
    found = sheet_paths(tmp_path, [*ODD, "my edit"])
    assert len(set(found.values())) == len(ODD) + 1
    assert found["my edit"] == tmp_path / "sheets" / "my-edit.png"
