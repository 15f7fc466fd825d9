#!/usr/bin/env python3
"""Makes fixtures/models: tiny language models by transformers, with what transformers computes from them.

    make_model_fixtures.py [FOLDER]

Each model is a folder as save_pretrained() writes it. Beside them, expected/NAME.safetensors holds
    ids_BT, logits_BTV           a forward in float32
    prompt_T, greedy_T           the 64 tokens that follow a prompt, always the likeliest
    train_SBT                    a batch for each of three steps, one token longer than a row
    losses_S                     mean cross-entropy of the next token, before each update
    sums_P, squares_P            of each parameter after the updates (float64), in the order of sorted names
and as metadata the names and the hyper-parameters of AdamW. Of the masked language model bert there are instead
    ids_BT, type_BT, length_B    rows of tokens, of two texts each, with padding behind them
    logits_BTV                   a forward in float32; zero at padding
    train_SBT, labels_SBT        a batch for each of three steps; labels: -100 but at 3 places of a row
Needs torch, transformers, safetensors.
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

VOCAB, DIM, LAYERS, LENGTH = 80, 32, 2, 96
# eps is large enough that gradients which are zero but for rounding (those of GPT-2's biases of keys) move nothing.
TRAIN = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-5, "weight_decay": 0.1}

COMMON = dict(vocab_size=VOCAB, hidden_size=DIM, num_hidden_layers=LAYERS, num_attention_heads=4,
              num_key_value_heads=2, intermediate_size=40, max_position_embeddings=LENGTH,
              bos_token_id=None, eos_token_id=0)


def models():
    """name, config, type of its weights in the file, size of a shard."""
    yield "llama", transformers.LlamaConfig(**COMMON, rms_norm_eps=1e-5), torch.float32, "5GB"
    yield "llama_tied", transformers.LlamaConfig(
        **{**COMMON, "num_key_value_heads": 4}, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
        head_dim=12,
        rope_parameters={"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 32}), torch.bfloat16, "5GB"
    yield "qwen2", transformers.Qwen2Config(
        **COMMON, rope_parameters={"rope_type": "linear", "rope_theta": 1000000.0, "factor": 2.0}
    ), torch.float32, "40KB"
    yield "mistral", transformers.MistralConfig(**{**COMMON, "num_hidden_layers": 1}, sliding_window=None,
                                                head_dim=8), torch.float16, "5GB"
    yield "gpt2", transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=LENGTH, n_embd=DIM, n_layer=LAYERS, n_head=4, n_inner=48,
        bos_token_id=None, eos_token_id=0), torch.float32, "5GB"


def masked_models():
    yield "bert", transformers.BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=20, type_vocab_size=2, pad_token_id=None, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0), torch.float32, "5GB"


def make(config, dtype, seed, family=transformers.AutoModelForCausalLM):
    """A model whose every parameter matters: biases are not zero, norms not one."""
    model = family.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name.lower() or ".ln_" in name
            mean = 1.0 if norm and name.endswith("weight") else 0.0
            table = any(part in name for part in ("embed", "wte", "wpe", "lm_head"))
            p.copy_(mean + (0.25 if norm or table else 0.3) * torch.randn(p.shape, generator=generator))
    return model.to(dtype)


def decays(name):
    return not any(part in name for part in ("norm", "LayerNorm", ".ln_", ".bias", "embed_tokens", "wte", "wpe"))


def greedy(model, prompt, count):
    """The continuation, and by how much the likeliest token leads at least."""
    ids, lead = prompt.clone(), float("inf")
    for _ in range(count):
        best = model(ids.unsqueeze(0)).logits[0, -1].topk(2)
        lead = min(lead, (best.values[0] - best.values[1]).item())
        ids = torch.cat([ids, best.indices[:1]])
    return ids[len(prompt):], lead


def expectations(model, seed):
    generator = torch.Generator().manual_seed(seed + 1000)
    draw = lambda *shape: torch.randint(0, VOCAB, shape, generator=generator)
    with torch.no_grad():
        ids = draw(2, 20)
        found = {"ids_BT": ids, "logits_BTV": model(ids).logits}
        lead, found["greedy_T"] = 0, torch.zeros(1)
        while lead < 1e-3 or found["greedy_T"].unique().numel() < 12:  # else rounding would decide, or nothing
            found["prompt_T"] = draw(8)
            found["greedy_T"], lead = greedy(model, found["prompt_T"], 64)
    batches = draw(3, 4, 17)
    found["train_SBT"] = batches
    after, metadata = trained(model, [
        lambda batch=batch: torch.nn.functional.cross_entropy(
            model(batch[:, :-1]).logits.flatten(0, 1), batch[:, 1:].flatten()) for batch in batches])
    return {**found, **after}, metadata


def masked_expectations(model, seed):
    generator = torch.Generator().manual_seed(seed + 1000)
    draw = lambda below, *shape: torch.randint(0, below, shape, generator=generator)
    vocab = model.config.vocab_size
    length = torch.tensor([12, 7])
    there = torch.arange(12)[None] < length[:, None]
    found = {"ids_BT": draw(vocab, 2, 12), "type_BT": (torch.arange(12)[None] >= torch.tensor([[5], [3]])).long(),
             "length_B": length}
    with torch.no_grad():
        logits = model(found["ids_BT"], attention_mask=there.long(), token_type_ids=found["type_BT"]).logits
    found["logits_BTV"] = logits * there[:, :, None]
    found["train_SBT"] = draw(vocab, 3, 4, 16)
    labels = torch.full_like(found["train_SBT"], -100)
    for row in labels.flatten(0, 1):
        row[torch.randperm(16, generator=generator)[:3]] = draw(vocab, 3)
    found["labels_SBT"] = labels
    after, metadata = trained(model, [lambda s=s: model(found["train_SBT"][s], labels=labels[s]).loss for s in range(3)])
    return {**found, **after}, metadata


def trained(model, losses):
    """What AdamW makes of the model, an update for each loss."""
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for n, p in parameters.items() if decays(n)], "weight_decay": TRAIN["weight_decay"]},
         {"params": [p for n, p in parameters.items() if not decays(n)], "weight_decay": 0.0}],
        lr=TRAIN["lr"], betas=(TRAIN["beta1"], TRAIN["beta2"]), eps=TRAIN["eps"])
    values = []
    for loss_of in losses:
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    names = sorted(parameters)
    found = {"losses_S": torch.tensor(values, dtype=torch.float64),
             "sums_P": torch.stack([parameters[n].detach().double().sum() for n in names]),
             "squares_P": torch.stack([parameters[n].detach().double().square().sum() for n in names])}
    return found, {"names": json.dumps(names), **{k: repr(v) for k, v in TRAIN.items()}}


def write(folder, seed, name, config, dtype, shard, family, expected):
    make(config, dtype, seed, family).save_pretrained(folder / name, max_shard_size=shard)
    model = family.from_pretrained(folder / name, dtype=torch.float32).eval()
    found, metadata = expected(model, seed)
    save_file({k: v.contiguous() for k, v in found.items()}, folder / "expected" / f"{name}.safetensors", metadata)
    print(name, found["losses_S"].tolist())


def main():
    here = pathlib.Path(__file__).resolve().parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "fixtures" / "models"
    (folder / "expected").mkdir(parents=True, exist_ok=True)
    for seed, model in enumerate(models()):
        write(folder, seed, *model, transformers.AutoModelForCausalLM, expectations)
    for seed, model in enumerate(masked_models()):
        write(folder, 100 + seed, *model, transformers.AutoModelForMaskedLM, masked_expectations)


if __name__ == "__main__":
    main()
