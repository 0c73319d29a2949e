"""Several sliders at once: own scales, skips and ranks, zipped or as a grid; prompts by seed."""

from itertools import product

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from transformers import T5Tokenizer

from pairedit.data.images import read_image, to_image
from pairedit.data.prompts import read_prompts
from pairedit.files import locate
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.mini.faces import PHRASES, SUBJECT
from pairedit.pictures.png import read_metadata
from pairedit.plan.parse import choose_prompts, parse_prompts, parse_sliders
from pairedit.sample import Slider, generate
from test_jobs import command  # noqa: F401
from test_sample import strong_lora

STEPS, SKIPS = 6, (1, 4)
COMMON = {"num_inference_steps": STEPS, "guidance_scale": 3.5, "resolution": 32}


@pytest.fixture
def loras(flux, tmp_path):
    return [
        strong_lora(flux, tmp_path / name / "semantic.safetensors", seed=seed, rank=rank)
        for name, seed, rank in (("age", 0, 3), ("smile", 9, 5))
    ]


@torch.no_grad()
def naive(flux, loras, scales, seed, skips):
    """Sample one image alone: each LoRA is on from its own step."""
    adapters = Adapters(flux.transformer)
    for index, lora in enumerate(loras):
        adapters.load(f"x{index}", lora)
    sigmas, text = flux.sigmas(32, STEPS), flux.encode_prompt(["old"])
    x = flux.noise(seed, 32)[None]
    for step in range(STEPS):
        on = {f"x{i}": s for i, s in enumerate(scales) if step >= skips[i]}
        with adapters.rows([Row(scales=on)]):
            x = x + (sigmas[step + 1] - sigmas[step]) * flux.velocity(x, sigmas[step], text, 3.5)
    adapters.remove()
    return np.asarray(to_image(flux.decode(x)[0])).astype(int)


@pytest.mark.parametrize(
    ("skips", "batch_size"), [(SKIPS, 2), (SKIPS[::-1], 16), ((None, 4), 4), ((0, 0), 16)]
)
def test_each_slider_acts_from_its_own_skip_on(flux, loras, skips, batch_size):
    grid = list(product((0.0, 0.5), (-0.4, 0.8)))
    sliders = [
        Slider(lora=lora, scales=tuple(cell[i] for cell in grid), skip=skips[i])
        for i, lora in enumerate(loras)
    ]
    samples = list(
        generate(
            flux,
            sliders=sliders,
            prompts=["old"],
            seeds=[3, 5],
            skip=2,
            batch_size=batch_size,
            **COMMON,
        )
    )
    assert [(s.seed, s.scales) for s in samples] == list(product([3, 5], grid))
    acts = [2 if skip is None else skip for skip in skips]
    for sample in samples:
        expected = naive(flux, loras, sample.scales, sample.seed, acts)
        found = np.asarray(sample.image).astype(int)
        assert abs(found - expected).max() <= 1, (sample.seed, sample.scales)
    late = naive(flux, loras, (0.5, 0.8), 3, [skip + 1 for skip in acts])
    last = np.asarray(samples[len(grid) - 1].image).astype(int)
    assert abs(late - last).max() > 4, "one step more or less shows"


def test_a_grid_combines_across_and_down():
    entries = OmegaConf.create({"x": ["a", {"path": "b", "scales": [0, 1], "skip": 18}]}).x
    across, down = parse_sliders(entries, [0, 0.2, 0.4], grid=True)
    assert (across.skip, down.skip) == (None, 18)
    assert list(zip(across.scales, down.scales, strict=True)) == [
        *((0.0, 0.0), (0.2, 0.0), (0.4, 0.0)),
        *((0.0, 1.0), (0.2, 1.0), (0.4, 1.0)),
    ]


@pytest.mark.parametrize(
    ("lora", "scales", "reason"),
    [
        ("a", None, "needs two LoRAs"),
        (["a", "b", "c"], None, "there is 3"),
        (["a", "b"], [0, 0], "a cell is there twice"),
        (["a", {"path": "b", "skip": "x"}], None, "skip 'x' of b"),
    ],
)
def test_what_is_no_grid_is_refused(lora, scales, reason):
    with pytest.raises(ValueError, match=reason):
        parse_sliders(OmegaConf.create({"x": lora}).x, scales, grid=True)


def test_the_command_draws_a_grid(command, loras, tmp_path):  # noqa: F811
    age, smile = (lora.path for lora in loras)
    words = [
        f"lora=[{age},{{path: {smile}, skip: 3}}]",
        "scales=[0,0.5,1]",
        "grid=true",
        "skip=1",
        "seeds=[4]",
    ]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'a'}")
    assert (code, err) == (0, "")
    images = sorted((tmp_path / "a/images").iterdir())
    assert len(images) == 9
    notes = read_metadata(tmp_path / "a/images/prompt00_seed000004_scale+0.5_+1.png")
    assert (notes["skip"], notes["lora.1.skip"]) == ("1", "3")
    assert "lora.0.skip" not in notes
    sheet = read_image(tmp_path / "a/sheet.png")
    assert 3 * 32 < sheet.height < 9 * 32 + 100
    # Rows run along the second LoRA: the left column differs from the right one in the first.
    pixels = np.asarray(sheet).tobytes()
    assert np.asarray(read_image(images[0])).tobytes()[: 32 * 3] in pixels

    code, _, err = command("gen", *words, "animate=true")
    assert code == 1
    assert "a grid has no one direction" in err


def test_skips_sweep(command, loras, tmp_path):  # noqa: F811
    code, _, err = command(
        "gen",
        "-m",
        f"lora={loras[0].path}",
        "scales=[1]",
        "skip=0,1,3",
        "seeds=[1]",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )
    assert (code, err) == (0, "")
    images = {
        path.parents[1].name: read_image(path).tobytes()
        for path in (tmp_path / "sweep").glob("*/images/*.png")
    }
    assert len(images) == len(set(images.values())) == 3


def test_a_seed_draws_its_prompt_whatever_the_other_seeds():
    prompts = [f"p{index}" for index in range(16)]
    many = choose_prompts(prompts, range(60), "one")
    assert many[7] == choose_prompts(prompts, [7], "one")[7]
    assert len(set(many.values())) > 10
    assert choose_prompts(prompts, [1], "all") == prompts
    with pytest.raises(ValueError, match="all or one"):
        choose_prompts(prompts, [1], "two")


def test_one_prompt_for_each_seed_is_rendered(command, flux, tmp_path):  # noqa: F811
    file = tmp_path / "prompts.txt"
    file.write_text("old\nyoung\nred\nblue\n")
    words = [f"prompts_file={file}", "prompts_per_seed=one", "seeds=[1,2,3]", "skip=1"]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'a'}")
    assert (code, err) == (0, "")
    expected = choose_prompts(read_prompts(file), [1, 2, 3], "one")
    assert len(set(expected.values())) > 1
    found = {}
    for path in (tmp_path / "a/images").iterdir():
        notes = read_metadata(path)
        found[int(notes["seed"])] = notes["prompt"]
        (sample,) = generate(
            flux,
            sliders=[],
            prompts=[notes["prompt"]],
            seeds=[int(notes["seed"])],
            skip=1,
            num_inference_steps=4,
            guidance_scale=3.5,
            resolution=32,
        )
        difference = np.asarray(read_image(path)).astype(int) - np.asarray(sample.image)
        assert abs(difference).max() <= 1
    assert found == expected


def test_shipped_prompts():
    known = {words for entries in PHRASES.values() for _, _, words in entries}
    sets = {path.stem: read_prompts(path) for path in locate("pkg://data/prompts").glob("*.txt")}
    assert set(sets) == {"person", "person_mini"}
    for prompt in sets["person_mini"]:
        subject, *words = prompt.split(", ")
        assert subject == SUBJECT
        assert set(words) <= known
    tokenizer = T5Tokenizer.from_pretrained(locate("pkg://flux_mini") / "tokenizer_2")
    longest = max(len(ids) for ids in tokenizer(sets["person_mini"])["input_ids"])
    assert longest <= 32, "flux-mini would cut a prompt"
    for prompts in sets.values():
        assert len(prompts) == len(set(prompts)) >= 12
    assert parse_prompts(None, "person", "") == sets["person"]
    with pytest.raises(ValueError, match="expected a path, or one of person, person_mini"):
        parse_prompts(None, "persons", "")
