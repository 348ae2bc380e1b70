#!/usr/bin/env python3
"""Makes goldens of losses and optimizers with PyTorch.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13, python3-numpy 1.24
    /tmp/torchenv/bin/python make.py

losses.json has, for each loss with its options, the value and the gradient with respect to its first input; the inputs
stand there once. curves.json has a small network, ten steps of each optimizer on it, and the loss before each step and
after the last. Inputs are representable in f32; all is computed in double precision and rounded to 10 digits.
"""

import json
import pathlib
import platform

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
META = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}

generator = np.random.Generator(np.random.PCG64(20_250_504))


def random(*shape, low=-2.0, high=2.0):
    """Multiples of 2^-8, each exact in f32 and short in text."""
    return torch.from_numpy(np.round(generator.uniform(low, high, shape) * 256) / 256)


def digits(tensor):
    return [float(f"{x:.10g}") for x in tensor.detach().double().flatten().tolist()]


def listed(tensor):
    return {"shape": list(tensor.shape), "data": digits(tensor)}


INPUTS = {
    "logits": random(4, 5, low=-4, high=4),
    # What overflows where the largest is not taken out, and what loses all but the largest.
    "extreme": torch.tensor([[1e4, -1e4, 0, 88, -88], [-1e4, -1e4, -1e4, -1e4, -1e4], [120, 119, 0, -90, 118], [0, 0, 50, 0, 0]]).double(),
    "target": random(4, 5),
    "probability": random(4, 5, low=0, high=1),
    "weight": random(5, low=0.25, high=3),
    "upstream": random(4),
    "wide_upstream": random(4, 5),
}
LABELS = torch.tensor([3, 0, 4, 3])
LOGS = torch.log_softmax(INPUTS["logits"], 1).float().double()


def losses():
    weight, target, probability = (INPUTS[name] for name in ["weight", "target", "probability"])
    INPUTS["log_probabilities"] = LOGS
    INPUTS["target"][0, 0] = INPUTS["logits"][0, 0]  # no difference at all
    table = []

    def case(loss, first, function, reductions, **options):
        for reduction in reductions:
            x = INPUTS[first].clone().requires_grad_()
            made = function(x, reduction)
            upstream = None
            if reduction == "none":
                upstream = "upstream" if made.dim() == 1 else "wide_upstream"
            made.backward(None if upstream is None else INPUTS[upstream])
            row = {"loss": loss, "input": first, "reduction": reduction, **options}
            row |= {"value": digits(made), "gradient": digits(x.grad)}
            table.append(row)

    for smoothing in [0.0, 0.125]:
        for weighted in [False, True]:
            for first in ["logits", "extreme"]:
                own = weight if weighted else None
                reductions = ("mean", "sum" if weighted else "none")[: 1 if first == "extreme" else 2]

                def function(x, reduction):
                    return F.cross_entropy(x, LABELS, own, reduction=reduction, label_smoothing=smoothing)

                case("cross_entropy", first, function, reductions, label_smoothing=smoothing, weighted=weighted)
    for weighted in [False, True]:
        own = weight if weighted else None
        case("nll", "log_probabilities", lambda x, r: F.nll_loss(x, LABELS, own, reduction=r), ("mean", "none"), weighted=weighted)
    case("mse", "logits", lambda x, r: F.mse_loss(x, target, reduction=r), ("mean", "none"))
    case("l1", "logits", lambda x, r: F.l1_loss(x, target, reduction=r), ("mean", "sum"))
    # With a beta of 0 PyTorch's gradient of no difference is -1, where l1_loss has 0.
    for beta in [0.5, 1.0]:
        case("smooth_l1", "logits", lambda x, r: F.smooth_l1_loss(x, target, reduction=r, beta=beta), ("mean",), beta=beta)
    for weighted in [False, True]:
        own = weight if weighted else None
        for first in ["logits", "extreme"]:
            case(
                "bce_with_logits",
                first,
                lambda x, r: F.binary_cross_entropy_with_logits(x, probability, pos_weight=own, reduction=r),
                ("mean",),
                weighted=weighted,
            )
    for p, margin, weighted in [(1, 1.0, False), (2, 0.5, False), (1, 0.25, True), (2, 1.0, True)]:
        own = weight if weighted else None
        case(
            "multi_margin",
            "logits",
            lambda x, r: F.multi_margin_loss(x, LABELS, p=p, margin=margin, weight=own, reduction=r),
            ("mean", "none") if p == 2 else ("mean",),
            p=p,
            margin=margin,
            weighted=weighted,
        )
    return {
        "meta": META,
        "labels": LABELS.tolist(),
        "inputs": {name: listed(tensor) for name, tensor in INPUTS.items()},
        "cases": table,
    }


# Name, options by PyTorch's names, learning rate, norm to clip to.
OPTIMIZERS = [
    ("sgd", {}, 0.5, None),
    ("sgd", {}, 0.5, 0.25),
    ("sgd", {"weight_decay": 0.125}, 0.5, None),
    ("sgd", {"momentum": 0.9}, 0.1, None),
    ("sgd", {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01}, 0.1, None),
    ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0005}, 0.1, None),
    ("adam", {}, 0.05, None),
    ("adam", {"weight_decay": 0.1}, 0.05, 0.5),
    ("adam", {"betas": [0.5, 0.9], "eps": 0.001}, 0.05, None),
    ("adamw", {}, 0.05, None),
    ("adamw", {"betas": [0.8, 0.99], "weight_decay": 0.5}, 0.05, None),
    ("rmsprop", {}, 0.01, None),
    ("rmsprop", {"alpha": 0.9, "eps": 0.0001, "weight_decay": 0.1}, 0.02, None),
    ("rmsprop", {"momentum": 0.9, "weight_decay": 0.01}, 0.005, 0.5),
]
CLASSES = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}


def curves():
    """A network of 3-6-4 with tanh: cross-entropy of 10 examples. The rate halves after six steps."""
    x, labels = random(10, 3), torch.tensor(generator.integers(0, 4, 10))
    start = {"w1": random(6, 3, low=-1, high=1), "b1": random(6, low=-1, high=1), "w2": random(4, 6, low=-1, high=1), "b2": random(4, low=-1, high=1)}
    table = []
    for name, options, rate, max_norm in OPTIMIZERS:
        parameters = {key: tensor.clone().requires_grad_() for key, tensor in start.items()}
        optimizer = CLASSES[name](parameters.values(), lr=rate, **options)

        def loss():
            hidden = torch.tanh(F.linear(x, parameters["w1"], parameters["b1"]))
            return F.cross_entropy(F.linear(hidden, parameters["w2"], parameters["b2"]), labels)

        seen, norms = [], []
        for step in range(10):
            for group in optimizer.param_groups:
                group["lr"] = rate if step < 6 else rate / 2
            optimizer.zero_grad()
            value = loss()
            value.backward()
            limit = float("inf") if max_norm is None else max_norm
            norms.append(torch.nn.utils.clip_grad_norm_(list(parameters.values()), limit))
            optimizer.step()
            seen.append(value)
        seen.append(loss())
        if max_norm is not None:
            assert max(norms) > max_norm, norms
        row = {"optimizer": name, "options": options, "rate": rate, "max_norm": max_norm}
        table.append(row | {"losses": digits(torch.stack(seen)), "norms": digits(torch.stack(norms))})
    start = {"x": x, **start}
    return {"meta": META, "labels": labels.tolist(), "tensors": {key: listed(tensor) for key, tensor in start.items()}, "curves": table}


def write(name, content):
    """A line for each entry of each list, so that a difference can be read."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in value)
            parts.append(f'"{key}": [\n  {rows}\n ]')
        else:
            parts.append(f'"{key}": {json.dumps(value, separators=(",", ":"))}')
    (HERE / name).write_text("{\n " + ",\n ".join(parts) + "\n}\n")


write("losses.json", losses())
write("curves.json", curves())
