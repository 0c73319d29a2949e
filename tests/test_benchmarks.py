"""The benchmarks run, on the tiny model; the naive loop and the counted work are right."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    # full_size.py sets them; what stood there comes back after the test.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    import measure
    import naive
    import sizes

    return measure, naive, sizes


def run(script: str, *words: object) -> str:
    command = [sys.executable, BENCHMARKS / script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "tiny.json"
    variants = "naive-train,train-80gb,sample-80gb,agreement"
    run("full_size.py", "--size", "tiny", "--variants", variants, "--out", path)
    return path


@pytest.mark.heavy
def test_three_shapes_are_timed_in_one_run(tmp_path):
    path = tmp_path / "tiny.json"
    run("full_size.py", "--size", "tiny", "--variants", "shapes,shapes-dynamic", "--out", path)
    results = json.loads(path.read_text())["results"]
    for name in ("shapes", "shapes-dynamic"):
        found = results[name]
        assert "error" not in found, found
        assert len(found["sizes"]) == 3
        assert all(one["per_pixel"] > 0 for one in found["sizes"].values())
        assert found["compiled"] == 0  # nothing is compiled on a CPU


@pytest.mark.heavy
def test_variants_measure_the_same_work_in_processes_of_their_own(measured):
    found = json.loads(measured.read_text())
    results = found["results"]
    assert list(results) == ["ceiling", "naive-train", "train-80gb", "sample-80gb", "agreement"]
    assert not [result["error"] for result in results.values() if "error" in result]
    assert results["naive-train"]["tflop"] == results["train-80gb"]["tflop"]
    for name in ("naive-train", "train-80gb", "sample-80gb"):
        seconds = results[name]["seconds"]
        assert 0 < seconds["p10"] <= seconds["median"] <= seconds["p90"]
        rate = results["ceiling"]["tflops"]["bf16"]["median"]
        share = results[name]["tflop"] / seconds["median"] / rate
        assert results[name]["share"] == pytest.approx(share)
    assert len(results["train-80gb"]["losses"]) == len(results["naive-train"]["losses"]) == 4


@pytest.mark.heavy
def test_the_fast_path_is_as_exact_as_the_naive_one(measured):
    found = json.loads(measured.read_text())["results"]["agreement"]
    assert found["agrees"]
    assert max(found["losses"]["ours to naive"]) < 1e-5
    assert max(found["gradient"]["ours to naive"]) < 1e-5
    # An edit that is lost would agree as well.
    assert found["images"]["ours to naive"] < 1e-4 < 1e-2 < found["images"]["edit"]


def test_nothing_is_begun_without_time_for_it(modules, tmp_path, monkeypatch, capsys):
    import full_size

    path = tmp_path / "none.json"
    words = ["--size", "tiny", "--variants", "sample-80gb", "--seconds", "0", "--out", str(path)]
    monkeypatch.setattr(sys, "argv", ["full_size.py", *words])
    full_size.main()
    assert "sample-80gb: skipped" in capsys.readouterr().out
    assert not path.exists()


def test_a_variant_is_cut_off_when_time_is_up(modules, tmp_path):
    import full_size

    args = argparse.Namespace(base="flux1", size="tiny", device="cpu")
    card = full_size.Card(tmp_path, "cpu")
    found = full_size.run("train-80gb-whole", args, card, tmp_path / "whole", 0.5, ready=None)
    assert found["error"] == "cut off: out of time"
    assert found["took"] < 5


@pytest.mark.heavy
def test_the_page_shows_the_newest_of_each_variant(measured, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import table

    def fill(*results: Path) -> str:
        monkeypatch.setattr(sys, "argv", ["table.py", *map(str, results), "--page", str(page)])
        table.main()
        return page.read_text()

    page, older = tmp_path / "page.md", tmp_path / "older.json"
    page.write_text("Before\n<!-- full size: begin -->\nold\n<!-- full size: end -->\nAfter\n")
    first = fill(measured)
    assert first.startswith("Before\n")
    assert first.endswith("<!-- full size: end -->\nAfter\n")
    assert "old\n" not in first
    results = json.loads(measured.read_text())["results"]
    ratio = results["naive-train"]["seconds"]["median"] / results["train-80gb"]["seconds"]["median"]
    assert f"| {ratio:.1f} × |" in first
    assert f"| training step, times faster | ≥ 4 | {ratio:.2f} | " in first
    assert fill(measured) == first
    earlier = json.loads(measured.read_text()) | {"date": "2000-01-01 00:00 UTC"}
    earlier["results"]["sample-24gb"] = earlier["results"]["sample-80gb"]
    older.write_text(json.dumps(earlier))
    assert "From the earlier run `older.json`: sample-24gb." in fill(older, measured)


def test_the_semantic_pass_leaves_the_content_lora_alone(modules):
    _, naive, sizes = modules
    model = naive.Naive(sizes.TINY, torch.device("cpu"))
    for role in naive.ROLES:
        for weight in model.parameters(role):
            weight.data = torch.randn_like(weight)
    latents = torch.randn(3, 1, 4, 4, 4)
    losses = model.losses(*latents, torch.tensor(0.5))
    content, semantic = model.parameters("content"), model.parameters("semantic")

    def gradients(loss, weights):
        return torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)

    assert all(part is None for part in gradients(losses["semantic"], content))
    assert all(part is None for part in gradients(losses["content"], semantic))
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in content + semantic)


def test_flops_are_those_that_torch_counts(modules):
    measure, naive, sizes = modules
    model = naive.Naive(sizes.TINY, torch.device("cpu"))
    model.on([], learns=[])
    latents = torch.randn(1, 4, 4, 4)
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        model.velocity(latents, torch.tensor(0.5))
    count = measure.forward_flops(model.transformer.config, *measure.tokens(sizes.TINY))
    assert counter.get_total_flops() == count


def test_flops_of_klein_are_those_that_torch_counts(modules):
    import base_flux2_klein
    from pairedit.bases.base import velocity
    from pairedit.machine.hardware import Hardware

    size = base_flux2_klein.TINY
    base = size.opened(torch.device("cpu"), Hardware())
    text, latents = base.text(["old"]), base.noise(0, size.image)[None]
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        velocity(base, latents, torch.tensor(0.5), text, None)
    clock = 2 * 32 * size.width  # of the features of a noise level, which has its own width here
    assert counter.get_total_flops() == size.forward() + clock


def test_flops_of_z_image_are_those_that_torch_counts(modules):
    import base_z_image
    from pairedit.bases.base import velocity
    from pairedit.machine.hardware import Hardware

    size = base_z_image.TINY
    base = size.opened(torch.device("cpu"), Hardware())
    text, latents = base.text([size.prompt]), base.noise(0, size.image)[None]
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        velocity(base, latents, torch.tensor(0.5), text, None)
    clock = 2 * (256 * 1024 + 1024 * 32)  # its embedding
    clock += 2 * 32 * (3 * 4 * 32 + 32)  # three blocks with a modulation, and the end
    assert counter.get_total_flops() == size.forward() + clock


def test_blocks_share_memory_only_where_weights_do_not_matter(modules):
    _, _, sizes = modules
    first, second = (
        block.attn.to_q.weight
        for block in sizes.build(sizes.TINY).transformer.single_transformer_blocks
    )
    assert not torch.equal(first, second)
    small = sizes.replace(sizes.TINY, distinct=False)
    first, second = (
        block.attn.to_q.weight for block in sizes.build(small).transformer.transformer_blocks
    )
    assert first is not second
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.heavy
def test_what_a_launcher_and_a_large_report_cost_is_measured(tmp_path):
    words = ["--work", tmp_path, "--jobs", 2, "--launchers", "basic"]
    jobs = json.loads(run("sweep_overhead.py", *words))["basic"]
    assert jobs["seconds inside a job"] < jobs["seconds a job"]
    report = json.loads(run("sweep_overhead.py", "--work", tmp_path, "--sliders", 30))["report"]
    assert 0 < report["report, MB"] < 10
    noted = json.loads((tmp_path / "sweep_overhead.json").read_text())
    assert noted["basic"].items() >= jobs.items()
    assert noted["report"].items() >= report.items()


def test_the_demo_is_read_from_the_makefile(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import demo

    found = demo.demo(Path("/x"))
    assert list(found) == ["age", "smile"]
    for edit, commands in found.items():
        (train, *trained), (gen, *rendered) = commands
        assert (train, gen) == ("train", "gen")
        assert f"dataset={edit}" in trained
        (folder,) = (word.partition("=")[2] for word in trained if "run.dir" in word)
        assert f"lora={folder}/{edit}/semantic.safetensors" in rendered
        assert f"hydra.run.dir=/x/{edit}" in rendered
