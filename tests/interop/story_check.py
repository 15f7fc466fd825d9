#!/usr/bin/env python3
"""story_check.py FOLDER < RESULT: whether transformers goes on as `etude generate --temperature 0 --json` said.

The tokenizer must split the prompt as Etude does, the model must draw the same tokens, and the text must be the same.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = sys.argv[1]
said = json.loads(sys.stdin.readline())
model = AutoModelForCausalLM.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer(said["prompt"], add_special_tokens=False)["input_ids"]
begin = len(ids)
with torch.no_grad():
    for _ in range(len(said["ids"])):
        window = ids[-model.config.max_position_embeddings :]
        ids.append(model(torch.tensor([window])).logits[0, -1].argmax().item())
got = ids[begin:]
if got != said["ids"]:
    sys.exit(f"transformers draws {got}, Etude {said['tokens']}")
text = tokenizer.decode(got, skip_special_tokens=True, clean_up_tokenization_spaces=False)
if text.strip() != said["text"].strip():
    sys.exit(f"transformers reads {text!r}, Etude {said['text']!r}")
