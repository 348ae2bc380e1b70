#!/usr/bin/env python3
"""Typesets convolutional-networks.typ to convolutional-networks.pdf.

    python3 -m venv /tmp/pdfenv
    /tmp/pdfenv/bin/pip install typst==0.15.2 pikepdf==10.17.0
    /tmp/pdfenv/bin/python build.py
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True
from typeset import typeset

if __name__ == "__main__":
    output = HERE / "convolutional-networks.pdf"
    typeset(HERE / "convolutional-networks.typ", output)
    print(f"{output.name}: {output.stat().st_size} bytes")
