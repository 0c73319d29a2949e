"""Hardware profiles: what auto takes, and that no path changes the result."""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from functorch.compile import min_cut_rematerialization_partition
from torch._dynamo.backends.common import aot_autograd

from conftest import write_pairs
from pairedit.bases.flux1 import heads
from pairedit.bases.flux1 import place as placing
from pairedit.bases.flux1.flux import load
from pairedit.bases.flux1.heads import to_heads
from pairedit.bases.flux1.mlps import feed, multiply_gelu, round_gelu
from pairedit.bases.flux1.place import training_blocks
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.machine.devices import memory_advice, settle_gpu
from pairedit.machine.hardware import Hardware, choose, profile
from pairedit.machine.quantised import EightBit, Float8
from pairedit.methods import PairEdit
from pairedit.sample import Slider, generate
from pairedit.settings import Settings
from pairedit.train import fit

FUSED = Hardware(name="fused", fused=True)
BIG = 12_000_000_000


def settle(asked, **known):
    known = {"device": "cuda", "free": 80.0, "parameters": BIG, "precision": "bf16"} | known
    return choose(asked, **{"changes": {}} | known)


@pytest.mark.parametrize(
    ("free", "name"), [(79.0, "80gb"), (47.0, "80gb"), (23.0, "24gb"), (15.0, "12gb"), (4, "12gb")]
)
def test_auto_takes_what_fits(free, name):
    assert settle(Hardware(name="auto"), free=free).name == name


@pytest.mark.parametrize("known", [{"device": "cpu"}, {"parameters": 10_000_000}])
def test_auto_leaves_small_models_and_cpus_plain(known):
    found = settle(Hardware(name="auto"), **known)
    assert not found.fused
    assert not found.compile
    assert found.precision == "bf16"


def test_what_the_user_sets_wins_over_the_profile():
    found = settle(
        Hardware(name="auto"), free=23.0, changes={"precision": "int8", "gradient_checkpointing": 0}
    )
    assert found == replace(profile("24gb"), precision="int8", gradient_checkpointing=0)


@pytest.mark.parametrize("asked", [profile("24gb"), Hardware(precision="fp8")])
def test_what_needs_a_gpu_says_so(asked):
    with pytest.raises(ValueError, match="needs a GPU, and this run is on cpu"):
        settle(asked, device="cpu")


@pytest.mark.parametrize("name", ["80gb", "24gb", "12gb", "cpu"])
def test_profiles_say_every_field(name):
    assert profile(name).name == name


def test_bad_fields_are_all_named():
    with pytest.raises(ValueError, match=r"hardware\.batch_size=0.*hardware\.graphs=True"):
        Hardware(batch_size=0, graphs=True)


class Record:
    def __init__(self):
        self.losses = []

    def log(self, step, values):
        self.losses.append(values["loss"])

    def rewind(self, step):
        pass


def open_flux(folder, hardware):
    """Open a model anew: a transformer that was placed for one hardware serves no other."""
    load.cache_clear()
    return load(
        str(folder),
        device="cpu",
        precision="float32",
        max_sequence_length=32,
        hardware=hardware,
    )


@pytest.fixture
def results(tiny_flux_folder, tmp_path):
    write_pairs(tmp_path / "pairs")

    def run(hardware, targets="attention"):
        """Train and sample with one hardware; return losses, LoRA weights and latents."""
        flux = open_flux(tiny_flux_folder, hardware)
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        record = Record()
        files = fit(
            flux=flux,
            method=PairEdit(),
            pairs=find_pairs(tmp_path / "pairs"),
            settings=Settings(
                steps=3,
                rank=4,
                targets=targets,
                resolution=32,
                gradient_checkpointing=hardware.gradient_checkpointing,
            ),
            folder=folder,
            run=record,
            metadata={},
        )
        lora, latents, decode = read_lora(files["semantic"]), [], flux.decode
        flux.decode = lambda x: latents.append(x) or decode(x)
        # Three columns and two seeds: batches that a power of two does not fit.
        for _ in generate(
            flux,
            sliders=[Slider(lora=lora, scales=(-0.5, 0.0, 0.8))],
            prompts=["", "a"],
            seeds=[0],
            skip=2,
            num_inference_steps=4,
            guidance_scale=3.5,
            resolution=32,
            batch_size=3,
        ):
            pass
        weights = torch.cat([part.flatten() for pair in lora.weights.values() for part in pair])
        load.cache_clear()
        return torch.tensor(record.losses), weights, torch.cat(latents)

    return run


@pytest.mark.parametrize(
    "hardware", [FUSED, replace(FUSED, name="again", gradient_checkpointing=0.5)]
)
def test_the_fused_path_gives_the_plain_result(results, hardware):
    for found, expected in zip(results(hardware), results(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_loras_on_a_few_of_the_joint_projections_act_all_the_same(results):
    targets = (r"attn\.to_(k|out\.0)", r"attn\.add_v_proj")
    found, expected = (results(hardware, targets) for hardware in (FUSED, Hardware()))
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learning", [False, True])
def test_loras_of_any_module_and_rank_act_on_their_rows(tiny_flux_folder, learning):
    targets = {
        "a": (3, [r"attn\.to_(k|v)", "proj_mlp", r"ff\.net\.2"]),
        "b": (5, "attention"),
        "c": (2, ["proj_out"]),
    }
    rows = [
        Row(scales={"a": 0.5}),
        Row(scales={"b": -0.7, "a": 1.2, "c": 1.0}, learns=frozenset({"a"})),
        Row(),
    ]

    def run(hardware):
        flux = open_flux(tiny_flux_folder, hardware)
        sigmas, text = flux.sigmas(48, 4), flux.encode_prompt(["", "a", "b"])
        flux.prepare(sigmas, text, 3.5)
        generator = torch.Generator().manual_seed(0)
        adapters = Adapters(flux.transformer, names=flux.names, stacked=hardware.fused)
        for name, (rank, modules) in targets.items():
            adapters.add(name, rank=rank, alpha=2, targets=modules, generator=generator)
        for name in targets:
            for weight in adapters.parameters(name)[1::2]:
                weight.data.normal_(generator=generator)
        latents = torch.randn(3, *flux.latent_shape(48), generator=generator)
        with adapters.rows(rows), torch.set_grad_enabled(learning):
            output = flux.velocity(latents, sigmas[1], text, 3.5)
            if learning:
                output.square().sum().backward()
        found = [output.detach()]
        found += [weight.grad for weight in adapters.parameters("a") if learning]
        adapters.remove()
        load.cache_clear()
        return found

    for found, expected in zip(run(FUSED), run(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_projections_that_stay_apart_give_the_plain_result(results, monkeypatch):
    fuse = placing._fuse
    # As 4-bit ones do.
    monkeypatch.setattr(placing, "_fuse", lambda *given, wanted: fuse(*given, wanted=False))
    for found, expected in zip(results(FUSED), results(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def open_fused(folder, **more):
    flux = open_flux(folder, replace(FUSED, **more))
    sigmas, text = flux.sigmas(32, 4), flux.encode_prompt([""])
    flux.prepare(sigmas, text, 3.5)
    adapters = Adapters(flux.transformer, names=flux.names, stacked=True)
    adapters.add(
        "semantic", rank=2, alpha=1, targets="attention", generator=torch.Generator().manual_seed(0)
    )
    adapters.parameters("semantic")
    latents = torch.randn(1, *flux.latent_shape(32), generator=torch.Generator().manual_seed(0))
    rows = [Row(scales={"semantic": 1.0}, learns=frozenset({"semantic"}))]

    def step():
        with adapters.rows(rows):
            flux.velocity(latents, sigmas[1], text, 3.5).square().sum().backward()

    return flux, step


# torch warns of itself while it traces.
@pytest.mark.filterwarnings("ignore")
def test_one_compilation_serves_all_blocks_of_a_kind(tiny_flux_folder, monkeypatch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    whole = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: whole(self, backend=backend, **options),
    )
    flux, step = open_fused(tiny_flux_folder, compile=True)
    with training_blocks(flux.transformer, flux.hardware, 0.0):
        step()
        step()
    load.cache_clear()
    blocks = flux.transformer
    assert min(len(blocks.transformer_blocks), len(blocks.single_transformer_blocks)) >= 2
    assert len(compiled) == 2


def test_the_backward_pass_keeps_projections_not_what_is_made_of_them(
    tiny_flux_folder, monkeypatch
):
    def kept():
        sizes = {}
        note = lambda part: sizes.setdefault(part.data_ptr(), part.nbytes) and part  # noqa: E731
        _, step = open_fused(tiny_flux_folder)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda part: part):
            step()
        load.cache_clear()
        return sum(sizes.values())

    found = kept()
    monkeypatch.setattr(heads, "checkpoint", lambda function, *inputs, **_: function(*inputs))
    assert found < 0.9 * kept()


# torch warns of itself while it traces.
@pytest.mark.filterwarnings("ignore")
def test_the_traced_path_gives_the_plain_result(results, monkeypatch):
    whole = torch.nn.Module.compile
    # Traced in full as on a GPU; generating code for a CPU would take minutes.
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: whole(self, backend="aot_eager", **options),
    )
    compiled = results(replace(FUSED, name="compiled", compile=True))
    for found, expected in zip(compiled, results(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "library"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_quantised_bases_are_near_the_full_one_or_ask_for_their_library(
    results, precision, library
):
    quantised = replace(FUSED, name=precision, precision=precision)
    try:
        __import__(library)
    except ImportError:
        with pytest.raises(ValueError, match=rf"precision={precision}: .*pairedit\[quantization\]"):
            results(quantised)
        return
    losses, _, latents = results(quantised)
    expected, _, plain = results(Hardware())
    torch.testing.assert_close(losses, expected, rtol=0.05, atol=0)
    assert (latents - plain).norm() < 0.2 * plain.norm()


def quantise(layer, kind):
    """Do what torchao does, which is not always there."""
    weight = layer.weight.detach().float()
    scale = weight.abs().amax(1, keepdim=True) / {Float8: 448, EightBit: 127}[kind]
    scaled = weight / scale
    rounded = scaled.to(torch.float8_e4m3fn) if kind is Float8 else scaled.round().to(torch.int8)
    layer.__class__ = kind
    layer.take(SimpleNamespace(qdata=rounded, scale=scale, dtype=torch.bfloat16))


@pytest.mark.parametrize("kind", [Float8, EightBit])
def test_eight_bit_layers_multiply_and_pass_gradient_like_the_full_one(kind):
    generator = torch.Generator().manual_seed(0)
    full = torch.nn.Linear(64, 48)
    layer = copy.deepcopy(full)
    quantise(layer, kind)
    inputs = torch.randn(2, 5, 64, generator=generator)
    # Large in one token, small in another: each has its own scale.
    inputs = (inputs * torch.logspace(-3, 3, 5)[:, None]).bfloat16().requires_grad_()
    layer.bias.data = layer.bias.data.bfloat16()
    output = layer(inputs)
    expected = full.bfloat16()(inputs)
    errors = (output - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert errors.max() < 0.06
    (found,) = torch.autograd.grad(output.sum(), inputs)
    (gradient,) = torch.autograd.grad(expected.sum(), inputs)
    assert (found - gradient).norm() < 0.06 * gradient.norm()


# torch warns of itself while it traces.
@pytest.mark.filterwarnings("ignore")
def test_compiled_eight_bit_layers_keep_no_full_weights_for_the_way_back():
    kept = []

    def forward(graph, inputs):
        (result,) = [node for node in graph.graph.nodes if node.op == "output"]
        kept.extend(node.meta["val"] for node in result.args[0] if hasattr(node, "meta"))
        return graph

    layer = torch.nn.Linear(64, 48, bias=False)
    layer.__class__ = EightBit
    whole = torch.zeros(48, 64, dtype=torch.int8)
    layer.take(SimpleNamespace(qdata=whole, scale=torch.ones(48, 1), dtype=torch.bfloat16))
    backend = aot_autograd(
        fw_compiler=forward,
        bw_compiler=lambda graph, inputs: graph,
        partition_fn=min_cut_rematerialization_partition,
    )
    x = draw(2, 5, 64).requires_grad_()
    torch.compile(layer, backend=backend, fullgraph=True)(x).sum().backward()
    sizes = [(tuple(value.shape), value.dtype) for value in kept]
    assert ((48, 64), torch.int8) in sizes
    assert all(size != (48, 64) or kind == torch.int8 for size, kind in sizes)


def test_stacked_loras_learn_from_their_own_rows_only(tiny_flux_folder):
    flux = open_flux(tiny_flux_folder, FUSED)
    text = flux.encode_prompt(["", ""])
    sigmas = flux.sigmas(32, 4)
    flux.prepare(sigmas, text, 3.5)
    adapters = Adapters(flux.transformer, names=flux.names, stacked=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("content", "semantic"):
        adapters.add(name, rank=2, alpha=1, targets="attention", generator=generator)
    for name in ("content", "semantic"):
        for weight in adapters.parameters(name)[1::2]:
            weight.data.normal_(generator=generator)
    rows = [
        Row(scales={"content": 1.0}, learns=frozenset({"content"})),
        Row(scales={"content": 1.0, "semantic": 1.0}, learns=frozenset({"semantic"})),
    ]
    latents = torch.randn(2, *flux.latent_shape(32), generator=generator)
    with adapters.rows(rows):
        output = flux.velocity(latents, sigmas[1], text, 3.5)
        output[1].square().sum().backward()
    grads = {
        name: sum(float(w.grad.abs().sum()) for w in adapters.parameters(name))
        for name in ("content", "semantic")
    }
    adapters.remove()
    load.cache_clear()
    assert grads["content"] == 0
    assert grads["semantic"] > 0


def draw(*shape, device="cpu", seed=0):
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, device=device, dtype=torch.bfloat16, generator=generator)


def near(found, expected, tolerance):
    found, expected = found.float(), expected.float()
    return (found - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("beside", [0, 48])
@pytest.mark.parametrize("kind", [torch.nn.Linear, Float8])
def test_an_mlp_gives_the_same_with_and_without_a_gradient(kind, beside):
    up, down = torch.nn.Linear(32, 64).bfloat16(), torch.nn.Linear(64 + beside, 32).bfloat16()
    for layer in (up, down):
        if kind is Float8:
            quantise(layer, kind)
    x, other = draw(2, 5, 32), draw(2, 5, beside) if beside else None
    with torch.no_grad():
        found = feed(up, down, x, other)
    assert near(found, feed(up, down, x, other), 1e-2)
    assert found.shape == x.shape


def needs(capability):
    there = torch.cuda.get_device_capability() if torch.cuda.is_available() else (0, 0)
    reason = f"needs a CUDA device of compute capability {capability}"
    return pytest.mark.skipif(there < capability, reason=reason)


@pytest.mark.gpu
@needs((9, 0))
def test_cudnn_attention_agrees_with_torch():
    from pairedit.machine.attention import cudnn, plain

    settle_gpu()
    # Value and gradient as parts of larger tensors, as those of joint projections are.
    query, key = (draw(2, 320, 4, 128, device="cuda", seed=s).requires_grad_() for s in (1, 2))
    joint = draw(2, 320, 12, 128, device="cuda", seed=3).requires_grad_()
    grad = draw(2, 320, 20, 128, device="cuda", seed=4)[:, :, 4:8]
    outputs = [
        torch.autograd.grad(attend(query, key, joint[:, :, 8:]), [query, key, joint], grad)
        for attend in (cudnn, plain)
    ]
    for found, expected in zip(*outputs, strict=True):
        assert near(found, expected, 2e-2)


@pytest.mark.gpu
@needs((8, 9))
@pytest.mark.parametrize("features", [0, 96, 128])
def test_gpu_kernels_of_the_mlp_agree_with_torch(features):
    hidden = draw(70, 320, device="cuda") * torch.logspace(-3, 3, 70, device="cuda")[:, None]
    hidden = hidden.bfloat16()
    beside = draw(70, 128, device="cuda")[:, :features]
    rounded, scale = round_gelu(beside, hidden)
    expected = torch.cat([beside, torch.nn.functional.gelu(hidden, approximate="tanh")], dim=1)
    errors = (rounded.float() * scale - expected.float()).norm(dim=1) / expected.float().norm(dim=1)
    assert errors.max() < 0.04
    assert near(scale * 448, expected.float().abs().amax(1, keepdim=True), 1e-2)
    x, weight, bias = (draw(*shape, device="cuda") for shape in ((70, 64), (320, 64), (320,)))
    plain = torch.nn.functional.linear(x.float(), weight.float(), bias.float())
    plain = torch.nn.functional.gelu(plain, approximate="tanh")
    assert near(multiply_gelu(x, weight, bias), plain, 1e-2)


@pytest.mark.gpu
@needs((8, 0))
# Text before image, by their own ranks of query, key and value.
@pytest.mark.parametrize(
    "ranks", [(0, 0, 0, 0, 0, 0), (5, 0, 3, 0, 0, 0), (16, 16, 16, 1, 2, 3), (1, 1, 1, 4, 160, 4)]
)
@pytest.mark.parametrize("lengths", [(70,), (37, 64)])
@pytest.mark.parametrize("count", [6, 24])
def test_the_gpu_kernel_of_the_heads_agrees_with_torch(ranks, lengths, count):
    features = 32
    width = count * features
    ranks = ranks[-3 * len(lengths) :]
    streams = []
    for number, length in enumerate(lengths):
        own = ranks[3 * number : 3 * number + 3]
        up = torch.block_diag(*(draw(width, rank, seed=length + 2) for rank in own)).bfloat16()
        inner = draw(2, length, 2 * sum(own), seed=length + 1)[..., ::2]
        streams.append((draw(2, length, 3 * width, seed=length), inner, up))
    norms = [draw(features, seed=10 + number) for number in range(2 * len(lengths))]
    angles = torch.linspace(0, 90, sum(lengths) * features // 2).reshape(sum(lengths), -1)
    angles = angles.repeat_interleave(2, dim=1)

    def run(device):
        parts = ([part.to(device) for part in kind] for kind in zip(*streams, strict=True))
        weights = [norm.to(device) for norm in norms]
        rotation = (angles.cos().to(device), angles.sin().to(device))
        return to_heads(*parts, [*ranks], weights, *rotation, 1e-6)

    for found, expected in zip(run("cuda"), run("cpu"), strict=True):
        assert near(found.cpu(), expected, 1e-2)


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ("80gb", "try hardware=24gb, hardware=12gb, less"),
        ("auto", "try hardware=24gb, hardware=12gb, less"),
        ("12gb", "try less"),
    ],
)
def test_a_full_gpu_names_the_smaller_profiles(asked, advice):
    hardware = profile(asked)
    with pytest.raises(MemoryError, match=advice), memory_advice("less", hardware):
        raise torch.OutOfMemoryError("CUDA out of memory")
