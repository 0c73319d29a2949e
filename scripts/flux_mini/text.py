"""Captions: flux-mini's two tokenizers, its text encoders, and caption tokens drawn on the GPU.

Both tokenizers know the captions' words whole and fall back to letters for all others. Random
tokens are mixed into the training captions, so that an unknown word does little harm.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from pairedit.mini.faces import PHRASES, SUBJECT

LENGTH = 32  # tokens, of both encoders
SUBJECTS = (SUBJECT, SUBJECT, "photo of a person", "portrait of a person", "a person", "face")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.-'!?:;()"


def corpus() -> list[str]:
    """Return every text that captions are made of."""
    spoken = [text for entries in PHRASES.values() for *_, text in entries]
    return [*SUBJECTS, *spoken, ", ".join(spoken)]


def build_tokenizers(folder: Path) -> None:
    """Write `tokenizer` (CLIP's BPE) and `tokenizer_2` (T5's unigram) below `folder`."""
    words = sorted({word for text in corpus() for word in text.replace(",", " ").split()})
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list(LETTERS)
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(corpus() * 4 + words * 4, trainer)
    learnt = json.loads(bpe.to_str())["model"]
    vocab = dict(learnt["vocab"])
    for token in [letter + "</w>" for letter in LETTERS] + ["<|startoftext|>", "<|endoftext|>"]:
        vocab.setdefault(token, len(vocab))
    merges = [tuple(pair) for pair in learnt["merges"]]
    clip = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)
    clip.save_pretrained(folder / "tokenizer")

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -4.0) for word in words] + [(",", -3.0), ("▁", -6.0)]
    pieces += [(letter, -10.0) for letter in LETTERS if letter != ","]
    t5 = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)
    t5.save_pretrained(folder / "tokenizer_2")


def load_tokenizers(folder: Path) -> tuple[CLIPTokenizer, T5Tokenizer]:
    """Load the pair that `build_tokenizers` wrote."""
    return (
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        T5Tokenizer.from_pretrained(folder / "tokenizer_2"),
    )


def build_encoders(clip: CLIPTokenizer, t5: T5Tokenizer) -> tuple[CLIPTextModel, T5EncoderModel]:
    """Return the untrained text encoders, pooled 96 and joint 128 wide."""
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip),
            hidden_size=96,
            intermediate_size=256,
            projection_dim=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=clip.bos_token_id,
            eos_token_id=clip.eos_token_id,
            pad_token_id=clip.pad_token_id,
        )
    )
    text_encoder_2 = T5EncoderModel(
        T5Config(
            vocab_size=len(t5),
            d_model=128,
            d_kv=32,
            d_ff=320,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=t5.pad_token_id,
            eos_token_id=t5.eos_token_id,
        )
    )
    return text_encoder, text_encoder_2


class Captions:
    """Draws caption tokens for whole batches without leaving the device.

    A caption is a subject and some of the fitting phrases in random order. Shapes: B faces,
    S entries of `PHRASES`, P tokens of the longest phrase.
    """

    def __init__(self, clip: CLIPTokenizer, t5: T5Tokenizer, device: torch.device) -> None:
        self.kinds = [
            _Kind(clip, [clip.bos_token_id], clip.eos_token_id, clip.pad_token_id, device),
            _Kind(t5, [], t5.eos_token_id, t5.pad_token_id, device),
        ]

    def draw(self, fitting: Tensor) -> tuple[Tensor, Tensor]:
        """Return CLIP and T5 token ids, each [B, LENGTH], given `faces.phrases` [B, S]."""
        count, slots = fitting.shape
        like = dict(device=fitting.device)
        subject = torch.randint(len(SUBJECTS), (count,), **like)
        keep = torch.rand(count, slots, **like) < 0.75 * torch.rand(count, 1, **like)
        fate = torch.rand(count, 1, **like)
        keep &= fate > 0.4  # 20 % empty, 20 % the subject alone
        fitting = torch.where(keep, fitting, -1)
        order = torch.rand(count, slots, **like).argsort(1)
        noise = torch.rand(count, slots, **like) < 0.02
        return tuple(
            kind.tokens(subject, fitting, order, fate[:, 0] < 0.2, noise) for kind in self.kinds
        )


class _Kind:
    def __init__(self, tokenizer, start: list[int], end: int, pad: int, device) -> None:
        self.start, self.end, self.pad, self.size = start, end, pad, len(tokenizer)

        def ids(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        head = ids(SUBJECT)
        rows = [
            [ids(f"{SUBJECT}, {text}")[len(head) :] for *_, text in e] for e in PHRASES.values()
        ]
        self.subjects = self._table([ids(text) for text in SUBJECTS], device)
        flat = [tokens for row in rows for tokens in row]
        self.phrases = self._table([*flat, []], device)  # the last row says nothing
        self.offsets = torch.tensor([sum(map(len, rows[:i])) for i in range(len(rows))]).to(device)

    def _table(self, rows: list[list[int]], device) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [-1] * (width - len(row)) for row in rows]).to(device)

    def tokens(self, subject, fitting, order, empty, noise) -> Tensor:
        chosen = torch.where(fitting >= 0, fitting + self.offsets, len(self.phrases) - 1)
        said = self.phrases[chosen.gather(1, order)]  # [B, S, P]
        stray = torch.randint_like(said[..., :1], self.size)
        said = torch.cat([said, torch.where(noise[..., None], stray, -1)], 2).flatten(1)
        line = torch.cat([self.subjects[subject], said], 1).masked_fill(empty[:, None], -1)
        # A stable sort moves what is said to the front and keeps its order.
        line = line.gather(1, (line < 0).long().argsort(dim=1, stable=True))
        room = LENGTH - len(self.start) - 1
        line = torch.nn.functional.pad(line[:, :room], (len(self.start), 1), value=-1)
        for position, token in enumerate(self.start):
            line[:, position] = token
        length = (line >= 0).sum(1, keepdim=True)
        line = torch.where(line < 0, self.pad, line)
        return line.scatter(1, length, self.end)
