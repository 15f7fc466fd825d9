#!/usr/bin/env python3
"""Makes fixtures/peft: adapters by PEFT for models of fixtures/models, with what transformers computes with them.

    make_peft_fixtures.py [FOLDER]

Each adapter is a folder as save_pretrained() writes it. Beside them, expected/NAME.safetensors holds ids_BT and
logits_BTV of the model with the adapter, and the logits without it. Needs torch, transformers, peft, safetensors.
"""
import json
import pathlib
import sys

import peft
import torch
import transformers
from safetensors.torch import save_file

ADAPTERS = {
    "llama": peft.LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "qwen2": peft.LoraConfig(r=4, lora_alpha=5, target_modules="all-linear", use_rslora=True, lora_dropout=0.1,
                             task_type="CAUSAL_LM"),
    "gpt2": peft.LoraConfig(r=2, lora_alpha=8, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True,
                            task_type="CAUSAL_LM"),
}


def main():
    here = pathlib.Path(__file__).resolve().parent / "fixtures"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "peft"
    (folder / "expected").mkdir(parents=True, exist_ok=True)
    for seed, (name, config) in enumerate(ADAPTERS.items()):
        base = transformers.AutoModelForCausalLM.from_pretrained(here / "models" / name, dtype=torch.float32).eval()
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, base.config.vocab_size, (2, 16), generator=generator)
        with torch.no_grad():
            without = base(ids).logits
            model = peft.get_peft_model(base, config).eval()
            for key, p in model.named_parameters():
                if "lora_" in key:
                    p.copy_(0.1 * torch.randn(p.shape, generator=generator))
            logits = model(ids).logits
        model.save_pretrained(folder / name)
        (folder / name / "README.md").unlink(missing_ok=True)
        written = folder / name / "adapter_config.json"
        settings = json.loads(written.read_text())
        settings["base_model_name_or_path"] = name
        settings["target_modules"] = sorted(settings["target_modules"])
        written.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        save_file({"ids_BT": ids, "logits_BTV": logits.contiguous(), "without_BTV": without.contiguous()},
                  folder / "expected" / f"{name}.safetensors")
        print(name, (logits - without).abs().max().item())


if __name__ == "__main__":
    main()
