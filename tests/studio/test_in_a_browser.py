"""The studio as people use it: in a real browser, on flux-mini."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from browsing import ROW, at, row_of, tab, until
from PIL import Image

from pairedit.files import locate
from pairedit.studio.shelf import SLIDER

pytestmark = pytest.mark.browser

# How far the shown picture is from a first one, mean over values, 0 to 255.
SHOWN = """host => {
  const canvas = host.shadowRoot.querySelector("canvas");
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def away(one, other):
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def test_the_first_row_ships_and_the_next_is_rendered(opened):
    page = opened()
    row = page.locator(ROW.format("play"))
    row.wait_for()
    row.locator("input").first.focus()
    page.keyboard.press("ArrowLeft")
    assert at(row)[0] < 1
    ships = page.locator("#play-said").get_by_text("These pictures ship with the slider.")
    ships.wait_for()
    row_of(page)
    row.locator("input").first.focus()
    page.keyboard.press("End")
    assert at(row) == [2]
    page.get_by_role("button", name="Next person").click()
    page.wait_for_function(
        "document.querySelector('#play pairedit-row[ready]')?.getAttribute('data')"
        ".includes('seed000001')"
    )
    row.locator("input").first.focus()  # the rest of the row comes while one drags
    page.keyboard.press("Home")
    row_of(page)
    assert ships.count() == 0
    row.locator("input").first.focus()
    page.keyboard.press("Home")
    assert at(row) == [-1]


def test_the_picture_follows_the_mouse_and_nothing_is_asked_for(opened):
    page = opened()
    row = row_of(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    until(lambda: asked.clear() or page.wait_for_timeout(1500) or not asked)
    row.locator("input").first.scroll_into_view_if_needed()
    box = row.locator("input").first.bounding_box()
    y = box["y"] + box["height"] / 2
    places = [box["x"] + box["width"] * share for share in (0.34, 0.5, 0.66, 0.83, 0.99)]
    page.mouse.move(places[0], y)
    page.mouse.down()
    seen, shown = [], []
    for x in places:
        page.mouse.move(x, y, steps=6)
        seen.append(at(row)[0])
        shown.append(row.evaluate(SHOWN))
    page.mouse.up()
    assert seen == [0, 0.5, 1, 1.5, 2]
    distances = [away(picture, shown[0]) for picture in shown]
    assert distances == sorted(set(distances))
    assert asked == []


def test_keys_touch_the_original_the_map_and_people(opened):
    page = opened(390, 800, has_touch=True)
    row = row_of(page)
    row.locator("input").first.focus()
    page.keyboard.press("Home")
    assert at(row) == [-1]
    page.keyboard.press("End")
    assert at(row) == [2]
    assert row.locator("output").inner_text() == "+2"
    page.keyboard.down("o")
    assert at(row) == [0]
    page.keyboard.up("o")
    assert at(row) == [2]
    there = row.evaluate(SHOWN)
    row.get_by_role("button", name="Map of changes").click()
    assert away(row.evaluate(SHOWN), there) > 5
    assert "differs by" in row.locator(".said").inner_text()
    assert "of its range" in row.locator(".said").inner_text()
    row.get_by_role("button", name="Map of changes").click()
    row.locator("canvas").scroll_into_view_if_needed()
    box = row.locator("canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.34, box["y"] + box["height"] / 2)
    assert at(row) == [0]
    person = row.evaluate(SHOWN)
    row.locator("input").first.focus()
    page.keyboard.press("ArrowDown")
    until(lambda: row.count() == 1 and away(row.evaluate(SHOWN), person) > 1)
    assert page.get_by_label("Person (seed)").input_value() == "1"
    assert at(row) == [0]
    # All of it is there again after a reload.
    row_of(page)
    page.reload()
    row = row_of(page)
    assert page.get_by_label("Person (seed)").input_value() == "1"
    assert at(row) == [0]


def test_more_like_this_renders_finer_scales(opened):
    page = opened()
    row = row_of(page)
    row.locator("input").first.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert at(row) == [1]
    page.get_by_role("button", name="More like this").click()
    row_of(page, count=13)
    row.locator("input").first.focus()
    assert at(row) == [1]
    page.keyboard.press("ArrowRight")
    assert at(row) == [1.125]


def test_two_sliders_give_a_pad(opened):
    page = opened()
    row_of(page)
    page.get_by_label("Second slider").click()
    page.get_by_role("option", name="glasses").click()
    page.locator("#play pairedit-row .two").wait_for()
    row = row_of(page, count=25)
    row.locator("canvas").scroll_into_view_if_needed()
    box = row.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 9, box["y"] + 9)  # its corners are round
    corner = row.evaluate(SHOWN)
    assert at(row) == [-0.5, 1.5]
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + 9)
    assert at(row) == [1.5, 1.5]
    assert away(row.evaluate(SHOWN), corner) > 1
    row.locator(".pad").scroll_into_view_if_needed()
    box = row.locator(".pad").bounding_box()
    page.mouse.move(box["x"] + 9, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 9, box["y"] + box["height"] - 9, steps=4)
    assert at(row) == [-0.5, -0.5]
    page.mouse.up()


@pytest.fixture
def trained(site):
    """A training that has ended: its folder, with the sliders that ship."""
    place = site.outputs / "train" / "first"
    for name in ("age", "glasses"):
        (place / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(locate(f"pkg://data/sliders/{name}.safetensors"), place / name / SLIDER)
        measures = {"target": [0, 0.5], "image change": [0, 0.14]}
        report = {"verdict": "works", "scales": [0, 0.6], "measures": measures}
        (place / name / "report.json").write_text(json.dumps(report))
    config = {"datasets": {"age": {}, "glasses": {}}, "steps": 150, "model": {"name": "flux-mini"}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (place / "overrides.yaml").write_text('["dataset=[age,glasses]"]')
    return place


def test_a_photograph_is_edited(opened, trained):
    page = opened()
    tab(page, "Photograph")
    more = page.get_by_role("button", name="More like this").locator("visible=true")
    page.locator("#photograph").wait_for()
    assert more.count() == 0  # there is nothing yet of which there could be more
    photo = sorted(Path(locate("pkg://data/real")).glob("*.png"))[0]
    page.locator("#photograph input[type=file]").set_input_files(str(photo))
    page.locator("#quality").get_by_text("dB against the photograph").wait_for()
    row = row_of(page, "photo")
    assert more.count() == 1
    row.locator("input").first.focus()
    page.keyboard.press("End")
    with page.expect_download() as download:
        row.get_by_role("link", name="Save the picture").click()
    with Image.open(download.value.path()) as image:
        assert "lora.0.scale" in image.text
        assert image.text["image"].endswith(".png")


def test_a_lora_is_downloaded_compared_and_thrown_away(site, opened, trained, tmp_path):
    page = opened()
    tab(page, "Library")
    page.locator("#runs button", has_text="age · works").first.click()
    page.locator("#about table").wait_for()
    page.get_by_label("Layout").click()
    page.get_by_role("option", name="kohya").click()
    page.get_by_role("button", name="Make the files").click()
    link = page.locator("#files a").first
    link.wait_for()
    assert "ComfyUI has no flux-mini" in page.locator("#files-said").inner_text()
    with page.expect_download() as download:
        link.click()
    path = tmp_path / "taken.safetensors"
    download.value.save_as(path)
    words = [f"lora={path}", "seeds=[0]", "scales=[0,0.4]", f"hydra.run.dir={tmp_path}/gen"]
    subprocess.run(
        [sys.executable, "-m", "pairedit", "gen", "device=cpu", *words], check=True, cwd=tmp_path
    )
    assert (tmp_path / "gen" / "sheet.png").is_file()
    assert list((site.outputs / "studio" / "exports").rglob("*-workflow.json"))
    page.get_by_label("Compare with").click()
    page.get_by_role("option", name="glasses · works").first.click()
    assert row_of(page, "compare").locator("canvas").count() == 2
    page.get_by_role("button", name="Play with it").locator("visible=true").click()
    page.locator("#play-slider").wait_for()
    chosen = page.get_by_label("Slider", exact=True).locator("visible=true")
    until(lambda: chosen.input_value().startswith("age, "))
    row_of(page)
    tab(page, "Library")
    page.locator("#runs button", has_text="age · works").first.click()
    page.get_by_role("button", name="Move to the trash").click()
    page.get_by_role("button", name="Really move it").click()
    page.locator("#library-said").get_by_text("trash").wait_for()
    assert not (trained / "age").exists()
    assert (trained / "glasses").is_dir()
    assert list((site.outputs / "trash").rglob("age/semantic.safetensors"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1600])
def test_every_tab_can_be_read(opened, width, scheme):
    page = opened(width, 900, color_scheme=scheme)
    for name in ("Play", "Train", "Photograph", "Library"):
        more = page.get_by_role("tab", name=name)
        more.click()
        page.wait_for_timeout(1200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        # Colours fade in.
        until(lambda: page.evaluate(CONTRAST) == [] or page.wait_for_timeout(500), 20)


# Texts whose contrast with what is behind them is less than WCAG's AA asks for.
CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return text.startsWith("color(srgb") ? found.map((v, k) => (k < 3 ? 255 * v : v)) : found;
  };
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement ?? at.getRootNode().host) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    const over = (under, [r, g, b, a]) => [r, g, b].map((v, k) => v * a + under[k] * (1 - a));
    return layers.reverse().reduce(over, [255, 255, 255]);
  };
  const poor = [];
  const look = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) look(node.shadowRoot);
      const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      const seen = { opacityProperty: true, visibilityProperty: true };
      if (!own || !node.checkVisibility(seen)) continue;
      if (node.closest("[disabled], [aria-hidden=true], style, script")) continue;
      if (!node.getClientRects().length) continue;
      const style = getComputedStyle(node), [r, g, b, a = 1] = parse(style.color);
      const under = behind(node), over = [r, g, b].map((v, k) => v * a + under[k] * (1 - a));
      const [low, high] = [light(under), light(over)].sort((x, y) => x - y);
      const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.7 && Number(style.fontWeight) >= 700);
      if (ratio < (large ? 3 : 4.5))
        poor.push(`${node.tagName} ${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
  };
  look(document);
  return poor;
}"""
