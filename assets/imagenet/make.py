#!/usr/bin/env python3
"""Writes `classes.txt`: the names of the 1000 ImageNet classes, one a line, in the order of the logits.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torchvision 0.14.1
    /tmp/torchenv/bin/python make.py

The names are torchvision's (BSD-3-Clause): those that its weights carry in their `meta["categories"]`.
"""

import pathlib

from torchvision.models._meta import _IMAGENET_CATEGORIES as CATEGORIES

assert len(CATEGORIES) == 1000
assert all(name == name.strip() and "\n" not in name and name.isascii() for name in CATEGORIES)
out = pathlib.Path(__file__).resolve().with_name("classes.txt")
out.write_bytes("".join(name + "\n" for name in CATEGORIES).encode())
