#!/usr/bin/env python3
"""Trains Kiln's networks in PyTorch, as `kiln train` does, and prints their test errors.

    python3 pytorch_train.py                      # base, bn and sk-0.2, seeds 0 to 2: some fifteen minutes on one core
    python3 pytorch_train.py base --seeds 1 --epochs 1

The same data (the first 10,000 training images of Fashion-MNIST, by Debian's package dataset-fashion-mnist, normalised by
their own mean and deviation, in another order each epoch), layers (`assets/goldens/train/networks.py`), initialisation,
optimizer and schedule. The random numbers are PyTorch's own, so single runs differ from Kiln's;
their means can be compared. Measured with PyTorch 1.13.
"""

import argparse
import gzip
import math
import pathlib
import statistics
import sys
import time

import numpy as np
import torch

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "assets/goldens/train"))
import networks  # noqa: E402

# What `kiln train` takes where nothing is said: see `crates/models/src/cnn`.
RATES = {"base": 0.02, "bn": 0.02, "sk": 0.05}


def idx(path):
    """A file of images or labels."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    assert data[:3] == b"\0\0\x08", path
    shape = np.frombuffer(data, ">i4", rank, 4)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape).copy())


def dataset(folder, limit):
    """Images and labels for training and for the test, normalised by the former."""
    def part(name):
        images = idx(folder / f"{name}-images-idx3-ubyte.gz")
        return images.unsqueeze(1), idx(folder / f"{name}-labels-idx1-ubyte.gz").long()

    (images, labels), (test_images, test_labels) = part("train"), part("t10k")
    images, labels = images[:limit].double() / 255, labels[:limit]
    mean, std = images.mean(), images.std(unbiased=False)
    test_images = (test_images.double() / 255 - mean) / std
    return ((images - mean) / std).float(), labels, test_images.float(), test_labels


def factor(schedule, time, epochs):
    """What the schedule makes of the rate after so many epochs."""
    return (1 + math.cos(math.pi * time / epochs)) / 2 if schedule == "cosine" else 1.0


def optimizer_of(options, network, rate):
    if options.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), rate, options.momentum, weight_decay=options.weight_decay)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[options.optimizer](network.parameters(), rate, weight_decay=options.weight_decay)


def wrong(network, images, labels):
    """The share of images that are taken for something else."""
    network.eval()
    with torch.no_grad():
        said = [network(part).argmax(1) for part in images.split(500)]
    network.train()
    return float((torch.cat(said) != labels).double().mean())


def train(name, seed, options, data):
    """The test error of the last epoch's network."""
    images, labels, test_images, test_labels = data
    torch.manual_seed(seed)
    network = networks.by_name(name).train()
    rate = options.lr or RATES[name.split("-")[0]]
    optimizer = optimizer_of(options, network, rate)
    batches = math.ceil(len(images) / options.batch_size)
    for epoch in range(options.epochs):
        start, total = time.time(), 0.0
        for batch, places in enumerate(torch.randperm(len(images)).split(options.batch_size)):
            at = epoch + batch / batches if options.schedule_by == "step" else epoch
            now = rate * factor(options.schedule, at, options.epochs)
            for group in optimizer.param_groups:
                group["lr"] = now
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images[places]), labels[places])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(places)
        took = time.time() - start
        print(f"{name} seed {seed} epoch {epoch + 1:2} loss {total / len(images):.4f} "
              f"{len(images) / took:.0f} images/s", file=sys.stderr)
    return wrong(network, test_images, test_labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["base", "bn", "sk-0.2"])
    parser.add_argument("--data", type=pathlib.Path, default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--limit", type=int, default=10_000, help="training images")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0 on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--optimizer", default="sgd", choices=["sgd", "adam", "adamw"])
    parser.add_argument("--lr", type=float, help="the network's own, if not given")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--schedule", default="cosine", choices=["constant", "cosine"])
    parser.add_argument("--schedule-by", default="epoch", choices=["epoch", "step"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = dataset(options.data, options.limit)
    for name in options.networks:
        errors = []
        for seed in range(options.seeds):
            errors.append(100 * train(name, seed, options, data))
            print(f"{name}, seed {seed}: test error {errors[-1]:.2f} %", flush=True)
        spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
        print(f"{name}: mean {statistics.mean(errors):.2f} %, standard deviation {spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
