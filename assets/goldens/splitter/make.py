#!/usr/bin/env python3
"""Makes `expected.json`: what LangChain's RecursiveCharacterTextSplitter makes of eight texts.

    python3 -m venv /tmp/splitenv
    /tmp/splitenv/bin/pip install langchain-text-splitters==1.1.3
    /tmp/splitenv/bin/python make.py

The texts are written here, so that every odd character in them is spelled out. The JSON is ASCII
for the same reason. Nothing in it depends on the machine or the day.
"""

import importlib.metadata
import json
import pathlib
import sys

from langchain_text_splitters import RecursiveCharacterTextSplitter

PINNED = "1.1.3"
HERE = pathlib.Path(__file__).resolve().parent

DEFAULT = ["\n\n", "\n", ". ", "! ", "? "]

PROSE = """\
A kiln is an oven that gets hot enough to turn clay into stone. Potters have built them for at least \
eight thousand years. The oldest were pits: pots were stacked on the ground, covered with wood, dung \
and broken shards, and burnt in the open. Could such a fire reach the heat that a good pot needs? \
Barely! Most of the warmth went up into the sky, and what remained was uneven. One side of a pot \
came out red, the other black.

The next idea was a wall. A wall keeps the heat in, and a second chamber keeps the flames away from \
the wares. In an updraught kiln the fire burns below, the pots stand on a pierced floor, and the \
smoke leaves at the top. It is simple, and it wastes fuel. In a downdraught kiln the flames rise \
behind a low wall, bounce off the roof, and are pulled down through the pots to a flue in the floor; \
the whole load is heated evenly, at 1250 degrees or more.
Three things decide how a firing ends: the highest temperature, the time spent there, and the air. \
With plenty of air, copper turns green and iron turns brown. With little air, copper turns red! \
Iron turns grey or a pale blue-green that was once worth its weight in silver.

Why does a pot crack? Nearly always because it was wet, or because it cooled too fast. Quartz \
shrinks suddenly at 573 degrees, and a thick base follows later than a thin rim. Patience is cheaper \
than clay. A kiln that took a day to heat should be left closed for two.


Modern kilns are electric. Their controllers know curves: 60 degrees an hour up to 600, then 150 an \
hour up to 1220, then a hold of twenty minutes. What they do not know is whether the potter waited \
for the glaze to dry... That remains a matter of character.
"""

MARKDOWN = """\
# Firing log

A short log, kept by hand. **Bold** claims are marked; so are `code` spans.

## Setting

- 24 bowls, 3 shelves
- 2 test tiles. One has a crack! Does it matter? Probably not.
* an item with a star
1. A numbered item
2. Another one, which is much longer than the others because it explains at some length why the lower \
shelf was left empty: the flue draws cold air past it, so that anything put there comes out underfired.

## Curve

| from | to | rate |
|-----:|---:|-----:|
| 20 | 600 | 60 |
| 600 | 1220 | 150 |

```python
def hold(minutes):
    # wait. Then wait again!
    return minutes * 60


print(hold(20))
```

> Never open a kiln above 100 degrees.
> Not even for a look.

Setext heading
--------------

Last words. See [the notes](notes.md#cracks)! Is that all? Yes.\r
This line ended in a carriage return, as files from Windows do.\r
\r
So did that one.
"""

WITHOUT_SEPARATORS = "".join(f"clay{number:04};" for number in range(160))

ODD_SPACE = (
    "\u00a0\u2003 The text starts with a no-break space and an em space. \u00a0\n"
    "\x1c\x1d\x1e\x1fFour control characters that Python takes for white space stand before this.\x1c\n\n"
    "\x85A next-line character opens this paragraph, and one closes it.\x85\n\n"
    "\u200bA zero-width space is not white space, neither here nor there.\u200b\n"
    "\ufeffNor is a byte order mark.\ufeff\n\n"
    "\u2028A line separator. \u2029A paragraph separator. \u202fA narrow space.\u205f\u3000\n"
    "\u1680An Ogham space mark.\u180e A Mongolian vowel separator is none since Unicode 6.3.\u2000\u200a\n\n"
    " \t\v\f\r\n\n \u00a0 \n\n\x1c\n\n"
    "After three paragraphs of nothing but space, one of words! \u2007Is it kept? \u2008Yes. \n"
    "\n\n\n\nFive newlines before, five after.\n\n\n\n\n"
    + "\u2003".join(["wide"] * 40)
    + "\n \n \x1f\x1e end \x1d\x1c \n"
)

NON_BMP = (
    "Pots \U0001f3fa and fires \U0001f525 count as one character each. "
    "So do \U0001d465 and \U0001d466! And \U00020000\U0002a6d6 too? "
    "A family \U0001f468\u200d\U0001f469\u200d\U0001f467 is five. Cafe\u0301 is five, caf\u00e9 four.\n"
    + "\U0001f3fa\U0001f525" * 30
    + "\n\n"
    + "\u7a91\u662f\u4e00\u79cd\u7089\u5b50\u3002" * 30
    + "\n\n"
    + "\U0001f525 hot! " * 25
)

LONG_PARAGRAPHS = "\n\n".join(
    " ".join(
        f"Sentence {number} of paragraph {paragraph} says that shelf {number * 7 % 11} held "
        f"{number * paragraph % 13} bowls" + ("." if number % 3 else "!" if number % 2 else "?")
        for number in range(1, 30 + paragraph)
    )
    for paragraph in range(1, 5)
) + "\n" + "nobreakhere" * 60 + ". " + "x" * 500 + ". " + "y" * 499 + ". tail"

TEXTS = {
    "prose": PROSE,
    "markdown": MARKDOWN,
    "without_separators": WITHOUT_SEPARATORS,
    "odd_space": ODD_SPACE,
    "non_bmp": NON_BMP,
    "long_paragraphs": LONG_PARAGRAPHS,
    "empty": "",
    "only_space": " \n\n\u00a0\n ",
}

SETTINGS = [
    (500, 50, DEFAULT),
    (500, 0, DEFAULT),
    (120, 40, DEFAULT),
    (120, 120, DEFAULT),
    (60, 15, DEFAULT),
    (200, 50, ["\n\n", "\n", " ", ""]),
    (80, 20, [". "]),
    (100, 30, [".", "|", "*", "+", "(", "\\"]),
    (64, 16, ["\u3002", "\u2003", "\U0001f525", " "]),
]

# Small pieces make many chunks, so these are for the short texts alone.
FINE_SETTINGS = [
    (20, 5, DEFAULT),
    (1, 0, DEFAULT),
    (40, 10, ["\n\n", "\n", " ", ""]),
    (7, 3, ["\n\n", "\n", " ", ""]),
    (1, 1, [""]),
    (1, 0, [" ", ""]),
    (90, 20, ["", "\n"]),
    (30, 10, ["\n\n", "aa", " "]),
]
SHORT = 1000


def main():
    found = importlib.metadata.version("langchain-text-splitters")
    if found != PINNED:
        sys.exit(f"langchain-text-splitters {PINNED} is needed, {found} is installed")
    cases = []
    for name, text in TEXTS.items():
        results = []
        settings = SETTINGS + (FINE_SETTINGS if len(text) < SHORT else [])
        for size, overlap, separators in settings:
            splitter = RecursiveCharacterTextSplitter(
                chunk_size=size,
                chunk_overlap=overlap,
                separators=separators,
                keep_separator=True,
                strip_whitespace=True,
            )
            results.append(
                {
                    "chunk_size": size,
                    "chunk_overlap": overlap,
                    "separators": separators,
                    "chunks": splitter.split_text(text),
                }
            )
        cases.append({"name": name, "text": text, "results": results})
    white_space = [code for code in range(0x110000) if chr(code).isspace()]
    golden = {
        "meta": {"made_by": "make.py", "langchain-text-splitters": PINNED},
        "python_white_space": white_space,
        "cases": cases,
    }
    path = HERE / "expected.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="ascii")
    print(f"{path.name}: {path.stat().st_size} bytes, {len(cases)} texts")


if __name__ == "__main__":
    main()
