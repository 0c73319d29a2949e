"""The page of the benchmarks."""

import json
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def a_run(path: Path, date: str, base: str | None = None, **seconds: float) -> Path:
    """Write what a run found, given the seconds of its variants."""
    results = {
        name.replace("_", "-"): {
            "unit": "step",
            "seconds": {"median": value, "p10": value, "p90": value},
            "peak": {"allocated": 1.0},
            "device": "GPU",
        }
        for name, value in seconds.items()
    }
    about = {"date": date, "size": "full", "torch": "2", "diffusers": "0", "results": results}
    path.write_text(json.dumps(about | ({"base": base} if base else {})))
    return path


def test_a_page_keeps_bases_apart_and_compares_within_a_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import table

    page = tmp_path / "page.md"
    marks = ("full size", "full size, klein")
    page.write_text("".join(f"<!-- {m}: begin -->\n<!-- {m}: end -->\n" for m in marks))
    paths = [
        a_run(tmp_path / "1.json", "2026-01-01", naive_train=1.0, train_80gb=0.5),
        a_run(tmp_path / "2.json", "2026-01-02", train_fp8=0.25),
        a_run(tmp_path / "3.json", "2026-01-03", "flux1", naive_train=3.0, train_24gb=0.5),
        a_run(tmp_path / "4.json", "2026-01-04", "klein", train_80gb=0.125),
    ]
    monkeypatch.setattr(sys, "argv", ["table.py", *map(str, paths), "--page", str(page)])
    table.main()
    flux, klein = page.read_text().split("<!-- full size: end -->")
    assert "| train-80gb | 0.500 (0.500 … 0.500) | 2.0 × |" in flux
    assert "| train-fp8 | 0.250 (0.250 … 0.250) | 4.0 × |" in flux
    assert "| train-24gb | 0.500 (0.500 … 0.500) | 6.0 × |" in flux
    assert "| naive-train | 3.000 (3.000 … 3.000) | 1.0 × |" in flux
    assert "| training step, times faster | ≥ 4 | 2.00 | missed |" in flux
    assert "| train-80gb | 0.125 (0.125 … 0.125) | – |" in klein
    assert "wanted" not in klein


def test_a_later_run_that_times_nothing_leaves_the_ceiling_to_the_one_that_does(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import table

    def note(path: Path, rate: float, **more: dict) -> Path:
        run = json.loads(path.read_text())
        ceiling = {"device": "GPU", "tflops": {"bf16": {"median": rate}}}
        run["results"] |= {"ceiling": ceiling, **more}
        path.write_text(json.dumps(run))
        return path

    one = {"device": "GPU", "unit": "agreement"}
    timed = note(a_run(tmp_path / "1.json", "2026-01-01", train_80gb=0.5), 700.0, agreement=one)
    later = note(a_run(tmp_path / "2.json", "2026-01-02"), 600.0, agreement=one | {"new": True})
    newest, results, sources = table.read([timed, later])
    assert newest["date"] == "2026-01-01"
    assert results["ceiling"]["tflops"]["bf16"]["median"] == 700
    assert sources == {"later run `2.json`": ["agreement"]}
    assert "From the later run `2.json`: agreement." in table.page([timed, later])
