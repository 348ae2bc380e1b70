#!/usr/bin/env python3
"""Makes the small PDFs of this folder, and `expected.json`, which says what is in them.

    python3 -m venv /tmp/pdfenv
    /tmp/pdfenv/bin/pip install pikepdf==10.17.0 typst==0.15.2
    /tmp/pdfenv/bin/python make.py

Most files are written object by object with pikepdf and use the standard font Helvetica, so that
the fault each one carries is the only unusual thing in it. `ligatures.pdf` and `width_ranges.pdf`
are typeset with Typst, because the standard fonts have no `ffi`. Every file comes out the same bytes on each run, but for
the two encrypted ones, whose salts are random.
"""

import json
import pathlib
import sys
import tempfile
import zlib

import pikepdf
from pikepdf import Array, Dictionary, Name, Stream

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
sys.dont_write_bytecode = True
from typeset import VERSIONS, typeset
A4 = Array([0, 0, 595, 842])

FIVE_SENTENCES = [
    "The first page says that the kiln was lit on a Monday.",
    "The second page says that the clay came from the river bank.",
    "The third page says that nobody can read the glaze recipe.",
    "The fourth page says that the bowls cooled for two days.",
    "The fifth page says that eleven bowls out of twelve survived.",
]

USER_PASSWORD = "cone-six"
SECRET_SENTENCE = "This sentence can be read only by those who know the password."
OPEN_SENTENCE = "This file is encrypted, yet it opens without a password."

# One string per printed line; a hyphen that ends a line is part of the text layer.
LIGATURE_LINES = [
    "The \ufb01rst \ufb01lter \ufb02ags an edge, and the \ufb01nal one\u2019s e\ufb00ect is su\ufb03-",
    "cient to classify a waf\ufb02e. An a\ufb04uent of the network, the convolu-",
    "tional layer, needs far less memory than the fully con-",
    "nected one does. The o\ufb03ce printed ResNet-",
    "50 on the cover - and nothing else.",
]
LIGATURE_MENDED = (
    "The first filter flags an edge, and the final one\u2019s effect is sufficient to classify a waffle. "
    "An affluent of the network, the convolutional layer, needs far less memory than the fully "
    "connected one does."
)

WIDTH_RANGE_LINES = [
    "Each of these four lines stands alone,",
    "and a reader that takes every glyph",
    "to be of no width runs them",
    "together into one.",
]


def helvetica(encoding="WinAnsiEncoding"):
    """A font dictionary for Helvetica, with any name as its encoding."""
    return Dictionary(
        Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, Encoding=Name("/" + encoding)
    )


def add_page(pdf, content, resources):
    page = Dictionary(
        Type=Name.Page,
        MediaBox=A4,
        Contents=pdf.make_stream(content.encode("latin-1")),
        Resources=resources,
    )
    pdf.pages.append(pikepdf.Page(pdf.make_indirect(page)))


def line_of_text(sentence):
    return f"BT /F1 14 Tf 72 760 Td ({sentence}) Tj ET\n"


def text_document(sentences):
    pdf = pikepdf.new()
    font = pdf.make_indirect(helvetica())
    for sentence in sentences:
        add_page(pdf, line_of_text(sentence), Dictionary(Font=Dictionary(F1=font)))
    return pdf


def save(pdf, name, **options):
    pdf.save(HERE / name, static_id=True, fix_metadata_version=False, **options)


def broken_page3():
    """Page 3 alone uses a font whose encoding no standard names: pdf-extract 0.12 panics there."""
    pdf = text_document(FIVE_SENTENCES)
    pdf.pages[2].Resources = Dictionary(Font=Dictionary(F1=helvetica("KilnGlazeEncoding")))
    save(pdf, "broken_page3.pdf")


def encrypted():
    keys = pikepdf.Encryption(user=USER_PASSWORD, owner="cone-ten", R=6)
    save(text_document([SECRET_SENTENCE]), "encrypted.pdf", encryption=keys)


def owner_locked():
    """Encrypted with an empty user password, as many publishers do to forbid printing."""
    keys = pikepdf.Encryption(user="", owner="cone-ten", R=4)
    save(text_document([OPEN_SENTENCE]), "owner_locked.pdf", encryption=keys)


def scanned():
    """One page that is a picture of lines of writing: 150 x 212 grey pixels and no text."""
    width, height = 150, 212
    pixels = bytearray([250] * (width * height))
    for row in range(24, height - 24):
        within_line = (row - 24) % 12 < 5
        for column in range(18, width - 18):
            stroke = (column * 7 + (row // 12) * 13) % 11 < 6
            if within_line and stroke:
                pixels[row * width + column] = 60
    pdf = pikepdf.new()
    image = Stream(pdf, zlib.compress(bytes(pixels), 9))
    image.update(
        {
            "/Type": Name.XObject,
            "/Subtype": Name.Image,
            "/Width": width,
            "/Height": height,
            "/ColorSpace": Name.DeviceGray,
            "/BitsPerComponent": 8,
            "/Filter": Name.FlateDecode,
        }
    )
    add_page(pdf, "q 595 0 0 842 0 0 cm /Im1 Do Q\n", Dictionary(XObject=Dictionary(Im1=image)))
    save(pdf, "scanned.pdf")


def empty():
    (HERE / "empty.pdf").write_bytes(b"")


def no_pages():
    """A well-formed file whose page tree is empty."""
    save(pikepdf.new(), "no_pages.pdf")


def typeset_lines(name, lines, **options):
    """One page of `lines`, each broken where it ends here."""
    source = (
        '#set document(title: "Ligatures", date: none)\n'
        '#set page(paper: "a4", margin: 72pt)\n'
        '#set text(font: "New Computer Modern", size: 12pt, hyphenate: false)\n'
        "#set par(justify: false)\n" + " \\\n".join(lines) + "\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "page.typ"
        path.write_text(source, encoding="utf-8")
        typeset(path, HERE / name, **options)


def ligatures():
    typeset_lines("ligatures.pdf", LIGATURE_LINES)


def width_ranges():
    """As Typst writes it: its widths are ranges, which pdf-extract 0.12 takes for zero."""
    typeset_lines("width_ranges.pdf", WIDTH_RANGE_LINES, spell_widths=False)


def expected():
    return {
        "meta": {"made_by": "make.py", **VERSIONS},
        "broken_page3.pdf": {
            "pages": 5,
            "failing_pages": [3],
            "page_text": [None if i == 2 else s for i, s in enumerate(FIVE_SENTENCES)],
        },
        "encrypted.pdf": {"pages": 1, "user_password": USER_PASSWORD, "page_text": [SECRET_SENTENCE]},
        "owner_locked.pdf": {"pages": 1, "user_password": "", "page_text": [OPEN_SENTENCE]},
        "scanned.pdf": {"pages": 1, "page_text": [""]},
        "empty.pdf": {"bytes": 0},
        "no_pages.pdf": {"pages": 0},
        "ligatures.pdf": {
            "pages": 1,
            "lines": LIGATURE_LINES,
            "mended_start": LIGATURE_MENDED,
        },
        "width_ranges.pdf": {"pages": 1, "lines": WIDTH_RANGE_LINES},
    }


if __name__ == "__main__":
    broken_page3()
    encrypted()
    owner_locked()
    scanned()
    empty()
    no_pages()
    ligatures()
    width_ranges()
    text = json.dumps(expected(), indent=1, ensure_ascii=False) + "\n"
    (HERE / "expected.json").write_text(text, encoding="utf-8")
    for path in sorted(HERE.glob("*.pdf")):
        print(f"{path.name:20} {path.stat().st_size:6} bytes")
