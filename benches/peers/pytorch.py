#!/usr/bin/env python3
"""What Kiln is measured at, in PyTorch: a peer that stays (see benches/README.md).

    python3 pytorch.py ROW [--device cuda|cpu] [--threads N] [--samples N] [--passages FILE --model DIR]

ROW is one of vgg16, vgg16-8, vgg16-32, vgg16-convolutions, matmul-SIDE, minilm, t5, t5-f16, train-base, train-bn,
train-sk and train-resnet8. For each line of its input it measures and prints the milliseconds of each sample, as a list
in brackets. f32 is f32: TensorFloat-32 is off. A sample ends when the device has made all of it, and holds what Kiln's
holds: inputs go to the device, outputs come back.

PyTorch alone for VGG, products and training; transformers, tokenizers and safetensors as well for minilm and t5.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
from torch import nn

sys.dont_write_bytecode = True

CHANNELS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
# As in the rows of the same names.
PROMPT, DECODED, TRAINED, STEPS = 256, 32, 100, 5


def vgg16(whole):
    layers, last = [], 3
    for channels in CHANNELS:
        if channels == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(last, channels, 3, padding=1), nn.ReLU()]
            last = channels
    if whole:
        layers += [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
                   nn.Linear(4096, 1000), nn.Softmax(1)]
    return nn.Sequential(*layers)


def images(network, batch, device):
    network, x = network.to(device).eval(), torch.rand(batch, 3, 224, 224)

    def run():
        with torch.no_grad():
            network(x.to(device)).cpu()
    return run


def product(side, device, sync):
    left, right = torch.rand(2, side, side, device=device)

    def run():
        left @ right
        sync()
    return run


def minilm(options):
    import tokenizers
    import transformers
    from safetensors.torch import load_file
    folder = pathlib.Path(options.model)
    config = transformers.BertConfig.from_json_file(folder / "config.json")
    model = transformers.BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: w for name, w in weights.items() if not name.startswith("pooler")}, strict=False)
    model = model.to(options.device).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    texts = json.loads(pathlib.Path(options.passages).read_text(encoding="utf-8"))

    def run():
        made = []
        with torch.no_grad():
            for start in range(0, len(texts), 32):
                rows = tokenizer.encode_batch(texts[start:start + 32])
                ids = torch.tensor([row.ids for row in rows], device=options.device)
                mask = torch.tensor([row.attention_mask for row in rows], device=options.device)
                hidden, weight = model(input_ids=ids, attention_mask=mask)[0], mask[..., None]
                made.append(nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1)).cpu())
        return torch.cat(made)
    return run


def t5(options, half):
    import transformers
    # The geometry of flan-t5-small.
    config = transformers.T5Config(
        vocab_size=32128, d_model=512, d_kv=64, num_heads=6, d_ff=1024, num_layers=8, num_decoder_layers=8,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    model = transformers.T5ForConditionalGeneration(config).to(options.device).eval()
    model = model.half() if half else model
    prompt = (torch.arange(PROMPT) * 7919 % config.vocab_size)[None].to(options.device)

    def sample():
        """Milliseconds of a token but the first, which waits for the encoder."""
        with torch.no_grad():
            encoded = model.encoder(input_ids=prompt)
            token, past = torch.zeros(1, 1, dtype=torch.int64, device=options.device), None
            for step in range(DECODED):
                if step == 1:
                    start = time.perf_counter()
                made = model(encoder_outputs=encoded, decoder_input_ids=token, past_key_values=past, use_cache=True)
                token, past = made.logits[:, -1:].argmax(-1), made.past_key_values
                token.item()  # as a text that ends somewhere needs it
            return (time.perf_counter() - start) * 1e3 / (DECODED - 1)
    return sample


def training(name, options):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "assets/goldens/train"))
    import networks
    network = networks.by_name(name).to(options.device).train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, 0.9)
    side = (3, 32, 32) if name == "resnet8" else (1, 28, 28)
    x, y = torch.rand(TRAINED, *side) * 2 - 1, torch.arange(TRAINED) % 10

    def sample():
        """Milliseconds of a step."""
        start = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x.to(options.device)), y.to(options.device))
            loss.backward()
            optimizer.step()
        loss.item()
        return (time.perf_counter() - start) * 1e3 / STEPS
    return sample


def timed(run):
    """A function that gives the milliseconds of a run."""
    def sample():
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3
    return sample


def sample_of(options):
    """What measures the row once, and gives milliseconds."""
    sync = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    row, _, rest = options.row.partition("-")
    if row == "vgg16":
        trunk = rest == "convolutions"
        batch = 1 if trunk or not rest else int(rest)
        return timed(images(vgg16(not trunk), batch, options.device))
    if row == "matmul":
        return timed(product(int(rest), options.device, sync))
    if row == "minilm":
        return timed(minilm(options))
    if row == "t5":
        return t5(options, rest == "f16")
    if row == "train":
        return training(rest, options)
    sys.exit(f"{options.row}: unknown row")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--samples", type=int, default=3, help="in each round")
    parser.add_argument("--passages", help="a JSON file with a list of texts, for minilm")
    parser.add_argument("--model", help="the folder of all-MiniLM-L6-v2, for minilm")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    sample = sample_of(options)
    start, warm = time.perf_counter(), 0
    while warm < 1 or warm < 3 and time.perf_counter() - start < 5:
        sample()
        warm += 1
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {name}", file=sys.stderr)
    for _ in sys.stdin:
        print([round(sample(), 4) for _ in range(options.samples)], flush=True)


if __name__ == "__main__":
    main()
