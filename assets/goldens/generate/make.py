#!/usr/bin/env python3
"""Makes `expected.json`: what transformers' generation makes of logits from a formula.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13, python3-numpy 1.24
    /tmp/torchenv/bin/pip install transformers==4.41.2 'numpy<2' 'tokenizers<0.20'
    /tmp/torchenv/bin/python make.py

There is no model: `generate()` runs as it is, on an encoder-decoder whose logits follow from the prompt's one id and the
last two decoder ids by an integer hash (`logits` below), so that other programs can have the very same logits.

Where tokens are drawn by chance, `torch.multinomial` is replaced by draws with random numbers that are spelled out here
(`Draws`): the seed is a key of ChaCha with eight rounds, the prompt's place in the batch its stream.
"""

import json
import math
import pathlib

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration
from transformers.generation import logits_process
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

assert transformers.__version__ == "4.41.2", transformers.__version__

HERE = pathlib.Path(__file__).resolve().parent
START, EOS, PAD = 0, 1, 0
NONE = (1 << 18) - 1  # in the place of an id that is not there


def uniform(index):
    """In [-1, 1) for each of an array of 64-bit numbers, in f32: SplitMix64's finaliser, its upper 24 bits."""
    z = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def logits(prompt, ids, vocab):
    """Mostly by the last id, so that sequences repeat themselves; a little by the one before."""
    tokens = np.arange(vocab, dtype=np.uint64)
    last, before = ids[-1], ids[-2] if len(ids) > 1 else NONE
    near = uniform(tokens + np.uint64((prompt << 36) + (last << 18)))
    far = uniform(tokens + np.uint64((1 << 60) + (before << 36) + (last << 18)))
    return np.float32(4) * near + far


class Encoder(torch.nn.Module):
    """Hands on the prompt's id."""

    main_input_name = "input_ids"

    def forward(self, input_ids, **_):
        return BaseModelOutput(last_hidden_state=input_ids.to(torch.float32)[:, :, None])


class Scripted(T5ForConditionalGeneration):
    """Logits by the formula."""

    def get_encoder(self):
        return Encoder()

    def forward(self, encoder_outputs=None, decoder_input_ids=None, **_):
        prompts = encoder_outputs.last_hidden_state[:, 0, 0].to(torch.int64).tolist()
        rows = [logits(p, ids, self.config.vocab_size) for p, ids in zip(prompts, decoder_input_ids.tolist())]
        return Seq2SeqLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None])


def scripted(vocab):
    config = T5Config(
        vocab_size=vocab, d_model=4, d_kv=2, d_ff=4, num_layers=1, num_heads=2, decoder_start_token_id=START, use_cache=False
    )
    return Scripted(config).eval()


class Draws:
    """Random numbers in [0, 1), multiples of 2^-53, from ChaCha with eight rounds (Bernstein, 2008)."""

    def __init__(self, seed, stream):
        self.key = [seed & 0xFFFFFFFF, seed >> 32, 0, 0, 0, 0, 0, 0]
        self.stream = [stream & 0xFFFFFFFF, stream >> 32]
        self.block, self.words = 0, []

    def unit(self):
        if not self.words:
            self.words = self.chacha()
            self.block += 1
        low, high = self.words[:2]
        del self.words[:2]
        return ((high << 32 | low) >> 11) / 2**53

    def chacha(self):
        constants = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
        start = constants + self.key + [self.block & 0xFFFFFFFF, self.block >> 32] + self.stream
        x = list(start)

        def quarter(a, b, c, d):
            for into, plus, other, turn in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
                x[into] = (x[into] + x[plus]) & 0xFFFFFFFF
                mixed = x[other] ^ x[into]
                x[other] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

        for _ in range(4):
            for i in range(4):
                quarter(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        return [(a + b) & 0xFFFFFFFF for a, b in zip(x, start)]

    def several(self, probabilities, count):
        """Places, drawn one after the other and not put back."""
        left = [(place, p) for place, p in enumerate(probabilities) if p > 0]
        drawn = []
        for _ in range(count):
            share = self.unit() * math.fsum(p for _, p in left)
            total = 0.0
            for at, (place, p) in enumerate(left):
                total += p
                if total > share:
                    break
            drawn.append(place)
            del left[at]
        return drawn


def generate(prompts, vocab, eos, seed=None, **options):
    beams = options.get("num_beams", 1)
    config = GenerationConfig(
        decoder_start_token_id=START, eos_token_id=eos, pad_token_id=PAD, use_cache=False, return_dict_in_generate=True,
        output_scores=True, do_sample=seed is not None, **options
    )  # fmt: skip
    streams = [Draws(seed, place) for place in range(len(prompts))] if seed is not None else []

    def multinomial(probabilities, num_samples):
        rows = probabilities.double().tolist()
        return torch.tensor([draws.several(row, num_samples) for draws, row in zip(streams, rows)])

    original, torch.multinomial = torch.multinomial, multinomial
    try:
        output = scripted(vocab).generate(torch.tensor(prompts)[:, None], generation_config=config)
    finally:
        torch.multinomial = original
    sequences = []
    for row in output.sequences.tolist():
        ends = [place for place, token in enumerate(row) if place > 0 and token in eos]
        sequences.append(row[1 : ends[0] + 1] if ends else row[1:])
    scores = [float(f"{score:.7g}") for score in output.sequences_scores.tolist()] if beams > 1 else None
    return sequences, scores


def cases():
    yield "greedy", {}
    yield "greedy, one token", dict(max_new_tokens=1)
    yield "several ends", dict(eos=[1, 5, 9])
    yield "repetition penalty", dict(repetition_penalty=1.4)
    yield "repetition reward", dict(repetition_penalty=0.7)
    for size in [1, 2, 3]:
        yield f"no {size}-gram twice", dict(no_repeat_ngram_size=size)
    yield "minimum length", dict(eos=[1, 5, 9, 14], min_length=9)
    yield "all processors", dict(eos=[1, 5, 9], repetition_penalty=1.2, no_repeat_ngram_size=2, min_length=7)
    for beams in [2, 4]:
        for penalty in [1.0, 0.0, 2.0, -1.0]:
            for early in [False, True]:
                options = dict(num_beams=beams, length_penalty=penalty, early_stopping=early, eos=[5, 1])
                yield f"{beams} beams, length penalty {penalty}, early {early}", options
    yield "2 beams, one token", dict(num_beams=2, max_new_tokens=1)
    yield "3 beams, one prompt", dict(num_beams=3, prompts=[7])
    yield "4 beams, several ends", dict(num_beams=4, eos=[1, 5, 9])
    for early in [False, True]:
        options = dict(eos=[1, 3, 5, 8, 9, 14, 17, 20], early_stopping=early, length_penalty=2.0, prompts=list(range(2, 14)))
        yield f"3 beams, many ends, early {early}", dict(num_beams=3, **options)
    yield "4 beams, no end", dict(num_beams=4, eos=[1000], max_new_tokens=6)
    yield "4 beams, long", dict(num_beams=4, max_new_tokens=40, length_penalty=3.0, prompts=[6, 7, 8])
    yield "8 beams", dict(num_beams=8)
    yield "4 beams, repetition penalty", dict(num_beams=4, repetition_penalty=1.3)
    yield "4 beams, no 2-gram twice", dict(num_beams=4, no_repeat_ngram_size=2)
    yield "4 beams, minimum length", dict(num_beams=4, eos=[1, 5], min_length=8)
    yield "4 beams, all processors", dict(
        num_beams=4, eos=[1, 5], repetition_penalty=1.2, no_repeat_ngram_size=3, min_length=6, length_penalty=0.6
    )
    for seed in [0, 1, 0xFEDCBA9876543210]:
        yield f"sampling, seed {seed}", dict(seed=seed, top_k=0)
    yield "sampling, temperature", dict(seed=2, top_k=0, temperature=0.6)
    yield "sampling, top-k", dict(seed=2, top_k=4, temperature=1.5)
    yield "sampling, top-p", dict(seed=2, top_k=0, top_p=0.8)
    yield "sampling, everything", dict(
        seed=3, eos=[1, 5], top_k=12, top_p=0.9, temperature=1.2, repetition_penalty=1.2, no_repeat_ngram_size=2, min_length=5
    )
    yield "sampling, 3 beams", dict(seed=4, num_beams=3, top_k=0, eos=[1, 5])
    yield "sampling, 2 beams, all", dict(seed=5, num_beams=2, top_k=12, top_p=0.95, temperature=0.8, min_length=5)
    yield "sampling, many prompts", dict(seed=6, top_k=0, prompts=list(range(2, 14)), max_new_tokens=16, eos=[1, 5])


def generations():
    listed = []
    for name, options in cases():
        prompts = options.pop("prompts", [2, 3, 4, 5])
        vocab = options.pop("vocab", 24)
        eos = options.pop("eos", [EOS])
        options.setdefault("max_new_tokens", 14)
        sequences, scores = generate(prompts, vocab, eos, **options)
        row = dict(name=name, prompts=prompts, vocab=vocab, eos=eos, options=options, sequences=sequences)
        listed.append(row | ({"scores": scores} if scores else {}))
    return listed


def processors():
    """Each processor on its own: `scores[i] = scale * uniform(seed * 2^32 + i)`, of `count` tokens, but `excluded`."""
    p = logits_process
    ids = [0, 7, 3, 7, 5, 3, 7]
    ends = torch.tensor([1, 5])
    table = [
        ("repetition_penalty", {"penalty": 1.5}, p.RepetitionPenaltyLogitsProcessor(1.5)),
        ("repetition_penalty", {"penalty": 0.8}, p.RepetitionPenaltyLogitsProcessor(0.8)),
        ("no_repeat_ngram", {"size": 1}, p.NoRepeatNGramLogitsProcessor(1)),
        ("no_repeat_ngram", {"size": 2}, p.NoRepeatNGramLogitsProcessor(2)),
        ("no_repeat_ngram", {"size": 3}, p.NoRepeatNGramLogitsProcessor(3)),
        ("no_repeat_ngram", {"size": 7}, p.NoRepeatNGramLogitsProcessor(7)),
        ("no_repeat_ngram", {"size": 8}, p.NoRepeatNGramLogitsProcessor(8)),
        ("no_repeat_ngram", {"size": 9}, p.NoRepeatNGramLogitsProcessor(9)),
        ("min_length", {"length": 7}, p.MinLengthLogitsProcessor(7, ends)),
        ("min_length", {"length": 8}, p.MinLengthLogitsProcessor(8, ends)),
        ("temperature", {"temperature": 0.7}, p.TemperatureLogitsWarper(0.7)),
        ("top_k", {"k": 1, "keep": 1}, p.TopKLogitsWarper(1)),
        ("top_k", {"k": 5, "keep": 1}, p.TopKLogitsWarper(5)),
        ("top_k", {"k": 1, "keep": 3}, p.TopKLogitsWarper(1, min_tokens_to_keep=3)),
        ("top_k", {"k": 99, "keep": 1}, p.TopKLogitsWarper(99)),
        ("top_p", {"p": 0.0, "keep": 1}, p.TopPLogitsWarper(0.0)),
        ("top_p", {"p": 0.3, "keep": 1}, p.TopPLogitsWarper(0.3)),
        ("top_p", {"p": 0.3, "keep": 4}, p.TopPLogitsWarper(0.3, min_tokens_to_keep=4)),
        ("top_p", {"p": 0.9, "keep": 1}, p.TopPLogitsWarper(0.9)),
        ("top_p", {"p": 0.999, "keep": 1}, p.TopPLogitsWarper(0.999)),
    ]
    count, scale = 12, 4.0
    listed = []
    for seed, (kind, arguments, processor) in enumerate(table):
        scores = np.float32(scale) * uniform(np.arange(count, dtype=np.uint64) + np.uint64(seed << 32))
        # Equals at the border of the fifth, for top-k; and a token that is out already.
        if kind == "top_k":
            order = np.argsort(-scores)
            scores[order[5]] = scores[order[4]]
        excluded = [2]
        scores[excluded] = -np.inf
        output = processor(torch.tensor([ids]), torch.from_numpy(scores)[None])[0].tolist()
        inputs, output = ([None if math.isinf(x) else float(f"{x:.9g}") for x in row] for row in (scores.tolist(), output))
        listed.append(dict(kind=kind, arguments=arguments, ids=ids, eos=ends.tolist(), scores=inputs, expected=output))
    return listed


def main():
    torch.set_num_threads(1)
    first = [float(x) for x in logits(2, [START], 4)]
    expected = dict(
        transformers=transformers.__version__, logits=first, processors=processors(), generations=generations()
    )
    lines = [f'"{key}": {json.dumps(value)}' for key, value in expected.items() if not isinstance(value, list) or key == "logits"]
    for key in ["processors", "generations"]:
        rows = ",\n".join(json.dumps(row) for row in expected[key])
        lines.append(f'"{key}": [\n{rows}\n]')
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
