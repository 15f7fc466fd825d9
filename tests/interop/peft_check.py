"""Whether PEFT computes with our adapters what we do.

    peft_check.py data                               writes ids.npy (tokens to train on) and prompts.jsonl
    peft_check.py check BASE ADAPTER MERGED RESULTS  BASE with ADAPTER, and MERGED alone, against the JSON lines of
                                                     `etude generate --temperature 0 --log-probabilities`
"""
import json
import pathlib
import sys

import numpy
import peft
import torch
import transformers

PROMPTS = [[3, 14, 15, 9, 26], [5], list(range(1, 30))]


def data():
    steps = numpy.arange(6000)
    numpy.save("ids.npy", ((steps * steps // 7 + 3 * steps) % 79 + 1).astype(numpy.uint16))
    with open("prompts.jsonl", "w") as file:
        file.writelines(json.dumps({"ids": ids}) + "\n" for ids in PROMPTS)


def log_probabilities(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def check(base_folder, adapter_folder, merged_folder, results):
    load = lambda folder: transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain, merged = load(base_folder), load(merged_folder)
    model = peft.PeftModel.from_pretrained(load(base_folder), adapter_folder).eval()
    lines = [json.loads(line) for line in pathlib.Path(results).read_text().splitlines()]
    assert len(lines) == len(PROMPTS), lines
    furthest = effect = 0
    for prompt, line in zip(PROMPTS, lines):
        assert len(line["ids"]) == 40, line
        ids = prompt + line["ids"]
        for net in model, merged:
            theirs = log_probabilities(net, ids)[len(prompt) - 1:-1]
            best = theirs.argmax(-1).tolist()
            lead = theirs.topk(2).values.diff(dim=-1).abs().min().item()
            assert best == line["ids"] or lead < 1e-3, (best, line["ids"])
            drawn = theirs.gather(1, torch.tensor(line["ids"]).unsqueeze(1)).squeeze(1)
            furthest = max(furthest, (drawn - torch.tensor(line["log_probabilities"]).double()).abs().max().item())
        effect = max(effect, (log_probabilities(plain, ids) - log_probabilities(model, ids)).abs().max().item())
    assert effect > 0.1, f"the adapter changes log-probabilities by {effect} only"
    assert furthest < 1e-4, f"log-probabilities differ by {furthest}"
    print(f"{len(lines)} continuations; log-probabilities differ by {furthest:.1e}, the adapter makes {effect:.2f}")


if sys.argv[1] == "data":
    data()
else:
    check(*sys.argv[2:])
