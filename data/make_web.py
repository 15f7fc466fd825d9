#!/usr/bin/env python3
"""Makes web.txt from Debian's sword-text-web: python3 make_web.py ROOT, where ROOT holds the unpacked package.

A maintainer's tool; the product reads web.txt only. Format of the module: zText, one zlib block a book. A verse
index entry is uint32 block, uint32 start, uint16 length; a block index entry uint32 offset, size, unpacked size.
Books become documents parted by form feeds, verses become lines; notes, titles and markup are left out. Where the
module cuts a book into small blocks (the Greek parts of Esther), they join the book before them.
"""
import html
import pathlib
import re
import struct
import sys
import zlib

SHORTEST_BOOK = 1500  # characters; 2 John has 1549


def books(folder, testament):
    part = lambda suffix: (folder / f"{testament}.{suffix}").read_bytes()
    blocks, packed, verses = part("bzs"), part("bzz"), part("bzv")
    text = [zlib.decompress(packed[at:at + size]) for at, size, _ in struct.iter_unpack("<3I", blocks)]
    found = {}
    for block, start, length in struct.iter_unpack("<IIH", verses):
        if length:
            found.setdefault(block, []).append(text[block][start:start + length].decode("utf-8"))
    return [found[block] for block in sorted(found)]


def plain(verse):
    verse = re.sub(r"<(note|title)\b.*?</\1>", "", verse, flags=re.S)
    verse = html.unescape(re.sub(r"<[^>]*>", " ", verse))
    verse = re.sub(r"\s+", " ", verse).strip()
    return re.sub(r"([(“‘]) ", r"\1", re.sub(r" ([,.;:!?’”)])", r"\1", verse))


def main(root):
    folder = pathlib.Path(root) / "usr/share/sword/modules/texts/ztext/engWEB2015eb"
    documents = []
    for testament in ("ot", "nt"):
        for verses in books(folder, testament):
            text = "\n".join(line for line in map(plain, verses) if line)
            if len(text) < SHORTEST_BOOK:
                if text and documents:
                    documents[-1] += text + "\n"
                continue
            documents.append(text + "\n")
    pathlib.Path(__file__).with_name("web.txt").write_text("\f".join(documents), encoding="utf-8")


main(sys.argv[1])
