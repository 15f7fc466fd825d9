#!/usr/bin/env python3
"""What transformers makes of folders that `etude export` wrote.

    models_check.py same FOLDER SOURCE             an untrained export: every tensor of SOURCE, byte for byte
    models_check.py loads FOLDER                   its architecture finds every tensor, and none too many
    models_check.py fills FOLDER TEXT              where the last character of TEXT is masked, it is the likeliest
    models_check.py greedy FOLDER PROMPT TEXT N    the N likeliest bytes after PROMPT are TEXT
    models_check.py bytes FOLDER                   its tokenizer gives bytes as ids, and 256 for a document's end
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors import safe_open


def tensors(folder):
    """name -> (type, shape, bytes) of all .safetensors of a folder."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                value = file.get_tensor(name)
                found[name] = (value.dtype, tuple(value.shape), value.contiguous().view(torch.uint8).numpy().tobytes())
    return found


def same(folder, source):
    written, read = tensors(folder), tensors(source)
    assert written.keys() == read.keys(), written.keys() ^ read.keys()
    for name in read:
        assert written[name] == read[name], f"{name} has changed"


def loaded(folder):
    stored = json.loads(pathlib.Path(folder, "config.json").read_text())
    masked = stored["architectures"] == ["BertForMaskedLM"]
    family = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    model, report = family.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report.get(kind), (kind, report[kind])
    assert stored["architectures"] == [type(model).__name__], stored["architectures"]
    return model.eval()


def greedy(folder, prompt, text, count):
    model = loaded(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    begin = ids.shape[1]
    with torch.no_grad():
        for _ in range(int(count)):
            window = ids[:, -model.config.max_position_embeddings:]
            ids = torch.cat([ids, model(window).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    got = tokenizer.decode(ids[0, begin:])
    assert got == text, (got, text)


def fills(folder, text):
    """Of bytes, with the last id of the vocabulary for the mask."""
    model = loaded(folder)
    ids = torch.tensor([list(text.encode())])
    hidden = ids.clone()
    hidden[0, -1] = model.config.vocab_size - 1
    with torch.no_grad():
        best = model(hidden).logits[0, -1].argmax()
    assert best == ids[0, -1], (chr(best), text)


def byte_ids(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("In the beginning", "  zwei  Leerzeichen\n\tund Umlaute: ÄÖÜß", "🍎 à la carte", "".join(map(chr, range(1, 128)))):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == list(text.encode()), (text, ids)
        assert tokenizer.decode(ids) == text, (text, tokenizer.decode(ids))
    assert tokenizer.eos_token_id == 256 and len(tokenizer) == 257, (tokenizer.eos_token_id, len(tokenizer))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"same": same, "loads": loaded, "greedy": greedy, "fills": fills, "bytes": byte_ids}[command](*arguments)
