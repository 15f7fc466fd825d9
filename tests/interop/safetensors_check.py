"""The reference against what Etude reads and writes: safetensors_check.py REWRITE FOLDER

REWRITE FROM TO BYTES is the program that reads a checkpoint and writes it again in files of so many bytes; FOLDER is
empty.
"""

import json
import pathlib
import subprocess
import sys

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import make_safetensors_fixtures as fixtures


def read(path):
    """Through the reference's own reader; of several files as their index says."""
    if path.is_file():
        files = {path: None}
    elif (path / "model.safetensors").exists():
        files = {path / "model.safetensors": None}
    else:
        index = json.loads((path / "model.safetensors.index.json").read_text(encoding="utf-8"))
        files = {}
        for name, shard in index["weight_map"].items():
            files.setdefault(path / shard, []).append(name)
    tensors = {}
    for file, names in files.items():
        with safe_open(file, "pt") as opened:
            assert opened.metadata()["format"] == "pt", f"{file}: transformers wants format = pt"
            assert names is None or sorted(names) == sorted(opened.keys()), f"{file}: not what the index says"
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}
    return tensors


def same(old, new):
    """Every tensor has type, shape and bits that it had."""
    old, new = read(old), read(new)
    assert set(old) == set(new), f"other names: {set(old) ^ set(new)}"
    for name, value in old.items():
        assert fixtures.described(value) == fixtures.described(new[name]), f"{name} differs"
    return len(old)


def logits(folder):
    return AutoModelForCausalLM.from_pretrained(folder)(torch.arange(10).reshape(1, 10)).logits


def main(rewrite, folder):
    fixtures.main(folder / "fixtures")
    torch.manual_seed(11)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_positions=16, n_embd=24, n_layer=3, n_head=3,
                                       bos_token_id=None, eos_token_id=None))
    model.save_pretrained(folder / "one")
    model.save_pretrained(folder / "many", max_shard_size="20KB")
    for source in "one", "many":
        for size in 1000, 20000, 5000000:
            to = folder / f"{source}-{size}"
            subprocess.run([rewrite, folder / source, to, str(size)], check=True)
            print(f"{source} in files of {size} bytes: {same(folder / source, to)} tensors have the same bits")
        (folder / f"{source}-20000" / "config.json").write_bytes((folder / "one" / "config.json").read_bytes())
        assert torch.equal(logits(folder / f"{source}-20000"), logits(folder / "one")), "other logits"
        print("transformers loads it and computes the same")
    types = folder / "fixtures" / "types.safetensors"
    subprocess.run([rewrite, types, folder / "types", "100"], check=True)
    print(f"every type: {same(types, folder / 'types')} tensors have the same bits")
    committed = pathlib.Path(__file__).resolve().parent / "fixtures" / "safetensors" / "types.safetensors"
    print(f"the committed fixture: {same(types, committed)} tensors have the bits that this Python makes")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
