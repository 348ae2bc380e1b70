#!/usr/bin/env python3
"""Makes the goldens of training: gradients, ten-step curves of each optimizer, and a hundred steps, by PyTorch.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv   # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

Weights, images and labels are from the formula that `tests/src/data.rs` documents (`uniform` and `indices` below), and
everything is computed in double precision from these f32 numbers. What f32 gives in PyTorch is computed too and
printed: the distance says what an engine in f32 can be asked for. Losses of whole runs are stored in both.

- A parameter is `uniform(name) * bound` with PyTorch's own initial bound, 1 / sqrt(fan_in) for weight and bias, in
  f32; of a batch norm it is `1 + uniform(name) / 4` and `uniform(name) / 4`.
- Example `i` is its class's template plus noise: `labels = indices("train.labels", n, 10)`, templates
  `uniform("train.templates", 10 * C * H / 4 * W / 4)`, each number a square of 4x4 pixels, and noise
  `uniform("train.noise", n * C * H * W)`. Its image is `template + 2 * noise` in f32.
- Batch `s` holds the examples from `s * batch` on, modulo their number.
"""

import json
import math
import pathlib
import platform
import sys

import numpy as np
import safetensors.numpy
import torch

sys.dont_write_bytecode = True
import networks  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
MASK = 2**64 - 1
SAMPLES = 16
CLASSES = 10
SHAPES = {"bn": (1, 28, 28), "convnet": (3, 32, 32), "resnet8": (3, 32, 32)}


def hashed(name, count):
    """64 bits for each element."""
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
    """Places below `extent`."""
    return ((hashed(name, count) >> np.uint64(32)) * np.uint64(extent) >> np.uint64(32)).astype(np.int64)


def fill(network):
    """The initial parameters: see above."""
    for path, module in network.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            u = uniform(f"{path}.{kind}", parameter.numel())
            if isinstance(module, torch.nn.BatchNorm2d):
                values = u * np.float32(0.25) + np.float32(1 if kind == "weight" else 0)
            else:
                values = u * np.float32(1 / math.sqrt(np.prod(module.weight.shape[1:])))
            assert values.dtype == np.float32
            parameter.data.copy_(torch.from_numpy(values).reshape(parameter.shape))


def made(name, dtype):
    """A network in training mode with its initial parameters."""
    network = networks.by_name(name)
    fill(network)
    return network.to(dtype).train()


def examples(shape, count):
    channels, height, width = shape
    labels = indices("train.labels", count, CLASSES)
    templates = uniform("train.templates", CLASSES * channels * (height // 4) * (width // 4))
    templates = templates.reshape(CLASSES, channels, height // 4, width // 4).repeat(4, axis=2).repeat(4, axis=3)
    noise = uniform("train.noise", count * channels * height * width).reshape(count, channels, height, width)
    images = templates[labels] + np.float32(2) * noise
    assert images.dtype == np.float32
    return torch.from_numpy(images), torch.from_numpy(labels)


def batches(shape, count, size, dtype):
    """Forever."""
    images, labels = examples(shape, count)
    images = images.to(dtype)
    step = 0
    while True:
        places = torch.arange(step * size, (step + 1) * size) % count
        yield images[places], labels[places]
        step += 1


def describe(name, tensor):
    """[norm, sum, projection] and samples."""
    values = tensor.detach().double().reshape(-1).numpy()
    projection = uniform(f"{name}.projection", values.size).astype(np.float64)
    stats = np.array([np.linalg.norm(values), values.sum(), projection @ values])
    return stats, values[indices(f"{name}.samples", SAMPLES, values.size)]


# Gradients

def gradients(name, batch):
    """The gradient of the mean cross-entropy for every parameter, and what else the step leaves behind."""
    def run(dtype):
        network = made(name, dtype)
        images, labels = next(batches(SHAPES[name], batch, batch, dtype))
        logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        grads = {key: parameter.grad for key, parameter in network.named_parameters()}
        # running_mean and running_var after one step, from 0 and 1, with momentum 0.1
        running = {key: buffer for key, buffer in network.named_buffers() if "running" in key}
        return logits.detach(), loss.detach(), grads, running

    (logits, loss, grads, running), (_, loss32, grads32, _) = run(torch.float64), run(torch.float32)
    tensors = {f"{name}.logits": logits.numpy(), f"{name}.loss": loss.reshape(1).numpy()}
    for key, tensor in (grads | running).items():
        tensors[f"{name}.{key}.stats"], tensors[f"{name}.{key}.samples"] = describe(key, tensor)
    whole = math.sqrt(sum(float(grad.square().sum()) for grad in grads.values()))
    print(f"{name}: loss {loss:.6f}, f32 {abs(loss32 - loss) / loss:.1e} off; norm of all gradients {whole:.4f}")
    for key, grad in grads.items():
        off = (grads32[key].double() - grad).norm()
        print(f"  {key:24} {tuple(grad.shape)!s:20} norm {grad.norm():.3e}, f32 {off / (grad.norm() + 1e-3 * whole):.1e} off")
    return tensors


# Curves

def group_of(optimizer):
    return optimizer.param_groups[0]


def curve(network, batch, steps, make, dtype, count, clip=None, accumulate=1, rates=None):
    """The loss of each batch before its update, and the norm of all gradients before they are clipped. A batch is
    computed in `accumulate` parts, as even as whole parts of the first one's size allow, whose gradients add up."""
    model = made(network, dtype)
    optimizer = make(model.parameters())
    source = batches(SHAPES[network], count, batch, dtype)
    losses, norms = [], []
    for step in range(steps):
        if rates:
            group_of(optimizer)["lr"] = rates[step]
        optimizer.zero_grad()
        images, labels = next(source)
        parts = zip(*(tensor.split(math.ceil(batch / accumulate)) for tensor in (images, labels)))
        losses.append(0.0)
        for images, labels in parts:
            loss = torch.nn.functional.cross_entropy(model(images), labels) * (len(labels) / batch)
            loss.backward()
            losses[-1] += float(loss.detach())
        grads = [parameter.grad for parameter in model.parameters()]
        norms.append(math.sqrt(sum(float(grad.double().square().sum()) for grad in grads)))
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return losses, norms


def scheduled(make, lr, steps):
    """The rates that a PyTorch scheduler gives when it steps with every update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(group_of(optimizer)["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def both(name, **arguments):
    """The curve in double precision, and how far f32 is from it."""
    losses, norms = curve(dtype=torch.float64, **arguments)
    single, _ = curve(dtype=torch.float32, **arguments)
    off = max(abs(a - b) / abs(b) for a, b in zip(single, losses))
    print(f"{name:24} {' '.join(f'{loss:.4f}' for loss in losses[::max(1, len(losses) // 10)])}  f32 {off:.1e} off")
    return losses, norms, off


def curves():
    """Ten steps each. `options` are the arguments of PyTorch's optimizers."""
    optim = torch.optim
    classes = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}
    momentum = {"lr": 0.05, "momentum": 0.9}
    cosine = scheduled(lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 10), 0.1, 10)
    warmup = scheduled(lambda o: optim.lr_scheduler.LinearLR(o, 0.5, 1, 5), 0.1, 10)
    rows = [
        # name, optimizer, its options, the rest
        ("sgd", "sgd", {"lr": 0.1}, {}),
        ("sgd_momentum", "sgd", momentum, {}),
        ("sgd_dampening", "sgd", momentum | {"dampening": 0.5}, {}),
        ("sgd_nesterov", "sgd", momentum | {"nesterov": True}, {}),
        ("sgd_weight_decay", "sgd", momentum | {"weight_decay": 0.05}, {}),
        ("adam", "adam", {"lr": 0.002}, {}),
        ("adam_weight_decay", "adam", {"lr": 0.002, "weight_decay": 0.05, "betas": [0.8, 0.99], "eps": 1e-6}, {}),
        ("adamw", "adamw", {"lr": 0.002, "weight_decay": 0.5}, {}),
        ("rmsprop", "rmsprop", {"lr": 0.001}, {}),
        ("rmsprop_momentum", "rmsprop", {"lr": 0.001, "momentum": 0.9, "alpha": 0.9, "weight_decay": 0.05}, {}),
        ("sgd_clip", "sgd", momentum, {"clip": 0.5}),
        ("adamw_clip", "adamw", {"lr": 0.002}, {"clip": 0.5}),
        ("rmsprop_clip", "rmsprop", {"lr": 0.001}, {"clip": 0.5}),
        ("sgd_accumulate", "sgd", momentum, {"accumulate": 3}),
        ("sgd_accumulate_clip", "sgd", momentum, {"accumulate": 3, "clip": 0.5}),
        ("sgd_cosine", "sgd", {"lr": 0.1}, {"rates": cosine, "schedule": "cosine"}),
        ("sgd_warmup", "sgd", {"lr": 0.1}, {"rates": warmup, "schedule": "warmup1"}),
    ]
    out = []
    for name, optimizer, options, rest in rows:
        arguments = {key: value for key, value in rest.items() if key != "schedule"}
        losses, norms, off = both(
            name, network="convnet", batch=10, steps=10, count=40,
            make=lambda p: classes[optimizer](p, **options), **arguments)
        out.append({"name": name, "network": "convnet", "batch": 10, "examples": 40, "optimizer": optimizer,
                    "options": options, **rest, "losses": losses, "norms": norms, "f32_off": off})
    # An epoch is what the schedules count in: here five steps, whatever the number of examples.
    return {"steps_per_epoch": 5, "epochs": 2, "curves": out}


def hundred_steps():
    """Runs on which a rounding does not grow. A network whose loss is nearly nothing, or that is just leaving a plateau,
    takes another way when one comparison of nearly equal numbers falls out differently."""
    out = []
    for name, batch, lr in (("bn", 24, 0.0005), ("convnet", 20, 0.004)):
        options = {"lr": lr, "momentum": 0.9}
        losses, _, off = both(
            name, network=name, batch=batch, steps=100, count=20 * batch,
            make=lambda p: torch.optim.SGD(p, **options))
        out.append({"network": name, "batch": batch, "examples": 20 * batch, "optimizer": "sgd", "options": options,
                    "losses": losses, "f32_off": off})
    return {"runs": out}


def write(name, value, meta):
    # One curve a line would be long; one number a line, too many lines.
    (HERE / name).write_text(json.dumps({"meta": meta} | value, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    meta = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    tensors = {}
    for name, batch in (("bn", 4), ("convnet", 4), ("resnet8", 2)):
        tensors |= gradients(name, batch)
    safetensors.numpy.save_file(tensors, HERE / "gradients.safetensors", {"meta": json.dumps(meta)})
    write("curves.json", curves(), meta)
    write("hundred_steps.json", hundred_steps(), meta)
