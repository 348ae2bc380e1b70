#!/usr/bin/env python3
"""Makes the goldens of T5: what transformers computes with seeded weights, in double precision.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install transformers==4.41.2 'numpy<2' 'tokenizers<0.20' safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

No weight is stored: all come from the formula of `kiln_models::seeded`, which `seeded` below repeats. `v10` has the form
of T5 v1.0 (relu, one table for embeddings and logits), `v11` that of v1.1 and Flan-T5 (gated gelu, two tables) and an
inner width that is not `d_model`, `odd` mixes both with sizes that divide by nothing, and `full` is flan-t5-small's
geometry. Prompts and forced tokens are seeded too (`prompt`, `forced`).

transformers computes norms and softmax in single precision whatever the model's type is; `in_double` mends that. The
buckets of relative positions stay in single precision, as released models were trained with them.

A choice between two tokens that are nearly equal would be decided by rounding. So ids are kept only where disturbing all
scores by up to `NOISE` of the largest logit leaves them as they are, three times over; prompts for which it does not
are drawn again (`prompt` with another `draw`). For `full` the gap between the two best logits of each step is held to
`MARGIN` instead.
"""

import itertools
import json
import pathlib
import platform

import numpy as np
import safetensors.numpy
import torch
import transformers
from transformers import LogitsProcessor, LogitsProcessorList, T5Config, T5ForConditionalGeneration
from transformers.models.t5 import modeling_t5

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = 64
MASK = 2**64 - 1
START, EOS, FIRST = 0, 1, 3  # decoder_start_token_id, eos_token_id, the first id that is no special token
NOISE = 2e-5
MARGIN = 5e-4

MODELS = {
    "v10": dict(
        vocab_size=128, d_model=32, d_kv=8, num_heads=4, d_ff=128, num_layers=2, feed_forward_proj="relu",
    ),
    "v11": dict(
        vocab_size=128, d_model=32, d_kv=16, num_heads=3, d_ff=40, num_layers=3, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    ),
    "odd": dict(
        vocab_size=67, d_model=20, d_kv=6, num_heads=2, d_ff=28, num_layers=1, num_decoder_layers=2,
        feed_forward_proj="gated-gelu", relative_attention_num_buckets=8, relative_attention_max_distance=20,
    ),
    "full": dict(
        vocab_size=32128, d_model=512, d_kv=64, num_heads=6, d_ff=1024, num_layers=8, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    ),
}

WHOLE = [1, 15, 16, 17]  # lengths whose encoder output is kept whole
LENGTHS = WHOLE + [127, 128, 129]
FORCED = [17, 129]  # lengths with 20 forced steps
LONG = [0, 7, 8, 15, 16, 17, 31, 32, 63, 64, 112, 113, 126, 127, 128, 129]  # steps of a long forced run that are kept
PROMPTS = [1, 2, 5, 16, 17, 40, 129, 300]
FULL_PROMPTS = [1, 2, 3, 7, 16, 33, 64, 100, 129, 256, 512]
FULL_PACKED = [7, 64, 256]

# Names as transformers has them; `eos` is put in the place of the model's own. Some of the ids under `eos` are frequent
# with that model, so that texts end.
CASES = {
    "v10": [
        dict(),
        dict(max_new_tokens=40, repetition_penalty=1.4),
        dict(no_repeat_ngram_size=2),
        dict(eos=[7]),
        dict(eos=[7, 15], min_length=6),
        dict(num_beams=4),
        dict(num_beams=4, eos=[7]),
        dict(num_beams=4, eos=[7], length_penalty=3.0),
        dict(num_beams=4, eos=[7], length_penalty=-1.0, early_stopping=True),
        dict(num_beams=4, no_repeat_ngram_size=2, repetition_penalty=1.2),
    ],
    "v11": [
        dict(),
        dict(max_new_tokens=40, repetition_penalty=1.4),
        dict(no_repeat_ngram_size=3, repetition_penalty=0.8),
        dict(eos=[114]),
        dict(eos=[114, 26, 82], min_length=8),
        dict(num_beams=4),
        dict(num_beams=4, eos=[114]),
        dict(num_beams=4, eos=[114], length_penalty=2.0),
        dict(num_beams=4, eos=[114], length_penalty=0.0),
        dict(num_beams=4, eos=[114, 26, 82], early_stopping=True),
        dict(num_beams=3, eos=[26], min_length=9, repetition_penalty=1.3, no_repeat_ngram_size=2, length_penalty=0.5),
    ],
    "odd": [dict(), dict(num_beams=4)],
}


def hashed(name, count):
    """64 bits for each element: see `kiln_models::seeded`."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & MASK
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name, count):
    """f32 in [-1, 1)."""
    return (hashed(name, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def indices(name, count, extent):
    """Numbers below `extent`."""
    return ((hashed(name, count) >> np.uint64(32)) * np.uint64(extent) >> np.uint64(32)).astype(np.int64)


def seeded(name, shape):
    """A weight, bit for bit as `SeededWeights` makes it."""
    u = uniform(name, int(np.prod(shape)))
    *_, module, kind = name.split(".")
    assert kind == "weight"
    if module == "final_layer_norm":
        values = u * np.float32(2)
    elif len(shape) == 1:
        values = np.float32(1) + u * np.float32(0.5)
    elif module in ("shared", "relative_attention_bias"):
        values = u * np.float32(4)
    else:
        bound = np.float32(np.sqrt(6.0 / np.prod(shape[1:])))
        values = u * (bound / np.float32(4) if module == "q" else bound)
    assert values.dtype == np.float32
    return values.reshape(shape)


def in_double():
    """Norms and softmax of T5 in the precision of their input."""

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    single = torch.Tensor.float
    modeling_t5.T5LayerNorm.forward = norm
    torch.Tensor.float = lambda x: x if x.is_floating_point() else single(x)


def is_matrix(name, tensor):
    """Whether `--precision f16` keeps it as f16."""
    return tensor.ndim == 2 and "relative_attention_bias" not in name


def build(model, rounded=torch.float32, which=lambda name, tensor: True):
    """The network with its weights, of which some went through the type `rounded`."""
    config = T5Config(**MODELS[model], decoder_start_token_id=START, eos_token_id=EOS, pad_token_id=0)
    with transformers.modeling_utils.no_init_weights():
        network = T5ForConditionalGeneration(config)
    network = network.double().eval()
    network.tie_weights()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            weight = torch.from_numpy(seeded(name, tuple(tensor.shape)))
            tensor.copy_(weight.to(rounded) if which(name, tensor) else weight)
    return network


def prompt(model, length, draw):
    """Tokens of a prompt: seeded ones, then EOS. Those of `full` are whole words of the synthetic vocabulary."""
    low, high = (1000, 32000) if model == "full" else (FIRST, MODELS[model]["vocab_size"])
    return [*(low + indices(f"{model}.prompt.{length}.{draw}", length - 1, high - low)).tolist(), EOS]


def forced(model, steps):
    """What the decoder is given, whatever it would have said."""
    return [START, *indices(f"{model}.forced", steps - 1, MODELS[model]["vocab_size"]).tolist()]


@torch.no_grad()
def logits(network, prompt, tokens):
    return network(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([tokens])).logits[0].numpy()


@torch.no_grad()
def encoded(network, prompt):
    return network.encoder(torch.tensor([prompt])).last_hidden_state[0].numpy()


def describe(layer, values):
    """As in `vgg/make.py`."""
    values = values.reshape(-1)
    projection = uniform(f"{layer}.projection", values.size).astype(np.float64) / np.sqrt(values.size)
    stats = [
        values.mean(), values.std(), values.min(), values.max(), np.abs(values).max(), projection @ values,
    ]
    return np.array([stats]), values[indices(f"{layer}.samples", SAMPLES, values.size)][None]


class Noise(LogitsProcessor):
    """Disturbs every score by up to `NOISE` of the largest; the first of `seeds` leaves them alone."""

    def __init__(self, seed, largest):
        self.generator = torch.Generator().manual_seed(seed)
        self.reach = NOISE * largest if seed else 0.0

    def __call__(self, ids, scores):
        return scores + self.reach * (2 * torch.rand(scores.shape, generator=self.generator, dtype=scores.dtype) - 1)


def generate(network, ids, options, seed, largest):
    options = dict(max_new_tokens=24) | options
    eos = options.pop("eos", [EOS])
    out = network.generate(
        torch.tensor([ids]), do_sample=False, eos_token_id=eos, return_dict_in_generate=True, output_scores=True,
        logits_processor=LogitsProcessorList([Noise(seed, largest)]), **options,
    )
    score = out.sequences_scores[0].item() if "sequences_scores" in out else None
    return out.sequences[0, 1:].tolist(), score


def stable(network, model, length, largest):
    """The first draw of a prompt whose every case survives the noise, with what each case makes of it."""
    for draw in itertools.count():
        ids = prompt(model, length, draw)
        made = []
        for options in CASES[model]:
            plain, score = generate(network, ids, options, 0, largest)
            if any(generate(network, ids, options, seed, largest)[0] != plain for seed in (1, 2, 3)):
                break
            made.append((plain, score))
        else:
            return draw, made


def small(model, tensors):
    network = build(model)
    inputs = {length: prompt(model, length, 0) for length in LENGTHS}
    for length, ids in inputs.items():
        states = encoded(network, ids)
        name = f"{model}.encoder.{length}"
        if length in WHOLE:
            tensors[name] = states.astype(np.float32)
        else:
            tensors[f"{name}.stats"], tensors[f"{name}.samples"] = describe(f"encoder.{length}", states)
        tensors[f"{model}.first.{length}"] = logits(network, ids, [START])[0].astype(np.float32)
    for length in FORCED:
        tensors[f"{model}.forced.{length}"] = logits(network, inputs[length], forced(model, 20)).astype(np.float32)
    tensors[f"{model}.long"] = logits(network, inputs[16], forced(model, LONG[-1] + 1))[LONG].astype(np.float32)
    expected = tensors[f"{model}.forced.17"]
    for name, dtype, which, rows in [
        ("packed", torch.float16, is_matrix, 1),
        ("f16", torch.float16, lambda *_: True, 19),
        ("bf16", torch.bfloat16, lambda *_: True, 19),
    ]:
        rounded = logits(build(model, dtype, which), inputs[17], forced(model, 20))
        tensors[f"{model}.{name}"] = rounded[::rows].astype(np.float32)
        print(f"{model}: {name} weights are {np.abs(rounded - expected).max() / np.abs(rounded).max():.1e} off")
    # What PyTorch itself loses in single precision.
    single = logits(build(model).to(torch.float32), inputs[129], forced(model, 20))
    expected = tensors[f"{model}.forced.129"]
    print(f"{model}: f32 is {np.abs(single - expected).max() / np.abs(expected).max():.1e} off")

    largest = float(np.abs(expected).max())
    prompts, cases = [], [dict(options=options, ids=[], scores=[]) for options in CASES[model]]
    for length in PROMPTS:
        draw, made = stable(network, model, length, largest)
        prompts.append(dict(length=length, draw=draw))
        for case, (ids, score) in zip(cases, made):
            case["ids"].append(ids)
            case["scores"].append(None if score is None else round(score, 9))
    check_batches(network, model, prompts, cases)
    for case in cases:
        if not any(case["scores"]):
            del case["scores"]
        lengths = [len(ids) for ids in case["ids"]]
        print(f"{model} {case['options']}: lengths {lengths}, different {[len(set(ids)) for ids in case['ids']]}")
    return dict(prompts=prompts, cases=cases)


def check_batches(network, model, prompts, cases):
    """A padded batch with a mask says the same as each prompt alone."""
    ids = [prompt(model, row["length"], row["draw"]) for row in prompts]
    width = max(map(len, ids))
    batch = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    for case in cases:
        options = dict(max_new_tokens=24) | case["options"]
        eos = options.pop("eos", [EOS])
        out = network.generate(batch, attention_mask=mask, do_sample=False, eos_token_id=eos, **options)
        for row, alone in zip(out[:, 1:].tolist(), case["ids"]):
            assert row[: len(alone)] == alone and not any(row[len(alone) :]), (case["options"], row, alone)


def full(tensors):
    network = build("full")
    prompts = []
    for length in FULL_PROMPTS:
        for draw in itertools.count():
            ids = prompt("full", length, draw)
            made, margin = greedy(network, ids)
            print(f"full {length:3}, draw {draw}: margin {margin:.1e}, {len(set(made))} different: {made[:8]}")
            if margin >= MARGIN:
                break
        prompts.append(dict(length=length, draw=draw, ids=made, margin=round(margin, 6)))
        layer = f"logits.{length}"
        tensors[f"full.{layer}.stats"], tensors[f"full.{layer}.samples"] = describe(
            layer, logits(network, ids, [START])[0]
        )
        if length in (64, 512):
            layer = f"encoder.{length}"
            tensors[f"full.{layer}.stats"], tensors[f"full.{layer}.samples"] = describe(layer, encoded(network, ids))
    del network
    network = build("full", torch.float16, is_matrix)
    for row in prompts:
        if row["length"] in FULL_PACKED:
            row["packed_ids"], margin = greedy(network, prompt("full", row["length"], row["draw"]))
            print(f"full {row['length']:3}, packed: margin {margin:.1e}, {row['packed_ids'][:8]}")
            row["packed_margin"] = round(margin, 6)
    return dict(prompts=prompts)


@torch.no_grad()
def greedy(network, ids):
    """Ids, and the least gap between the two best logits of a step, relative to the largest logit of that step."""
    out = network.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=24, return_dict_in_generate=True, output_scores=True
    )
    scores = torch.cat(out.scores)
    best = scores.topk(2).values
    margin = ((best[:, 0] - best[:, 1]) / scores.abs().amax(1)).min().item()
    return out.sequences[0, 1:].tolist(), margin


def buckets():
    """Where the buckets of relative positions begin: `[distance, bucket]` from -600 or 0 on, wherever the bucket changes."""
    table = []
    for count, distance in [(32, 128), (8, 20), (32, 100), (64, 256)]:
        for bidirectional in (True, False):
            # A key's position less a query's. The causal side looks back.
            places = torch.arange(-600, 601 if bidirectional else 1)
            found = modeling_t5.T5Attention._relative_position_bucket(places, bidirectional, count, distance).tolist()
            changes = [
                [place, bucket]
                for place, bucket, before in zip(places.tolist(), found, [None, *found])
                if bucket != before
            ]
            table.append(dict(buckets=count, max_distance=distance, bidirectional=bidirectional, changes=changes))
    return table


def main():
    torch.set_num_threads(1)
    in_double()
    tensors = {}
    out = {model: small(model, tensors) for model in CASES}
    out["full"] = full(tensors)
    out["buckets"] = buckets()
    meta = {
        "made_by": "make.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }
    safetensors.numpy.save_file(tensors, HERE / "expected.safetensors", {"meta": json.dumps(meta)})
    (HERE / "expected.safetensors").chmod(0o644)
    rows = []
    for key, value in {"meta": meta, **out}.items():
        if key == "buckets":
            lines = ",\n  ".join(json.dumps(row) for row in value)
            rows.append(f'"buckets": [\n  {lines}\n ]')
        elif key == "meta":
            rows.append(f'"meta": {json.dumps(value)}')
        else:
            parts = [f'"{part}": [\n   ' + ",\n   ".join(map(json.dumps, lines)) + "\n  ]" for part, lines in value.items()]
            rows.append(f'"{key}": {{\n  ' + ",\n  ".join(parts) + "\n }")
    body = "{\n " + ",\n ".join(rows) + "\n}\n"
    json.loads(body)
    (HERE / "expected.json").write_text(body, encoding="utf-8")


if __name__ == "__main__":
    main()
