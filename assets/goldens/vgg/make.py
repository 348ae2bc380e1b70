#!/usr/bin/env python3
"""Makes the goldens of VGG: what PyTorch computes with seeded weights, layer by layer, in double precision.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv   # Debian's python3-torch 1.13, -torchvision 0.14
    /tmp/torchenv/bin/pip install safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

`vgg16` is torchvision's own network at 224x224, a batch of 4 (image 0 alone is the batch of 1): 140 million weights
from the formula of `kiln_models::seeded`, which `seeded` below repeats. `small` has vgg11_bn's form with few channels,
from torchvision's `make_layers` with a classifier of the same names, over images whose last pooling leaves 2x3 where
the classifier wants 2x2, so that the adaptive pooling has work to do.

Whole tensors would be far too large, so each layer and image has, in f64:

- `stats`: mean, standard deviation (of the population), minimum, maximum, largest absolute value, and the sum of
  `uniform(layer + ".projection") * values` over the root of their number, in which every element has its own say;
- `samples`: the values at the flat places `indices(layer + ".samples", 64, elements)`.

Logits and probabilities are there in full.
"""

import json
import pathlib
import platform

import numpy as np
import safetensors.numpy
import torch
import torchvision

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = 64
MASK = 2**64 - 1


def hashed(name, count, start=0):
    """64 bits for each element: see `kiln_models::seeded`."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & MASK
    z = np.uint64(seed) + np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name, count):
    """f32 in [-1, 1)."""
    return (hashed(name, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def indices(name, count, extent):
    """Places below `extent`."""
    return ((hashed(name, count) >> np.uint64(32)) * np.uint64(extent) >> np.uint64(32)).astype(np.int64)


def seeded(name, shape):
    """A weight, bit for bit as `SeededWeights` makes it."""
    u = uniform(name, int(np.prod(shape)))
    kind = name.rsplit(".", 1)[-1]
    if kind == "weight" and len(shape) >= 2:
        values = u * np.float32(np.sqrt(6.0 / np.prod(shape[1:])))
    elif kind in ("weight", "running_var"):
        values = np.float32(1) + u * np.float32(0.5)
    else:
        values = u * np.float32(0.125)
    assert values.dtype == np.float32
    return values.reshape(shape)


def fill(network):
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(torch.from_numpy(seeded(name, tuple(tensor.shape))))
    return network.double().eval()


def layers(network, x):
    """The paper's names and what comes out, in order; `.pre` for what goes into an activation."""
    block, index = 1, 0
    for module in network.features:
        before, x = x, module(x)
        if isinstance(module, torch.nn.Conv2d):
            index += 1
        elif isinstance(module, torch.nn.ReLU):
            yield f"conv{block}_{index}.pre", kept
            yield f"conv{block}_{index}", x
        elif isinstance(module, torch.nn.MaxPool2d):
            yield f"pool{block}", x
            block, index = block + 1, 0
        # The activations work in place.
        kept = x.clone()
    x = torch.flatten(network.avgpool(x), 1)
    for name, place in (("fc6", 0), ("fc7", 3), ("fc8", 6)):
        x = network.classifier[place](x)
        if name == "fc8":
            yield name, x
        else:
            yield f"{name}.pre", x
            x = torch.relu(x)
            yield name, x


def describe(name, batch):
    elements = batch[0].numel()
    places = indices(f"{name}.samples", SAMPLES, elements)
    projection = uniform(f"{name}.projection", elements).astype(np.float64) / np.sqrt(elements)
    stats, samples = [], []
    for image in batch:
        values = image.reshape(-1).numpy()
        stats.append([
            values.mean(), values.std(), values.min(), values.max(), np.abs(values).max(), projection @ values,
        ])
        samples.append(values[places])
    return np.array(stats), np.array(samples)


def golden(prefix, network, shape):
    x = torch.from_numpy(2 * uniform("x", int(np.prod(shape)))).reshape(shape).double()
    tensors = {}
    with torch.no_grad():
        for name, batch in layers(network, x):
            stats, samples = describe(name, batch)
            tensors[f"{prefix}.{name}.stats"], tensors[f"{prefix}.{name}.samples"] = stats, samples
            print(f"{prefix} {name:12} {tuple(batch.shape)!s:24} std {stats[0][1]:.4f} max {stats[0][4]:.3f}")
        assert torch.equal(batch, network(x))
        tensors[f"{prefix}.logits"] = batch.numpy()
        tensors[f"{prefix}.probabilities"] = torch.softmax(batch, 1).numpy()
    return tensors


def small():
    """vgg11_bn with few channels: keep in line with `small` in tests/tests/models/vgg.rs."""
    plan = [4, "M", 6, "M", 8, 10, "M", 12, 10, "M", 8, 12, "M"]
    grid, hidden, classes = 2, 20, 11
    network = torch.nn.Module()
    network.features = torchvision.models.vgg.make_layers(plan, batch_norm=True)
    network.avgpool = torch.nn.AdaptiveAvgPool2d((grid, grid))
    network.classifier = torch.nn.Sequential(
        torch.nn.Linear(12 * grid * grid, hidden), torch.nn.ReLU(True), torch.nn.Dropout(),
        torch.nn.Linear(hidden, hidden), torch.nn.ReLU(True), torch.nn.Dropout(),
        torch.nn.Linear(hidden, classes),
    )
    network.forward = lambda x: network.classifier(torch.flatten(network.avgpool(network.features(x)), 1))
    return network


if __name__ == "__main__":
    tensors = golden("small", fill(small()), (2, 3, 70, 106))
    tensors |= golden("vgg16", fill(torchvision.models.vgg16(weights=None)), (4, 3, 224, 224))
    meta = {
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    safetensors.numpy.save_file(tensors, HERE / "expected.safetensors", {"meta": json.dumps(meta)})
