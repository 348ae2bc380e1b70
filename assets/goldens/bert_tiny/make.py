#!/usr/bin/env python3
"""Makes a tiny BERT sentence encoder with random weights, and what it should give.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install transformers==4.41.2 'numpy<2' 'tokenizers<0.20' safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

The folder `model` has the layout of a sentence-transformers model. It is made to catch mistakes
that a real model hides: no weight is zero or one, the scale and the shift of each layer norm differ
from channel to channel, the number of heads is not the number of layers, and tokenizer.json carries
a truncation (16) and a padding that must give way to `max_seq_length` (48). As in all-MiniLM-L6-v2
there are tensors that the embedding does not need: `embeddings.position_ids` and the pooler.

`model.f16.safetensors` and `model.bf16.safetensors` hold the same weights in half precision: put one
of them in the place of `model.safetensors`. Each has its own expected values, computed from the
rounded weights. All is computed in double precision and rounded to f32 at the end.
"""

import json
import pathlib
import platform

import numpy as np
import safetensors.torch
import tokenizers
import torch
import transformers
from tokenizers import normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / "model"
SEED = 20_240_229
MAX_TOKENS = 48

CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 0,  # filled in below
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
}

WORDS = (
    "the a of and in to is it clay kiln fire glaze bowl pot wheel hot cold red blue one two three "
    "water ash cone shelf potter cup turn lift dry wet open close before after"
).split()
PIECES = "##ed ##ing ##er ##est ##ly ##ware".split()

INPUTS = [
    "kiln",
    "The potter turned the wheel.",
    "Stoneware is fired hot; ash glazes run, and the RED bowl cracked: 42 pots!",
    "",
    "Zoë's émail café 窯 ☃ [SEP]",
    "one two three " * 30,
    "before the fire the clay is wet and after the fire it is dry and in the kiln the hot water is gone",
]


def vocabulary():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    digits = [str(d) for d in range(10)]
    marks = list(".,:;!?'-")
    return (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        + marks
        + digits
        + letters
        + ["##" + letter for letter in letters]
        + PIECES
        + [word for word in WORDS if len(word) > 1]
    )


def make_tokenizer(words):
    vocab = {word: index for index, word in enumerate(words)}
    assert len(vocab) == len(words)
    tokenizer = tokenizers.Tokenizer(
        WordPiece(vocab, unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    return tokenizer


def make_weights(model):
    """Uniform weights from a seeded NumPy generator; the norms' scales lie around one, unequal."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    weights = {}
    for name, tensor in sorted(model.state_dict().items()):
        if name == "embeddings.position_ids":
            continue
        shape = tuple(tensor.shape)
        if name.endswith("LayerNorm.weight"):
            values = generator.uniform(0.6, 1.5, shape)
        elif name.endswith("bias"):
            values = generator.uniform(-0.2, 0.2, shape)
        elif "embeddings" in name:
            values = generator.uniform(-1.0, 1.0, shape)
        else:  # a matrix [out][in]
            reach = 3.5 / np.sqrt(shape[1])
            values = generator.uniform(-reach, reach, shape)
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def save_weights(weights, name, dtype):
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in weights.items()}
    tensors["embeddings.position_ids"] = torch.arange(CONFIG["max_position_embeddings"])[None]
    path = MODEL / name
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)
    return {key: tensor for key, tensor in tensors.items() if key != "embeddings.position_ids"}


@torch.no_grad()
def run(model, weights, ids):
    """The hidden states (the embeddings and each layer's output) and the sentence embedding."""
    missing, unexpected = model.load_state_dict(
        {key: tensor.double() for key, tensor in weights.items()}, strict=False
    )
    assert not unexpected and all("position_ids" in key for key in missing), (missing, unexpected)
    out = model(torch.tensor([ids]), output_hidden_states=True)
    states = [state[0] for state in out.hidden_states]
    embedding = torch.nn.functional.normalize(states[-1].mean(dim=0), dim=0)
    return states, embedding


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


def main():
    (MODEL / "1_Pooling").mkdir(parents=True, exist_ok=True)
    words = vocabulary()
    CONFIG["vocab_size"] = len(words)
    write_json(MODEL / "config.json", CONFIG)
    write_json(MODEL / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    kinds = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    modules = [
        {"idx": index, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (name, path, kind) in enumerate(kinds)
    ]
    write_json(MODEL / "modules.json", modules)
    write_json(
        MODEL / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": CONFIG["hidden_size"],
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    tokenizer = make_tokenizer(words)
    tokenizer.save(str(MODEL / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)

    model = transformers.BertModel(transformers.BertConfig(**CONFIG)).double().eval()
    weights = make_weights(model)
    expected = {}
    ids = [tokenizer.encode(text).ids for text in INPUTS]
    for name, prefix, dtype in [
        ("model.safetensors", "", torch.float32),
        ("model.f16.safetensors", "f16.", torch.float16),
        ("model.bf16.safetensors", "bf16.", torch.bfloat16),
    ]:
        stored = save_weights(weights, name, dtype)
        for index, row in enumerate(ids):
            states, embedding = run(model, stored, row)
            expected[f"{prefix}{index}.embedding"] = embedding
            if not prefix:
                for layer, state in enumerate(states):
                    expected[f"{index}.hidden{layer}"] = state
    meta = {
        "made_by": "make.py",
        "seed": SEED,
        "max_tokens": MAX_TOKENS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": np.__version__,
    }
    safetensors.torch.save_file(
        {key: tensor.float().contiguous() for key, tensor in expected.items()},
        HERE / "expected.safetensors",
        metadata={"meta": json.dumps(meta)},
    )
    (HERE / "expected.safetensors").chmod(0o644)
    rows = [json.dumps({"text": text, "ids": row}, ensure_ascii=True) for text, row in zip(INPUTS, ids)]
    body = json.dumps({"meta": meta}, indent=1)[:-2] + ',\n "inputs": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"
    json.loads(body)
    (HERE / "inputs.json").write_text(body, encoding="utf-8")
    print(f"vocabulary {len(words)}, weights {sum(t.numel() for t in weights.values())}")
    for text, row in zip(INPUTS, ids):
        print(f"{len(row):3} tokens: {text[:60]!r}")
    rows = torch.stack([expected[f"{index}.embedding"] for index in range(len(ids))])
    print("largest cosine of two inputs:", (rows @ rows.T - 2 * torch.eye(len(ids))).max().item())


if __name__ == "__main__":
    main()
