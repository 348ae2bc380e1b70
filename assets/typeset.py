"""Typesets Typst source to PDF, the same bytes on every run.

Versions: typst==0.15.2, pikepdf==10.17.0. Only the fonts inside the typst package are used
(Libertinus Serif, New Computer Modern, DejaVu Sans Mono), whatever the system has.
"""

import pathlib

import pikepdf
import typst
from pikepdf import Array, Name

VERSIONS = {"typst": "0.15.2", "pikepdf": pikepdf.__version__}


def typeset(source, output, spell_widths=True):
    """Compiles `source` to `output`.

    Typst writes the glyph widths of a font as ranges (`first last width`). pdf-extract 0.12 skips
    that form and takes every glyph to be of no width, so that spaces and line ends come out wrong.
    `spell_widths` writes the same widths as lists (`first [width width ...]`), which all readers
    understand; False keeps Typst's own form, for a golden of that fault.
    """
    source, output = pathlib.Path(source), pathlib.Path(output)
    typst.compile(
        source,
        output=output,
        format="pdf",
        root=source.parent,
        ignore_system_fonts=True,
        timestamp=0,
    )
    if not spell_widths:
        return
    with pikepdf.open(output, allow_overwriting_input=True) as pdf:
        for item in pdf.objects:
            if isinstance(item, pikepdf.Dictionary) and item.get("/Type") == Name.Font and "/W" in item:
                item.W = width_lists(item.W)
        # False is the default, and older versions of poppler complain where it is written out.
        if "/Suspects" in pdf.Root.get("/MarkInfo", {}):
            del pdf.Root.MarkInfo.Suspects
        pdf.save(
            output,
            static_id=True,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            compress_streams=True,
        )


def width_lists(ranges):
    """The widths of a CID font with each `first last width` written as `first [width ...]`."""
    entries = list(ranges)
    lists, at = [], 0
    while at < len(entries):
        first = int(entries[at])
        if isinstance(entries[at + 1], Array):
            widths, step = list(entries[at + 1]), 2
        else:
            widths, step = [entries[at + 2]] * (int(entries[at + 1]) - first + 1), 3
        if lists and lists[-2] + len(lists[-1]) == first:
            lists[-1].extend(widths)
        else:
            lists += [first, widths]
        at += step
    return Array([Array(entry) if isinstance(entry, list) else entry for entry in lists])
