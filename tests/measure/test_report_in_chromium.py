"""The report as a browser shows it: by keyboard, by mouse, on a phone, without a network."""

import json
import os
import re
import shutil
import subprocess
from html import unescape

import pytest

from drawing import SCALES, pairs_in, slider, with_seeds
from pairedit.measure.report import Plate, Shown, write_report

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here"),
]
# A page of its own around the report, since a window of Chromium is at least 500 px wide.
AROUND = """<!doctype html><iframe id=f src='r.html' style='width:{width}px;height:700px'></iframe>
<pre id=o></pre><script>onload = () => {{
  const d = f.contentDocument, w = f.contentWindow, found = {{}};
  const narrowest = of => Math.min(...[...d.querySelectorAll(of)].map(i => i.clientWidth));
  found.narrowest = ['.film img', '.pair img', '.now'].map(narrowest);
  found.overflow = d.documentElement.scrollWidth - d.documentElement.clientWidth;
  const r = d.querySelector('.stage input[type=range]');
  const now = () => [r.getAttribute('aria-valuetext'), d.querySelector('.now').alt];
  found.first = now();
  found.keys = {keys}.map(key => {{
    r.dispatchEvent(new w.KeyboardEvent('keydown', {{ key, cancelable: true }}));
    return now();
  }});
  r.value = 0.27;
  r.dispatchEvent(new w.Event('input'));
  found.dragged = now();
  r.dispatchEvent(new w.Event('change'));
  found.rests = r.value;
  d.querySelector('.stage input[type=checkbox]').click();
  found.maps = w.getComputedStyle(d.querySelector('.zero')).visibility;
  o.textContent = JSON.stringify(found);
}}</script>"""
KEYS = ["Home", "ArrowRight", "ArrowUp", "End", "ArrowRight", "ArrowLeft"]


def seen(folder, width):
    """Return what a browser of this width makes of the report in a folder."""
    (folder / "a.html").write_text(AROUND.format(width=width, keys=json.dumps(KEYS)))
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    words += ["--virtual-time-budget=3000", "--dump-dom", f"file://{folder}/a.html"]
    done = subprocess.run(
        [CHROMIUM, *words], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(unescape(re.search(r"<pre id=\"o\">(.*?)</pre>", done.stdout)[1]))


def test_one_slider_is_moved_by_keys_and_dragged(tmp_path):
    result = slider(pairs_in(tmp_path / "pairs", 3))
    write_report(tmp_path / "r.html", {"age": [result]}, Shown(settings=with_seeds(result)))
    found = seen(tmp_path, 390)
    assert found["overflow"] <= 0
    assert found["first"][1] == "seed 1000 at scale 0.4", "the picture nearest to one pair"
    shown = [SCALES[k] for k in (0, 1, 2, 4, 4, 3)]
    assert [alt for _, alt in found["keys"]] == [f"seed 1000 at scale {s:g}" for s in shown]
    assert [text.split(" · ")[0] for text, _ in found["keys"]] == [f"scale {s:g}" for s in shown]
    assert found["dragged"][1] == "seed 1000 at scale 0.2"
    assert (found["rests"], found["maps"]) == ("0.2", "visible")


@pytest.mark.parametrize(("width", "large"), [(320, 260), (390, 330), (1280, 400)])
def test_one_person_is_large_and_no_picture_is_tiny(tmp_path, width, large):
    result = slider(pairs_in(tmp_path / "pairs", 3), lanes=1)
    write_report(tmp_path / "r.html", {"age": [result]}, Shown(settings=with_seeds(result)))
    found = seen(tmp_path, width)
    assert found["overflow"] <= 0
    assert min(found["narrowest"]) >= 110
    assert found["narrowest"][2] >= large


@pytest.mark.parametrize("width", [390, 1600])
def test_several_sliders_need_no_scrolling_sideways(tmp_path, width):
    pairs = pairs_in(tmp_path / "pairs")
    names = [f"graded, learning_rate={n}e-3, noise_scale=1.5, lora.targets=all" for n in range(4)]
    group = [slider(pairs, name) for name in names]
    row = [result.samples[0, 1].image for result in (group[0], *group)]
    plate = Plate(rows=[row], labels=["seed 1000"], captions=["base", *names])
    shown = Shown(settings=with_seeds(group[0]), plates={"age": plate})
    write_report(tmp_path / "r.html", {"age": group}, shown)
    assert seen(tmp_path, width)["overflow"] <= 0
