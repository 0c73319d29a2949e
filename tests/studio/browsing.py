"""What a test in a browser looks at and presses."""

import time

from pairedit.studio.shelf import Shelf

ROW = "#{} pairedit-row[ready]"
# Whether a row has so many pictures, and nothing of it is rendered any more.
WHOLE = """([place, count]) => {
  const row = document.querySelector(`#${place} pairedit-row[ready]`);
  const at_work = document.querySelector(`#${place}-said`)?.textContent.includes("Rendering");
  if (!row || at_work) return false;
  return JSON.parse(row.getAttribute("data")).panes.every((p) => p.pictures.length >= count);
}"""


def row_of(page, place="play", count=7):
    """Wait for a row of so many pictures."""
    page.wait_for_function(WHOLE, arg=[place, count])
    return page.locator(ROW.format(place))


def at(row):
    return [float(part) for part in row.get_attribute("data-at").split()]


def until(true, seconds=240):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def runs(site):
    return Shelf(site.outputs).runs()


def fill_steps(page, steps):
    """Write the number of steps, and wait until the page has taken it."""
    field = page.locator("#train-steps :is(input, textarea)")
    if not field.is_visible():
        page.locator("#train-more .label-wrap").click()
    field.fill(str(steps))
    field.press("Tab")
    command = page.locator("#train-command .cm-content")
    until(lambda: f"steps={steps}" in command.inner_text())
