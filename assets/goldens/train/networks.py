"""Some of Kiln's networks in PyTorch, by hand: the same layers, and their tensors under the same names.

`make.py` beside it makes goldens with them, and `benches/peers/pytorch_train.py` trains them.
"""

from torch import nn
from torch.nn import functional

CLASSES = 10


class Chain(nn.Module):
    """Layers one after the other: (name, module), or a function for what has no tensors."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = []
        for step in steps:
            if isinstance(step, tuple):
                self.add_module(*step)
                self.steps.append(step[0])
            else:
                self.steps.append(step)

    def forward(self, x):
        for step in self.steps:
            x = getattr(self, step)(x) if isinstance(step, str) else step(x)
        return x


class Residual(Chain):
    """A chain beside which the input goes its own way."""

    def __init__(self, *steps, shortcut=()):
        super().__init__(*steps)
        self.shortcut = Chain(*shortcut)

    def forward(self, x):
        return super().forward(x) + self.shortcut(x)


def relu(x):
    return functional.relu(x)


def max_pool(x):
    return functional.max_pool2d(x, 2)


def avg_pool(x):
    return functional.avg_pool2d(x, 2)


def flatten(x):
    return x.flatten(1)


def base(normed=False):
    def conv(place, channels, to, kernel):
        norm = [(f"bn{place}", nn.BatchNorm2d(to))] if normed else []
        return [(f"conv{place}", nn.Conv2d(channels, to, kernel)), *norm]

    return Chain(
        *conv(1, 1, 20, 5), max_pool, *conv(2, 20, 50, 5), max_pool, *conv(3, 50, 500, 4), relu,
        ("conv4", nn.Conv2d(500, CLASSES, 1)), flatten)


def bn():
    return base(normed=True)


def sk(scale=1.0):
    first, second, third = (round(channels * scale) for channels in (20, 50, 500))

    def unit(place, channels, to, kernel):
        return [(f"conv{place}", nn.Conv2d(channels, to, kernel)), (f"bn{place}", nn.BatchNorm2d(to)), relu]

    return Chain(
        *unit(1, 1, first, 3), *unit(2, first, first, 3), max_pool,
        *unit(3, first, second, 3), *unit(4, second, second, 3), max_pool,
        *unit(5, second, third, 4), ("conv6", nn.Conv2d(third, CLASSES, 1)), flatten)


def convnet():
    return Chain(
        ("conv1", nn.Conv2d(3, 3, 5)), relu, max_pool, ("conv2", nn.Conv2d(3, 16, 5)), relu, avg_pool, flatten,
        ("fc1", nn.Linear(400, 120)), relu, ("fc2", nn.Linear(120, CLASSES)))


def resnet8():
    def conv(place, channels, to, stride=1):
        return [
            (f"conv{place}", nn.Conv2d(channels, to, 3, stride, 1, bias=False)), (f"bn{place}", nn.BatchNorm2d(to))]

    def block(channels, to, stride):
        shortcut = [("conv1", nn.Conv2d(channels, to, 1, stride, bias=False)), ("bn1", nn.BatchNorm2d(to))]
        body = [*conv(1, channels, to, stride), relu, *conv(2, to, to)]
        return Residual(*body, shortcut=shortcut if stride > 1 else ())

    return Chain(
        *conv(1, 3, 16), relu, ("block1", block(16, 16, 1)), relu, ("block2", block(16, 32, 2)), relu,
        ("block3", block(32, 64, 2)), relu, lambda x: functional.adaptive_avg_pool2d(x, 1), flatten,
        ("fc1", nn.Linear(64, CLASSES)))


def by_name(name):
    """A network by Kiln's name for it."""
    if name.startswith("sk-"):
        return sk(float(name.removeprefix("sk-")))
    return {"base": base, "bn": bn, "sk": sk, "convnet": convnet, "resnet8": resnet8}[name]()
