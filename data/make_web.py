#!/usr/bin/env python3
"""Makes data/web.txt from the Debian package sword-text-web. For maintainers; nothing else runs it.

    apt-get download sword-text-web=426.0-1
    python3 data/make_web.py sword-text-web_426.0-1_all.deb data/web.txt

The package holds a SWORD module of driver zText: PART.bzs lists blocks as (offset, packed size,
unpacked size), 3 x uint32; PART.bzz holds the blocks, zlib; PART.bzv lists the verses as (uint32 block,
uint32 start, uint16 length); little endian. The text of a verse is a piece of OSIS markup.
"""

import hashlib
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib

PACKAGE_SHA256 = "930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1"
TEXT_SHA256 = "52c48493f9896c27e18c0f5e8e1ffb4672b8c40b15495aab83032527b03f5633"
MODULE = "usr/share/sword/modules/texts/ztext/engWEB2015eb"

# Left out: second versions of Daniel and Esther that repeat the first nearly word for word, and the
# other books beside the 66 that all editions share.
OUTSIDE = set("DanGr Tob Jdt EsthGr Wis Sir Bar 1Macc 2Macc 1Esd PrMan AddPs 3Macc 2Esd 4Macc".split())


def slots(folder, part):
    """The markup of every slot (headings and verses) of a part, in order."""
    def content(suffix):
        with open(os.path.join(folder, part + suffix), "rb") as f:
            return f.read()

    packed = content(".bzz")
    blocks = []
    for offset, packed_size, size in struct.iter_unpack("<III", content(".bzs")):
        block = zlib.decompress(packed[offset:offset + packed_size])
        assert len(block) == size
        blocks.append(block)
    for block, start, length in struct.iter_unpack("<IIH", content(".bzv")):
        yield blocks[block][start:start + length].decode() if length else ""


def plain(markup):
    """A verse without markup, notes and headings, on one line."""
    # What follows the end of a chapter is the heading, preface or glossary of what comes next.
    text = markup.split("<chapter eID", 1)[0]
    text = re.sub(r"<title.*?</title>|<speaker>.*?</speaker>", " ", text, flags=re.S)
    text = re.sub(r"<note.*?</note>", "\0", text, flags=re.S)
    text = re.sub(r"</?(w|q|seg|name)\b[^>]*>", "", text)  # inside a line
    text = re.sub(r"<[^>]*>", " ", text)                   # lines and paragraphs
    # A note may stand where the space between two words belongs, and before punctuation.
    text = re.sub(r"\0\s*(?=[,.;:!?)”’])", "", text).replace("\0", " ")
    text = re.sub(r"”(?=\w)", "” ", text)  # so may the end of a quotation
    text = re.sub(r"\s+(?=[,.;:!?])", "", text)
    return " ".join(text.split())


def books(folder):
    """Book -> verses, in the order of the module."""
    found = {}
    for part in ("ot", "nt"):
        book = None
        for markup in slots(folder, part):
            if re.search(r'<div canonical="true" osisID="\w+" sID="[^"]*" type="book"/>', markup):
                continue  # the heading of a book
            chapter = re.search(r'<chapter n="\d+" osisID="(\w+)\.\d+" sID=', markup)
            if chapter:   # the heading of a chapter
                book = chapter.group(1)
                continue
            verse = plain(markup)
            if verse and book and book not in OUTSIDE:
                found.setdefault(book, []).append(verse)
    return found


def main():
    package, target = sys.argv[1:]
    with open(package, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    if digest != PACKAGE_SHA256:
        sys.exit(f"{package} has SHA-256 {digest}, not {PACKAGE_SHA256}")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg", "-x", package, folder], check=True)
        found = books(os.path.join(folder, MODULE))
    assert len(found) == 66, sorted(found)
    text = "\n".join("".join(verse + "\n" for verse in verses) for verses in found.values())
    data = text.encode()
    with open(target, "wb") as f:
        f.write(data)
    print(len(found), "books,", sum(map(len, found.values())), "verses,", len(data), "bytes, SHA-256",
          hashlib.sha256(data).hexdigest())
    if hashlib.sha256(data).hexdigest() != TEXT_SHA256:
        sys.exit("this is not the text whose hash this script and etude/data/sets.cpp hold")


if __name__ == "__main__":
    main()
