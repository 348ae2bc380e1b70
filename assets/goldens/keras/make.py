#!/usr/bin/env python3
"""Makes small weight files as Keras lays them out, and what Kiln should read from them.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install 'numpy<2' h5py==3.16.0 safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

Three files hold one network, two convolutions and two dense layers after a flattening, each as another
age of Keras wrote it:

- `keras3.weights.h5`: Keras 3. Groups are named by class, the layer's own name is an attribute of
  `vars`, the tensors are 0 (kernel) and 1 (bias). Contiguous.
- `legacy.h5`: `save_weights` of Keras 2, `conv_a/conv_a/kernel:0`. Written with HDF5's newest structures
  (superblock 3), one kernel in gzip chunks with shuffle, one in half and one in double precision.
- `whole.h5`: a whole model of Keras 2 with its optimizer, kernels by the oldest names (`conv_a_W_1:0`),
  under a user block.

`expected.safetensors` holds the same tensors as PyTorch would: convolutions [out, in, height, width], dense
layers [out, in], the first of them with its columns in PyTorch's order of a flattened [channels, height,
width] (Keras flattens height, width, channels).
"""

import pathlib
import platform

import h5py
import numpy as np
import safetensors.numpy

HERE = pathlib.Path(__file__).resolve().parent
HEIGHT, WIDTH = 2, 3  # of the last feature map

rng = np.random.default_rng(20_151_207)


def tensor(*shape):
    # exact in half precision, so that all three files hold the same numbers
    return rng.integers(-2000, 2000, shape).astype(np.float32) / 1024


CONVOLUTIONS = {
    "conv_a": (tensor(3, 3, 3, 5), tensor(5)),
    "conv_b": (tensor(1, 2, 5, 7), tensor(7)),
}
DENSE = {
    "fc_a": (tensor(HEIGHT * WIDTH * 7, 11), tensor(11)),
    "fc_b": (tensor(11, 4), tensor(4)),
}
LAYERS = CONVOLUTIONS | DENSE


def keras3(path):
    with h5py.File(path, "w") as file:
        def layer(group, name, tensors=()):
            variables = file.create_group(f"{group}/vars")
            variables.attrs["name"] = name
            for index, values in enumerate(tensors):
                variables[str(index)] = values

        file.create_group("vars").attrs["name"] = "functional"
        layer("layers/input_layer", "input_layer")
        for index, name in enumerate(CONVOLUTIONS):
            suffix = f"_{index}" if index else ""
            layer(f"layers/conv2d{suffix}", name, LAYERS[name])
            layer(f"layers/max_pooling2d{suffix}", f"pool_{index}")
        layer("layers/flatten", "flatten")
        layer("layers/dense", "fc_a", LAYERS["fc_a"])
        layer("layers/dense_1", "fc_b", LAYERS["fc_b"])


def legacy(path):
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = np.array(["input_1", *LAYERS], dtype="S")
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for name, (kernel, bias) in LAYERS.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/kernel:0", f"{name}/bias:0"], dtype="S")
            inner = group.create_group(name)
            if name == "conv_a":
                inner.create_dataset(
                    "kernel:0", data=kernel, chunks=(2, 3, 2, 3), compression="gzip", shuffle=True
                )
            elif name == "conv_b":
                inner.create_dataset("kernel:0", data=kernel.astype(np.float16))
            elif name == "fc_a":
                inner.create_dataset("kernel:0", data=kernel.astype(np.float64))
            else:
                inner.create_dataset("kernel:0", data=kernel.astype(">f4"))
            inner.create_dataset("bias:0", data=bias)
        file.create_group("top_level_model_weights").attrs["weight_names"] = np.array([], dtype="S1")


def whole(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["keras_version"] = "2.2.4"
        weights = file.create_group("model_weights")
        for name, (kernel, bias) in LAYERS.items():
            group = weights.create_group(name)
            group[f"{name}_W_1:0"] = kernel
            group[f"{name}_b_1:0"] = bias
        optimizer = file.create_group("optimizer_weights/training/SGD/conv_a")
        optimizer["kernel:0"] = np.zeros_like(LAYERS["conv_a"][0])


def expected():
    tensors = {}
    for name, (kernel, bias) in CONVOLUTIONS.items():
        tensors[f"{name}.weight"] = kernel.transpose(3, 2, 0, 1)
        tensors[f"{name}.bias"] = bias
    kernel, bias = DENSE["fc_a"]
    rows = kernel.reshape(HEIGHT, WIDTH, 7, 11).transpose(2, 0, 1, 3).reshape(-1, 11)
    tensors["fc_a.weight"], tensors["fc_a.bias"] = rows.T, bias
    kernel, bias = DENSE["fc_b"]
    tensors["fc_b.weight"], tensors["fc_b.bias"] = kernel.T, bias
    return {name: np.ascontiguousarray(values) for name, values in tensors.items()}


keras3(HERE / "keras3.weights.h5")
legacy(HERE / "legacy.h5")
whole(HERE / "whole.h5")
made_with = f"Python {platform.python_version()}, numpy {np.__version__}, h5py {h5py.__version__}"
# one entry: safetensors writes several in any order
safetensors.numpy.save_file(expected(), HERE / "expected.safetensors", metadata={"made_with": made_with})
