#!/usr/bin/env python3
"""Makes small image files of every kind, and what PIL and torchvision make of them.

    # Debian's python3-torchvision 0.14.1, python3-pil 9.4.0 and python3-numpy 1.24.2
    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv
    /tmp/torchenv/bin/python make.py

`files.json` has the pixels of each file of `files/`; `recipe.json` has, for the images in `recipe/`, values
that torchvision's ImageNet transforms give. The pictures are drawn here; nothing depends on the machine
or the day.
"""

import io
import json
import pathlib
import shutil
import struct
import zlib

import numpy as np
import PIL
import torchvision
from PIL import Image, ImageOps
from torchvision.models import VGG16_Weights
from torchvision.transforms import functional as F

HERE = pathlib.Path(__file__).resolve().parent
META = {"pillow": PIL.__version__, "torchvision": torchvision.__version__.split("a")[0]}
ORIENTATION = 0x0112


def drawing(width, height):
    """Waves, a disc, bars that grow finer to the right, and a few single points."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / width, y / height
    red = 0.5 + 0.45 * np.sin(9 * u + 5 * v * v)
    green = 0.5 + 0.45 * np.cos(4 * u * v + 6 * v)
    blue = 0.5 + 0.5 * np.sin(2 + 60 * u * u * u)
    disc = (u - 0.35) ** 2 + (v - 0.45) ** 2 < 0.04
    bars = (v > 0.75) & (np.floor(40 * u * u) % 2 == 0)
    image = np.stack([red, green, blue], axis=-1)
    image[disc] = (0.95, 0.8, 0.1)
    image[bars] = 1.0
    image[:: max(height // 7, 3), :: max(width // 7, 3)] = 0.0
    # Few levels, so that the files are small; what is compared are averages of them.
    return (np.round(image * 31) * 255 / 31).round().astype(np.uint8)


def png(width, height, depth, color, rows, extra=()):
    """A PNG file, for the kinds that PIL cannot write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    raw = b"".join(b"\0" + row for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))]
    chunks += [*extra, (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def files():
    """name -> bytes"""
    width, height = 13, 8
    pixels = drawing(width, height)
    rgb = Image.fromarray(pixels)
    gray = rgb.convert("L")
    ramp = np.linspace(0, 255, width * height).astype(np.uint8).reshape(height, width)
    alpha = Image.fromarray(ramp)
    rgba = Image.merge("RGBA", (*rgb.split(), alpha))
    palette = rgb.quantize(16)
    deep = (pixels.astype(np.uint16) * 257) ^ (ramp.astype(np.uint16)[..., None] * 7 % 256)
    gray2 = np.packbits(np.unpackbits(ramp[:, :12, None] // 64, axis=2)[..., 6:].reshape(height, -1), axis=1)

    made = {
        "rgb.png": encoded(rgb, "PNG"),
        "rgba.png": encoded(rgba, "PNG"),
        "gray.png": encoded(gray, "PNG"),
        "gray_alpha.png": encoded(Image.merge("LA", (gray, alpha)), "PNG"),
        "gray1.png": encoded(gray.convert("1"), "PNG"),
        "gray2.png": png(12, height, 2, 0, [row.tobytes() for row in gray2]),
        "palette.png": encoded(palette, "PNG"),
        "palette_alpha.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "rgb_key.png": png(width, height, 8, 2, [row.tobytes() for row in pixels],
                           [(b"tRNS", struct.pack(">HHH", *map(int, pixels[0, 0])))]),
        "gray16.png": png(width, height, 16, 0, [row.astype(">u2").tobytes() for row in deep[..., 1]]),
        "rgb16.png": png(width, height, 16, 2, [row.astype(">u2").tobytes() for row in deep]),
        "rgb.jpg": encoded(rgb, "JPEG", quality=95, subsampling=0),
        "rgb_420.jpg": encoded(rgb, "JPEG", quality=90, subsampling=2),
        "progressive.jpg": encoded(rgb, "JPEG", quality=95, subsampling=0, progressive=True),
        "gray.jpg": encoded(gray, "JPEG", quality=95),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG", quality=95, subsampling=0),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "lossless_alpha.webp": encoded(rgba, "WEBP", lossless=True, exact=True),
        "lossy.webp": encoded(rgb, "WEBP", quality=95),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        made[f"exif{orientation}.jpg"] = encoded(rgb, "JPEG", quality=95, subsampling=0, exif=exif)
    exif[ORIENTATION] = 6
    made["exif6.png"] = encoded(rgb, "PNG", exif=exif)
    made["exif6.webp"] = encoded(rgb, "WEBP", lossless=True, exif=exif)
    return made


def pixels_of(name, data):
    """What PIL reads, upright. PIL clips 16-bit gray to white; the upper bytes are meant."""
    image = Image.open(io.BytesIO(data))
    if name == "gray16.png":
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def write_files():
    folder = HERE / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    entries = []
    for name, data in files().items():
        (folder / name).write_bytes(data)
        pixels = pixels_of(name, data)
        height, width, _ = pixels.shape
        entries.append({"file": name, "width": width, "height": height, "rgb": pixels.tobytes().hex()})
    write_json("files.json", {"meta": META, "files": entries})


def write_recipe():
    folder = HERE / "recipe"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    transforms = VGG16_Weights.IMAGENET1K_V1.transforms()
    entries = []
    # Reduced by a fraction, enlarged, reduced a lot, and neither; with odd rests to crop.
    for name, width, height in [("wide", 431, 290), ("tall", 101, 160), ("large", 641, 427), ("same", 259, 256)]:
        source = Image.fromarray(drawing(width, height))
        source.save(folder / f"{name}.png", optimize=True)
        view = F.center_crop(F.resize(source, 256), 224)
        values = transforms(source).numpy().astype(np.float64)
        assert values.shape == (3, 224, 224)
        pixels = np.asarray(view)
        # Every seventh pixel of every seventh row, and all of the row in the middle.
        entries.append({
            "file": f"{name}.png",
            "every": 7,
            "grid": pixels[::7, ::7].tobytes().hex(),
            "row": 112,
            "row_rgb": pixels[112].tobytes().hex(),
            "sum": [int(s) for s in pixels.reshape(-1, 3).astype(np.int64).sum(axis=0)],
            "values": [round(float(values[c, 112, x]), 7) for c in range(3) for x in (0, 100, 223)],
            "values_at": {"row": 112, "columns": [0, 100, 223]},
        })
    write_json("recipe.json", {"meta": META, "images": entries})


def write_json(name, value):
    (HERE / name).write_text(json.dumps(value, indent=1) + "\n")


write_files()
write_recipe()
