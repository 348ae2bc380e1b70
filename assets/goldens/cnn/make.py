#!/usr/bin/env python3
"""Makes the goldens of the small networks: what PyTorch computes with seeded weights, in double precision.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install 'numpy<2' safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

The networks that Kiln knows by name are written by hand, here and in `../train/networks.py`. `everything.toml` is a
description with every word for a layer, which `described` below turns into PyTorch's modules of the same names.

Weights are filled by their names and images by the name `x`, both from the formula of `kiln_models::seeded`, which
`../vgg/make.py` repeats and documents: a tensor of another name would be filled with other numbers.
"""

import pathlib
import platform
import sys
import tomllib

import numpy as np
import safetensors.torch
import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "train"))

import networks  # noqa: E402
from networks import Chain, Residual, flatten, max_pool, relu  # noqa: E402

BATCH = 2
MASK = 2**64 - 1


def uniform(name, count):
    """f32 in [-1, 1): see `kiln_models::seeded`."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & MASK
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


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
    return values.reshape(shape)


def output(network, size):
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(torch.from_numpy(seeded(name, tuple(tensor.shape))))
        shape = (BATCH, *size)
        images = 2 * uniform("x", int(np.prod(shape))).reshape(shape)
        return network.double().eval()(torch.from_numpy(images).double())


def lenet():
    return Chain(
        ("conv1", nn.Conv2d(1, 6, 5, padding=2)), relu, max_pool, ("conv2", nn.Conv2d(6, 16, 5)), relu, max_pool, flatten,
        ("fc1", nn.Linear(400, 120)), relu, ("fc2", nn.Linear(120, 84)), relu, ("fc3", nn.Linear(84, 10)))


def mobilenet_tiny():
    def separable(channels, to, stride):
        return Chain(
            ("conv1", nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)),
            ("bn1", nn.BatchNorm2d(channels)), nn.functional.relu6,
            ("conv2", nn.Conv2d(channels, to, 1, bias=False)), ("bn2", nn.BatchNorm2d(to)), nn.functional.relu6)

    sizes = [(16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    blocks = [(f"block{place}", separable(*size)) for place, size in enumerate(sizes, 1)]
    return Chain(
        ("conv1", nn.Conv2d(3, 16, 3, padding=1, bias=False)), ("bn1", nn.BatchNorm2d(16)), nn.functional.relu6, *blocks,
        lambda x: nn.functional.adaptive_avg_pool2d(x, 1), flatten, ("fc1", nn.Linear(128, 10)))


def autoencoder():
    return Chain(
        ("conv1", nn.Conv2d(1, 16, 3, 2, 1)), relu, ("conv2", nn.Conv2d(16, 32, 3, 2, 1)), relu,
        ("conv3", nn.Conv2d(32, 4, 1)), ("deconv1", nn.ConvTranspose2d(4, 32, 1)), relu,
        ("deconv2", nn.ConvTranspose2d(32, 16, 4, 2, 1)), relu, ("deconv3", nn.ConvTranspose2d(16, 1, 4, 2, 1)))


def xor():
    return Chain(flatten, ("fc1", nn.Linear(2, 8)), torch.tanh, ("fc2", nn.Linear(8, 1)))


# The modules behind words, what layers without a name are called, and how the size of the input is stated.
MODULES = {
    "conv2d": (nn.Conv2d, "conv", "in_channels"),
    "conv_transpose2d": (nn.ConvTranspose2d, "deconv", "in_channels"),
    "linear": (nn.Linear, "fc", "in_features"),
    "batch_norm2d": (nn.BatchNorm2d, "bn", "num_features"),
    "batch_norm1d": (nn.BatchNorm1d, "bn", "num_features"),
    "group_norm": (nn.GroupNorm, "norm", "num_channels"),
    "instance_norm2d": (nn.InstanceNorm2d, "norm", "num_features"),
    "layer_norm": (nn.LayerNorm, "norm", None),
    "local_response_norm": (nn.LocalResponseNorm, "norm", None),
    "prelu": (nn.PReLU, "prelu", None),
    "relu": (nn.ReLU, "relu", None),
    "relu6": (nn.ReLU6, "relu6", None),
    "sigmoid": (nn.Sigmoid, "sigmoid", None),
    "tanh": (nn.Tanh, "tanh", None),
    "silu": (nn.SiLU, "silu", None),
    "gelu": (nn.GELU, "gelu", None),
    "leaky_relu": (nn.LeakyReLU, "leaky_relu", None),
    "elu": (nn.ELU, "elu", None),
    "softplus": (nn.Softplus, "softplus", None),
    "hardtanh": (nn.Hardtanh, "hardtanh", None),
    "log_sigmoid": (nn.LogSigmoid, "log_sigmoid", None),
    "softshrink": (nn.Softshrink, "softshrink", None),
    "max_pool2d": (nn.MaxPool2d, "pool", None),
    "avg_pool2d": (nn.AvgPool2d, "pool", None),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, "pool", None),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d, "pool", None),
    "dropout": (nn.Dropout, "drop", None),
    "flatten": (nn.Flatten, "flatten", None),
    "unflatten": (nn.Unflatten, "unflatten", None),
    "upsample": (nn.Upsample, "upsample", None),
    "zero_pad2d": (nn.ZeroPad2d, "pad", None),
    "reflection_pad2d": (nn.ReflectionPad2d, "pad", None),
    "replication_pad2d": (nn.ReplicationPad2d, "pad", None),
    "channel_shuffle": (None, "shuffle", None),
    "sequential": (Chain, "block", None),
    "residual": (Residual, "block", None),
}


def shuffled(groups):
    """`nn.ChannelShuffle`, which PyTorch 1.13 has for other types alone."""
    def apply(x):
        batch, channels, height, width = x.shape
        split = x.reshape(batch, groups, channels // groups, height, width)
        return split.transpose(1, 2).reshape(x.shape)

    return apply


def described(layers, x):
    """The steps of a chain for a list of layers over `x`, and what it becomes behind them."""
    steps, counts = [], {}
    for layer in layers:
        options = {"layer": layer} if isinstance(layer, str) else dict(layer)
        word, name = options.pop("layer"), options.pop("name", None)
        make, prefix, size = MODULES[word]
        if name is None:
            counts[prefix] = counts.get(prefix, 0) + 1
            name = f"{prefix}{counts[prefix]}"
        options = {key: tuple(value) if isinstance(value, list) and key not in ("body", "shortcut") else value
                   for key, value in options.items()}
        if size:
            options.setdefault(size, x.shape[1])
        if word == "layer_norm":
            options.setdefault("normalized_shape", tuple(x.shape[1:]))
        if word == "unflatten":
            options["dim"] = 1
        if word == "channel_shuffle":
            step = module = shuffled(**options)
        elif word == "sequential":
            module = Chain(*described(options["body"], x)[0])
            step = (name, module)
        elif word == "residual":
            shortcut, _ = described(options.get("shortcut", []), x)
            module = Residual(*described(options["body"], x)[0], shortcut=shortcut)
            step = (name, module)
        else:
            module = make(**options)
            step = (name, module)
        if isinstance(module, nn.Module):
            module = module.eval()
        with torch.no_grad():
            x = module(x)
        steps.append(step)
    return steps, x


def everything():
    description = tomllib.loads((HERE / "everything.toml").read_text())
    size = description["input"]
    return Chain(*described(description["layers"], torch.zeros(BATCH, *size))[0]), size


def main():
    grey, colour = (1, 28, 28), (3, 32, 32)
    by_hand = {
        "base": (networks.base(), grey), "bn": (networks.bn(), grey), "sk-0.2": (networks.sk(0.2), grey),
        "convnet": (networks.convnet(), colour), "lenet": (lenet(), grey), "resnet8": (networks.resnet8(), colour),
        "mobilenet-tiny": (mobilenet_tiny(), colour), "autoencoder": (autoencoder(), grey), "xor": (xor(), (2, 1, 1)),
        "everything": everything(),
    }
    tensors = {name: output(network, size).contiguous() for name, (network, size) in by_hand.items()}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    (HERE / "expected.safetensors").write_bytes(safetensors.torch.save(tensors, versions))
    for name, tensor in tensors.items():
        print(name, tuple(tensor.shape), tensor.flatten()[:3].tolist())


if __name__ == "__main__":
    main()
