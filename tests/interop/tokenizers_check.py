"""Compares the tokenizers of Etude with the reference libraries on the strings of the fixtures.

    python tokenizers_check.py PROGRAM FIXTURES

PROGRAM is `tokenize` of tests/interop/tokenize_main.cpp. For each tokenizer of FIXTURES: ids, offsets and decoded text
of each of the 10,000 strings are equal to those that the installed `tokenizers` and `sentencepiece` give now.
Differences are printed; the exit status is 1 if there are any.
"""

import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

from make_tokenizer_fixtures import of_library, of_sentencepiece
from tokenizers import Tokenizer

SHOWN = 5


def reference(data):
    return of_library(Tokenizer.from_str(data.decode())) if data[:1] == b"{" else of_sentencepiece(data)


def answers(program, data, strings):
    """What PROGRAM says of each string."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json" if data[:1] == b"{" else "tokenizer.model")
        with open(path, "wb") as file:
            file.write(data)
        run = subprocess.run([program, path], input=strings, capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{program} failed: {run.stderr.decode()}")
    return [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]


def compare(name, program, data, lines):
    encode, decode, _ = reference(data)
    is_model = data[:1] != b"{"
    wrong = 0
    found = answers(program, data, b"\n".join(lines) + b"\n")
    assert len(found) == len(lines), f"{len(found)} answers to {len(lines)} strings"
    for line, ours in zip(lines, found):
        text = json.loads(line)
        ids, offsets = encode(text)
        if is_model:  # the library gives a character in bytes to its last one
            pairs = zip(offsets, ours["offsets"])
            offsets = [mine if begin == end else [begin, end] for (begin, end), mine in pairs]
        theirs = {"ids": ids, "offsets": offsets, "decoded": decode(ids)}
        if is_model:
            theirs["decoded"] = theirs["decoded"].replace(" \u2047 ", "")  # unknown ones: Etude leaves them out
        if ours["decoded"] is None:
            ours["decoded"] = theirs["decoded"] if "\ufffd" in theirs["decoded"] else None
        for key, value in theirs.items():
            if ours[key] != value:
                wrong += 1
                if wrong <= SHOWN:
                    print(f"{name}: {key} of {text!r}\n  expected {value}\n  found    {ours[key]}")
    print(f"{name}: {len(lines)} strings, {wrong} differences")
    return wrong


def main():
    program, fixtures = sys.argv[1:]
    with gzip.open(os.path.join(fixtures, "strings.jsonl.gz")) as file:
        lines = file.read().split(b"\n")[:-1]
    wrong = 0
    for path in sorted(glob.glob(os.path.join(fixtures, "*.gz"))):
        name = os.path.basename(path)[:-3]
        if "." in name:
            continue
        with gzip.open(path) as file:
            wrong += compare(name, program, file.read(), lines)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
