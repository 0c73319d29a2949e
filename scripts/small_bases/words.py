"""Own what the small models read: captions of faces, their tokenizer and text encoder."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence

import torch
from scripts.flux_mini.text import SUBJECTS, corpus
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

from pairedit.mini.faces import PHRASES, phrases

LENGTH = 32  # tokens of a prompt; whatever it says, Z-Image then sees as many
WIDTH = 128  # features of a word
LAYERS = 28  # FLUX.2 reads Qwen3 after layers 9, 18 and 27
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
EMPTY, BARE = 0.2, 0.4  # shares of captions that say nothing, and up to there the subject alone


def build_tokenizer() -> Qwen2TokenizerFast:
    """Return Qwen's tokenizer; it knows the words of captions whole, and letters otherwise."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=list(SPECIAL),
        initial_alphabet=[*string.digits, *string.ascii_letters, *string.punctuation, "Ġ", "Ċ"],
        show_progress=False,
    )
    bpe.train_from_iterator(corpus() * 4, trainer)
    learnt = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2TokenizerFast(
        vocab=learnt["vocab"],
        merges=[tuple(pair) for pair in learnt["merges"]],
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        model_max_length=LENGTH,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def build_encoder(tokenizer: Qwen2TokenizerFast) -> Qwen3ForCausalLM:
    """Return an untrained Qwen3 whose hidden states are near its embeddings, one for each word."""
    encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=WIDTH // 2,
            max_position_embeddings=4 * LENGTH,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    )
    # Qwen's own start of .02 would drown in what the layers add.
    torch.nn.init.normal_(encoder.model.embed_tokens.weight)
    return encoder.requires_grad_(False).eval()


def captions(attributes: Tensor, seed: int) -> list[str]:
    """Describe faces [B, A]: a subject and some of the phrases that fit, in any order."""
    draw = random.Random(seed)
    entries = list(PHRASES.values())
    lines = []
    for row in phrases(attributes.cpu()).tolist():
        fate, share = draw.random(), 0.75 * draw.random()
        fitting = [
            entry[index][2]
            for entry, index in zip(entries, row, strict=True)
            if index >= 0 and draw.random() < share
        ]
        draw.shuffle(fitting)
        said = [draw.choice(SUBJECTS), *(fitting if fate > BARE else [])]
        lines.append("" if fate < EMPTY else ", ".join(said))
    return lines


def token_ids(tokenizer: Qwen2TokenizerFast, lines: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return ids and mask [B, LENGTH] as both pipelines make them."""
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": line}], tokenize=False, add_generation_prompt=True
        )
        for line in dict.fromkeys(lines)
    ]
    found = tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    number = {line: index for index, line in enumerate(dict.fromkeys(lines))}
    rows = torch.tensor([number[line] for line in lines])
    return found.input_ids[rows], found.attention_mask[rows].bool()


@torch.no_grad()
def encode(
    encoder: Qwen3ForCausalLM,
    ids: Tensor,
    mask: Tensor,
    layers: Sequence[int],
    device: torch.device,
) -> Tensor:
    """Return hidden states of some layers side by side, [B, LENGTH, layers * WIDTH]."""
    encoder = encoder.to(device)
    parts = []
    for some, seen in zip(ids.split(4096), mask.split(4096), strict=True):
        states = encoder.model(
            input_ids=some.to(device), attention_mask=seen.to(device), output_hidden_states=True
        ).hidden_states
        parts.append(torch.cat([states[layer] for layer in layers], dim=-1).to(torch.bfloat16))
    return torch.cat(parts)
