"""Writes fixtures/safetensors/ with the reference implementation: python make_safetensors_fixtures.py [FOLDER]

  types.safetensors     a tensor of every type that the reference writes
  sharded/              a tiny Llama that transformers saved in several files, with an index
  expected.json         for both: type, shape and the SHA-256 of the bytes of every tensor
"""

import hashlib
import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8",
    torch.bool: "BOOL", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2", torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
}


def described(tensor):
    raw = bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
    return {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "sha256": hashlib.sha256(raw).hexdigest()}


def every_type():
    """Six values each, from bytes that count up, so that not-a-numbers with odd payloads are among them."""
    tensors = {}
    for dtype in NAMES:
        size = torch.empty(0, dtype=dtype).element_size()
        raw = torch.arange(6 * size, dtype=torch.int64).mul(37).add(5).remainder(256).to(torch.uint8)
        value = raw.view(dtype) if dtype != torch.bool else raw.remainder(2).to(torch.bool)
        tensors[NAMES[dtype].lower()] = value.reshape(2, 3).clone()
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros(3, 0, 2)
    tensors["ünïcode \"name\"\n"] = torch.ones(1)
    return tensors


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = every_type()
    save_file(tensors, folder / "types.safetensors", metadata={"format": "pt", "note": "äöü \"x\"\n"})
    torch.manual_seed(5)
    config = LlamaConfig(vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder / "sharded", max_shard_size="4KB")
    for extra in ("generation_config.json",):
        (folder / "sharded" / extra).unlink(missing_ok=True)
    expected = {
        "types": {name: described(value) for name, value in tensors.items()},
        "sharded": {name: described(value) for name, value in model.state_dict().items()},
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with safe_open(folder / "types.safetensors", "pt") as back:
        assert set(back.keys()) == set(tensors)


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "fixtures" / "safetensors")
