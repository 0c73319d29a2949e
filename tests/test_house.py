"""The house keeps its order: floors, the border of torch, who knows keys, lengths.

Everything is read from the source; only the border of torch is tried, in one process without it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from house import SOURCE, arrows, functions, imports, lazy, matching, modules, outer, room, tree

# From the roof down; a room or module imports only from floors below its own.
FLOORS = [
    "__main__",
    "cli notebook",
    "sweeps studio",
    "jobs",
    "plan",
    "measure pictures",
    "sample",
    "flowedit forked",
    "edits legs",
    "train",
    "learner flow",
    "bases",
    "lora methods",
    "runs",  # a checkpoint notes the examples and the hardware that it belongs to
    "machine data",
    "noising mini local schedules",
    "settings files",
    "problems",
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
SCIENCE = (
    "methods noising settings train learner flow forked flowedit local schedules edits legs sample"
)
TOP = f"{SCIENCE} cli files problems"

# What a room or module may import of another, where that is not all of it.
DOORS = [
    # The seam and what prompts become; no architecture.
    (TOP, "bases", "base prompts"),
    (TOP, "machine", "collector devices hardware"),
    # `known` says which base model is meant where none is named.
    ("studio jobs plan measure pictures", "bases", "base known"),
    ("machine lora", "bases", ""),
    # Only commands have keys.
    (f"{SCIENCE} measure pictures bases lora runs machine data", "plan", ""),
    # Who looks at the page never waits for torch: the worker alone runs jobs, and once it is asked.
    ("studio", "jobs", "row export"),
    # The names of the attributes, for keys, and the probe behind its reader.
    ("plan data", "mini", "attributes"),
    ("measure", "mini", "attributes probe"),
    (f"{TOP} studio jobs pictures bases lora runs machine", "mini", ""),
]

# Each of them works where there is no torch: mistakes are answered before it is imported.
NO_TORCH = (
    "cli plan.* settings methods schedules edits noising files problems "
    "data.examples data.sets machine.collector bases.base bases.known bases.*.model "
    # Those that need Gradio are imported where it is installed; see tests/studio.
    "studio.worker studio.hand studio.shelf studio.desk studio.guard studio.uploads studio.rows "
    "studio.studio studio.markup studio.serve studio.tidying studio.telling"
)

# Words of an architecture: names of its modules, parts and settings.
ARCHITECTURE = re.compile(
    r"single_transformer_blocks|transformer_blocks|guidance_embeds|text_encoder|tokenizer"
    r"|time_text_embed|x_embedder|context_embedder|pooled_prompt|add_[qkv]_proj|to_qkv_mlp"
    r"|num_single_layers|FluxPipeline|FluxTransformer|img_ids|txt_ids"
)


def test_every_room_has_a_floor():
    assert {room(name) for name in modules()} == set(FLOOR)


def test_arrows_between_floors_lead_downwards():
    upwards = [
        f"{name} -> {other}"
        for name, other in arrows()
        if room(name) != room(other) and FLOOR[room(name)] >= FLOOR[room(other)]
    ]
    assert not upwards


def test_there_is_no_circle():
    # A model module loads its own base when it is told to: the one way back up.
    waiting = {
        name: {n for n in imports(name) if not (name.endswith(".model") and lazy(name, n))}
        for name in modules()
    }
    while free := [name for name, needed in waiting.items() if not needed & set(waiting)]:
        for name in free:
            del waiting[name]
    assert not waiting, f"these import each other: {sorted(waiting)}"


@pytest.mark.parametrize(("guests", "host", "doors"), DOORS, ids=lambda value: str(value)[:40])
def test_rooms_are_entered_by_their_doors(guests, host, doors):
    wrong = [
        f"{name} -> {other}"
        for name, other in arrows()
        if room(name) in guests.split()
        and room(other) == host
        and other.split(".", 1)[1] not in doors.split()
    ]
    assert not wrong


def test_an_architecture_is_entered_by_nobody_but_the_one_that_names_the_usual_model():
    wrong = [
        f"{name} -> {other}"
        for name, other in arrows()
        if other.count(".") == 2 and other.startswith("bases.")
        # The folder itself, and what stands in where no model is named.
        if name.rsplit(".", 1)[0] != other.rsplit(".", 1)[0] and name != "bases.known"
    ]
    assert not wrong


def test_only_commands_and_plans_read_a_configuration():
    knowing = {name for name in modules() if outer(name) & {"hydra", "omegaconf"}}
    assert {room(name) for name in knowing} <= {"cli", "sweeps", "plan"}, knowing


# What a text may not name: a place in a configuration, with a dot, or a key of a command.
PLACE = re.compile(
    r"(?<![\w.])(?:lora|readers?|datasets?|model|method|hardware|tracker|hydra)\.[a-z]"
)
ASSIGNED = re.compile(r"(?<![\w.&;-])([a-z][a-z_]*)=")
# `runs` writes the commands that continue a run; one table holds the advice of reports.
SPEAKING = ("runs.folder", "runs.resume", "measure.verdict")


def own_names(name: str) -> set[str]:
    """Return the fields, arguments and variables of a module."""
    found = {node.arg for node in ast.walk(tree(name)) if isinstance(node, ast.arg)}
    return found | {
        node.id
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def foreign_keys(name: str, keys: set[str]) -> list[str]:
    """Return the texts of a module that name a key, or what no field or argument is called."""
    documented = docs(name)
    keys = keys - own_names(name)
    return [
        f"{name}:{node.lineno}: {node.value.strip()[:70]}"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documented
        and (PLACE.search(node.value) or keys & set(ASSIGNED.findall(node.value)))
    ]


def test_below_the_plan_texts_name_fields_and_arguments_but_no_key():
    from pairedit.plan.synonyms import TRUNKS, keys_of

    groups = {"reader", "readers", "datasets", "model", "method", "hardware", "tracker", "edit"}
    keys = {key for command in TRUNKS for key in keys_of(command)} | groups
    below = [name for name in modules() if FLOOR[room(name)] > FLOOR["plan"]]
    assert [
        line for name in below if name not in SPEAKING for line in foreign_keys(name, keys)
    ] == []


def docs(name: str) -> set[int]:
    """Return which nodes of a module are its docstrings."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def code_words(name: str) -> Iterator[tuple[int, str]]:
    """Yield the names and texts of a module with their lines, docstrings left out."""
    documented = docs(name)
    for node in ast.walk(tree(name)):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if text and id(node) not in documented:
            yield node.lineno, node.value
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Name | ast.alias):
            yield node.lineno, getattr(node, "id", None) or node.name
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.lineno, node.arg or ""


def test_only_bases_know_the_names_of_a_model():
    # flux-mini is made as a FLUX.1; the others recognise files of foreign models to refuse them.
    apart = {"mini.untrained", "lora.refusals", "lora.keys"}
    wrong = [
        f"{name}:{line}: {word}"
        for name in modules()
        if room(name) != "bases" and name not in apart
        for line, word in code_words(name)
        if ARCHITECTURE.search(word)
    ]
    assert not wrong


def test_what_answers_mistakes_imports_no_torch():
    code = """
import importlib, sys
slow = "torch diffusers transformers peft accelerate triton torchvision".split()
sys.modules.update(dict.fromkeys(slow))  # importing any of them fails
for name in sys.argv[1:]:
    importlib.import_module(f"pairedit.{name}")
"""
    names = matching(NO_TORCH)
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_modules_are_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_test_files_are_short():
    paths = Path(__file__).parent.rglob("*.py")
    assert [path for path in paths if len(path.read_text().splitlines()) > 300] == []


def test_functions_fit_a_screen():
    limits = {
        "train.fit": 80,  # the loop, with every hand that it gives to others in sight
        "machine.head_kernels._to_heads": 85,  # Triton compiles one function, half of it arguments
    }
    usual = {name: 60 if name in TOP.split() else 75 for name in modules()}
    long = {
        f"{name}.{function}": length
        for name in modules()
        for function, length in functions(name)
        if length > limits.get(f"{name}.{function}", usual[name])
    }
    assert not long


def test_the_picture_in_contributing_is_that_of_the_floors():
    page = (SOURCE.parent / "CONTRIBUTING.md").read_text()
    picture = page.split("checks this picture.")[1].split("\n#")[0]
    shown = [
        [
            word.strip("/")
            for word in re.findall(r"^    (\S+) +(?:(\S+/?)(?: {2,}|$))?", line)[0]
            if word
        ]
        for line in picture.splitlines()
        if re.match(r"    \w", line)
    ]
    places = {room: number for number, rooms in enumerate(shown) for room in rooms if room in FLOOR}
    assert set(FLOOR) - set(places) == {"__main__"}
    order = sorted(places, key=places.get)
    assert [FLOOR[room] for room in order] == sorted(FLOOR[room] for room in order)
