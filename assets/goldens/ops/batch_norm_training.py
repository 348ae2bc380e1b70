#!/usr/bin/env python3
"""Makes goldens of batch normalisation in training with PyTorch: one step forward and back.

Run like make.py, which says how to get PyTorch. Inputs are exact in f32 and stored as F32; the rest is computed in double
precision and stored as F64. The momentum of the running estimates is 0.1, the epsilon 1e-5, both PyTorch's own.
"""

import pathlib

import numpy as np
import safetensors.torch
import torch

HERE = pathlib.Path(__file__).resolve().parent
generator = np.random.Generator(np.random.PCG64(20_240_302))


def random(*shape, low=-2.0, high=2.0):
    return torch.from_numpy(generator.uniform(low, high, shape).astype(np.float32)).double()


def main():
    tensors = {}
    for name, shape in [("points", (5, 3)), ("images", (3, 2, 4, 3)), ("far", (2, 2, 3, 4))]:
        channels = shape[1]
        layer = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(channels).double()
        x = random(*shape)
        if name == "far":
            x = (x + 1000).float().double()
        before = {
            "x": x,
            "grad": random(*shape),
            "weight": random(channels),
            "bias": random(channels),
            "running_mean": random(channels),
            "running_var": random(channels, low=0.5),
        }
        layer.load_state_dict({**before, "num_batches_tracked": torch.tensor(0)}, strict=False)
        x.requires_grad_(True)
        output = layer(x)
        output.backward(before["grad"])
        after = {
            "output": output,
            "x_grad": x.grad,
            "weight_grad": layer.weight.grad,
            "bias_grad": layer.bias.grad,
            "running_mean_after": layer.running_mean,
            "running_var_after": layer.running_var,
        }
        for key, tensor in before.items():
            tensors[f"{name}.{key}"] = tensor.detach().float().contiguous()
        for key, tensor in after.items():
            tensors[f"{name}.{key}"] = tensor.detach().contiguous()
    safetensors.torch.save_file(tensors, HERE / "batch_norm_training.safetensors")


main()
