"""Own where LoRAs sit: the linear modules of FLUX's blocks, and the patterns that choose from them.

A double block has projections of its own for the image and for the text; single blocks hold both
streams as one sequence, so `image_stream` and `text_stream` leave them out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

BLOCK = r"((?:single_)?transformer_blocks)\.(\d+)\."
# Every linear module of a block, in the model's own order.
DOUBLE = (
    "norm1.linear",
    "norm1_context.linear",
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
)
SINGLE = ("norm.linear", "proj_mlp", "proj_out", "attn.to_q", "attn.to_k", "attn.to_v")
_ATTENTION = (
    r"attn\.to_(q|k|v)",
    r"attn\.to_out\.0",
    r"attn\.add_(q|k|v)_proj",
    r"attn\.to_add_out",
)
# Projections by name. `attention` is what PairEdit trains: 8 in a double block, 3 in a single one.
TARGETS = {
    "attention": _ATTENTION,
    "attention_mlp": (*_ATTENTION, r"ff(_context)?\.net\.(0\.proj|2)", "proj_mlp", "proj_out"),
    "image_stream": (r"transformer_blocks\.\d+\.attn\.(to_(q|k|v)|to_out\.0)",),
    "text_stream": (r"transformer_blocks\.\d+\.attn\.(add_(q|k|v)_proj|to_add_out)",),
}


def block_modules(double: int, single: int) -> list[str]:
    """List the linear modules of a FLUX with so many double and single blocks."""
    kinds = (("", double, DOUBLE), ("single_", single, SINGLE))
    return [
        f"{kind}transformer_blocks.{index}.{tail}"
        for kind, count, tails in kinds
        for index in range(count)
        for tail in tails
    ]


def match_targets(modules: Iterable[str], targets: str | Sequence[str]) -> list[str]:
    """Choose the modules that a LoRA is to be attached to.

    Args:
        modules: names of linear modules; those outside the blocks are never chosen.
        targets: a name of `TARGETS`, or regular expressions. Each is matched against a module's
            whole name, or against any end of what follows `transformer_blocks.N.`.

    Returns:
        Module names in the given order; at least one for each pattern.

    Raises:
        ValueError: an unknown name, a bad pattern, or patterns that match nothing, each with
            what comes close to it.
    """
    if isinstance(targets, str):
        if targets not in TARGETS:
            raise ValueError(
                f"lora.targets={targets}: expected {', '.join(TARGETS)}, or a list of patterns"
            )
        targets = TARGETS[targets]
    tails = {name: name[match.end() :] for name in modules if (match := re.match(BLOCK, name))}
    found: set[str] = set()
    problems = []
    for pattern in targets:
        try:
            whole, ending = re.compile(pattern), re.compile(rf"(.*\.)?({pattern})")
        except (re.error, TypeError) as error:
            raise ValueError(f"lora.targets: {pattern!r} is no pattern ({error})") from error
        matches = {
            name for name, tail in tails.items() if ending.fullmatch(tail) or whole.fullmatch(name)
        }
        if not matches:
            near = _near_misses(pattern, tails)
            problems.append(f"{pattern!r} matches no module; near it: {', '.join(near)}")
        found |= matches
    if problems:
        raise ValueError(f"lora.targets: {'; '.join(problems)}")
    return [name for name in tails if name in found]


def _near_misses(pattern: str, tails: dict[str, str]) -> list[str]:
    """Return the modules that look most like a pattern: whole names if it names a block."""
    plain = re.sub(r"\\d[+*]?|[\\^$()*+?]", "", pattern)
    known = list(tails) if "transformer_blocks" in plain else list(dict.fromkeys(tails.values()))
    # A pattern may be the last part alone: `to_qq` is close to attn.to_q.
    endings = {name: name for name in known} | {
        name.rsplit(".", 1)[-1]: name for name in reversed(known)
    }
    close = difflib.get_close_matches(plain, endings, n=6, cutoff=0.45)
    return list(dict.fromkeys(endings[name] for name in close)) or known
