#!/usr/bin/env python3
"""Makes the goldens of all-MiniLM-L6-v2 with the reference encoder: PyTorch and transformers.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install transformers==4.41.2 'numpy<2' 'tokenizers<0.20' safetensors==0.8.0
    /tmp/torchenv/bin/python make.py MODEL_DIR

MODEL_DIR holds the Hugging Face files of sentence-transformers/all-MiniLM-L6-v2; their SHA-256 is
checked against the one below. The passages are read from passages.json, so that a run with other
versions can be compared with this one. `--cut` makes them anew first: from the text of
../../sample/convolutional-networks.pdf (by poppler's `pdftotext`) and from the lists below.

The encoder computes in double precision and its results are rounded to f32 at the end, so that
what a comparison shows is the error of the other side.
"""

import argparse
import hashlib
import json
import pathlib
import platform
import re
import subprocess

import numpy as np
import safetensors.torch
import tokenizers
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
SAMPLE = HERE.parents[1] / "sample" / "convolutional-networks.pdf"
MAX_TOKENS = 256
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Three embeddings known from elsewhere: the first and the last three of 384 numbers.
KNOWN = {
    "Machine learning is amazing": (
        [-0.04862163, -0.08617098, 0.08960795],
        [0.07205721, -0.00438847, -0.02266295],
    ),
    "Deep learning uses neural networks": (
        [-0.10114671, -0.0130303, 0.07322458],
        [0.06143846, 0.03814853, -0.03969791],
    ),
    "AI transforms industries": (
        [-0.07190882, -0.0214227, -0.00817364],
        [-0.04696938, 0.04265788, -0.03134049],
    ),
}

SHORT = [
    "kiln",
    "a",
    "?",
    "42",
    "Winograd",
    "Two words",
    "lavapipe, Mesa",
    "Hello, world!",
]

# Sentences on many subjects, so that the embeddings do not all point the same way.
SENTENCES = [
    "The cat fell asleep on the warm keyboard.",
    "A tax on sugar was introduced in the spring of that year.",
    "Boil the pasta for nine minutes in well salted water.",
    "The second violin came in half a bar too early.",
    "Her passport had expired three days before the flight.",
    "Rust refuses to compile a program that uses a value after it was moved.",
    "Glaciers carve valleys with a cross-section like the letter U.",
    "Please return the borrowed ladder before the weekend.",
    "The court found that the contract had been void from the beginning.",
    "Penicillin was discovered because a window stood open.",
    "Stoneware is fired at a higher temperature than earthenware.",
    "He checked the tyres, the oil and the lights, and still forgot the fuel.",
    "Prime numbers have exactly two divisors.",
    "It rained so hard that the match was abandoned in the second half.",
    "The museum keeps the manuscript in a room without daylight.",
    "Interest on the loan is due on the last working day of each month.",
    "How do I reset the password of my router?",
    "What is the difference between a virus and a bacterium?",
    "Why does bread go stale faster in the refrigerator?",
    "Which planet has the most moons?",
    "The bridge was closed to lorries after cracks had been found in two of its piers.",
    "Photosynthesis turns carbon dioxide and water into sugar and oxygen.",
    "A binary search halves the range at every step.",
    "She planted garlic in October and harvested it in July.",
]

UNUSUAL = [
    "ÜBER die Straße ging ein FRÖHLICHER Bär; Äpfel, Öl & Übermut.",
    "Le garçon naïf a mangé une crème brûlée à l'hôtel de Besançon.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "İstanbul'da IĞDIR ve ışık: the dotted and the dotless i.",
    "Ελληνικά: η καλημέρα και ο ΣΊΣΥΦΟΣ.",
    "Привет, мир! ЁЛКА и ёжик.",
    "卷积神经网络在图像识别中非常有效。",
    "東京タワーは333メートルです。",
    "한국어 문장도 하나 있습니다.",
    "مرحبا بالعالم، كيف حالك؟",
    "नमस्ते दुनिया, यह एक वाक्य है।",
    "The launch was great 🎉🚀, the landing was not 😬.",
    "👩‍🔬 and 👨‍👩‍👧 are single glyphs made of several scalar values; 🇪🇺 is two.",
    "Mixed 中文 and English without any spaces中文like this.",
    "cafe\u0301 with a combining accent and café with one letter",
    "zero\u200bwidth\u200bspaces and a soft\u00adhyphen and a no\u00a0break space",
    "tab\tand newline\nand carriage return\r\nare all white space",
    "control\u0007characters and a replacement \ufffd character",
    "ﬁrst ﬂoor oﬃce ligatures, ½ cup, x² + y³, № 7, ™ and ©",
    "Ｆｕｌｌｗｉｄｔｈ letters and ①②③",
    "THE WHOLE SENTENCE IS WRITTEN IN CAPITALS AND MEANS THE SAME.",
    "the whole sentence is written in capitals and means the same.",
    "e.g. i.e. U.S.A. 3.14159 1,000,000 10:30 a.m. 50% $9.99 #1 @home C++ C#",
    "https://example.org/a/b?c=d&e=f#g and user@example.org",
    "fn main() { let x: Vec<u32> = (0..10).map(|i| i * i).collect(); }",
    "∑_{i=1}^{n} x_i ≤ ∫ f(x) dx ≠ √2 · π",
    "[CLS] and [SEP] and [MASK] typed by a user",
    "state-of-the-art, well-known, don't, rock'n'roll, O'Neill's",
    "pneumonoultramicroscopicsilicovolcanoconiosis is a long word",
    "a" * 99 + " " + "b" * 101 + " the second of these words is too long for one word piece run",
    "....----....!!!!????",
    "   spaces   at   both   ends   and   between   ",
    "𝑦 = 𝑤𝑥 + 𝑏 in mathematical italics",
    "word " * 12,
]

# Token counts, [CLS] and [SEP] included, at the edges of the sequence length and of the budgets.
EDGE_COUNTS = [15, 16, 17, 63, 64, 65, 127, 128, 129, 130, 254, 255, 256, 257, 258, 300, 400, 600]


def sample_words():
    """The words of the sample document's prose: paragraphs only, no table, formula or page number."""
    text = subprocess.run(
        ["pdftotext", "-layout", str(SAMPLE), "-"], check=True, capture_output=True, text=True
    ).stdout
    text = text.split("Further reading")[0]
    paragraphs = re.split(r"\n\s*\n", text.replace("\f", "\n\n"))
    prose = [text for text in map(str.strip, paragraphs) if len(text.partition("\n")[0]) > 60]
    return " ".join(prose).split()


def cut(words, start, count, tokenizer):
    """Words from `start` on that make exactly `count` tokens, the last word cut short if need be."""
    end = start + 1
    while token_count(" ".join(words[start:end]), tokenizer) < count:
        end += 1
    text = " ".join(words[start:end])
    while token_count(text, tokenizer) > count:
        text = text[:-1].rstrip()
    while token_count(text, tokenizer) < count:
        text += " so"
    return text


def make_passages(tokenizer):
    words = sample_words()
    passages = list(KNOWN) + SHORT + SENTENCES + UNUSUAL
    counts = EDGE_COUNTS + [131 + 3 * i for i in range(42)] + [18 + 4 * i for i in range(27)]
    at = 0
    for count in counts:
        if at + count > len(words):
            at = at % 97 + 11
        passages.append(cut(words, at, count, tokenizer))
        at += count // 2 + 7
    return passages


def token_count(text, tokenizer):
    return len(tokenizer(text)["input_ids"])


class Encoder:
    """BERT, the mean over the tokens of a text, scaled to length one."""

    def __init__(self, folder):
        self.folder = folder
        self.tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
        self.tokenizer.model_max_length = 10**9  # truncation is asked for where it is wanted
        self.model = transformers.BertModel.from_pretrained(folder).double().eval()

    def ids(self, text):
        return self.tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]

    @torch.no_grad()
    def hidden_states(self, ids):
        out = self.model(torch.tensor([ids]), output_hidden_states=True)
        return [state[0] for state in out.hidden_states]

    def embed(self, text):
        mean = self.hidden_states(self.ids(text))[-1].mean(dim=0)
        return torch.nn.functional.normalize(mean, dim=0)


def check_known(encoder):
    for text, (first, last) in KNOWN.items():
        row = encoder.embed(text)
        error = (torch.cat([row[:3], row[-3:]]) - torch.tensor(first + last)).abs().max().item()
        assert error < 1e-6, f"{text!r} is off by {error}"
        print(f"{text!r}: within {error:.1e} of the known embedding")


def check_batch(encoder, passages, embeddings):
    """The same in single precision, in padded batches with a mask, as sentence-transformers does it."""
    model = transformers.BertModel.from_pretrained(encoder.folder).eval()
    worst = 1.0
    with torch.no_grad():
        for at in range(0, len(passages), 16):
            batch = encoder.tokenizer(
                passages[at : at + 16],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None].float()
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            rows = torch.nn.functional.normalize(mean, dim=1)
            cosine = (rows.double() * embeddings[at : at + 16].double()).sum(1)
            worst = min(worst, cosine.min().item())
    assert worst > 0.999999, worst
    print(f"padded batches in f32: smallest cosine {worst:.9f}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model", type=pathlib.Path)
    arguments.add_argument("--cut", action="store_true", help="make passages.json anew")
    arguments = arguments.parse_args()

    weights = (arguments.model / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == MODEL_SHA256, "another model.safetensors"
    encoder = Encoder(arguments.model)
    check_known(encoder)

    if arguments.cut:
        passages = make_passages(encoder.tokenizer)
    else:
        stored = json.loads((HERE / "passages.json").read_text(encoding="utf-8"))
        passages = [passage["text"] for passage in stored["passages"]]

    embeddings = torch.stack([encoder.embed(text) for text in passages]).float()
    check_batch(encoder, passages, embeddings)

    meta = {
        "made_by": "make.py",
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "model_sha256": MODEL_SHA256,
        "max_tokens": MAX_TOKENS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": np.__version__,
    }
    rows = []
    with_ids = set(range(len(KNOWN))) | {i for i, t in enumerate(passages) if t in SHORT[:3] + UNUSUAL}
    longest = max(range(len(passages)), key=lambda i: token_count(passages[i], encoder.tokenizer))
    for index, text in enumerate(passages):
        row = {"text": text, "tokens": token_count(text, encoder.tokenizer)}
        if index in with_ids or index == longest:
            row["ids"] = encoder.ids(text)
        rows.append(json.dumps(row, ensure_ascii=True))
    body = json.dumps({"meta": meta}, indent=1)[:-2] + ',\n "passages": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"
    json.loads(body)
    (HERE / "passages.json").write_text(body, encoding="utf-8")

    text_meta = {"meta": json.dumps(meta)}  # one entry, since the file's own order of entries is random
    safetensors.torch.save_file(
        {"embeddings": embeddings.contiguous()}, HERE / "embeddings.safetensors", metadata=text_meta
    )
    states = encoder.hidden_states(encoder.ids(passages[0]))
    taps = {f"hidden{layer}": state.float().contiguous() for layer, state in enumerate(states)}
    safetensors.torch.save_file(taps, HERE / "taps.safetensors", metadata=text_meta)

    for path in HERE.glob("*.safetensors"):
        path.chmod(0o644)
    counts = [token_count(text, encoder.tokenizer) for text in passages]
    print(f"{len(passages)} passages, of which {sum(129 <= c <= 256 for c in counts)} have 129 to 256 tokens,")
    print(f"{sum(c <= 7 for c in counts)} at most 7 and {sum(c > 256 for c in counts)} more than 256")


if __name__ == "__main__":
    main()
