"""Writes fixtures/sampling.json: logits, and what transformers' filters leave of them.

Needs torch and transformers. Run from anywhere; the file is committed, so tests don't need Python.
"""

import json
import pathlib

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

CASES = [
    {"temperature": 0.7},
    {"temperature": 1.6},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 0.05},
    {"top_p": 0.5},
    {"top_p": 0.93},
    {"min_p": 0.02},
    {"min_p": 0.5},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 12, "min_p": 0.1},
    {"temperature": 1.5, "top_p": 0.8, "min_p": 0.05},
    {"temperature": 0.6, "top_k": 30, "top_p": 0.95, "min_p": 0.01},
]


def filters(case):
    chain = LogitsProcessorList()
    if "temperature" in case:
        chain.append(TemperatureLogitsWarper(case["temperature"]))
    if "top_k" in case:
        chain.append(TopKLogitsWarper(case["top_k"]))
    if "top_p" in case:
        chain.append(TopPLogitsWarper(case["top_p"]))
    if "min_p" in case:
        chain.append(MinPLogitsWarper(case["min_p"]))
    return chain


def main():
    generator = torch.Generator().manual_seed(5)
    logits = (torch.randn(2, 40, generator=generator, dtype=torch.double) * 2.5).mul(1000).round().div(1000)
    ids = torch.zeros(1, 1, dtype=torch.long)
    out = {"logits": [[round(x, 3) for x in row] for row in logits.tolist()], "cases": []}
    for case in CASES:
        rows = []
        for row in logits:
            left = filters(case)(ids, row.unsqueeze(0))[0]
            rows.append([None if value == float("-inf") else round(value, 7) for value in left.tolist()])
        out["cases"].append({"sampling": case, "left": rows})
    path = pathlib.Path(__file__).parent / "fixtures" / "sampling.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=None, separators=(",", ":")).replace('{"sampling"', '\n{"sampling"') + "\n")


main()
