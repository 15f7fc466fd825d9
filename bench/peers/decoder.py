"""A decoder in the manner of Llama as people write it in plain PyTorch. Parameters have the names of Hugging Face.

B batch, T time, D model width, H heads, E head width, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x_BHTE, cos_TE, sin_TE):
    first, second = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * cos_TE + torch.cat((-second, first), dim=-1) * sin_TE


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x_BTD, cos_TE, sin_TE):
        B, T, D = x_BTD.shape
        q, k, v = (
            projection(x_BTD).view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos_TE, sin_TE = cos_TE.to(q.dtype), sin_TE.to(q.dtype)
        q, k = rotate(q, cos_TE, sin_TE), rotate(k, cos_TE, sin_TE)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, D))


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(dim, hidden, bias=False)
        self.up_proj = nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, dim, heads, ffn, eps):
        super().__init__()
        self.input_layernorm = RMSNorm(dim, eps)
        self.self_attn = Attention(dim, heads)
        self.post_attention_layernorm = RMSNorm(dim, eps)
        self.mlp = SwiGLU(dim, ffn)

    def forward(self, x, cos_TE, sin_TE):
        x = x + self.self_attn(self.input_layernorm(x), cos_TE, sin_TE)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    def __init__(self, vocab, dim, layers, heads, ffn, length, rope_theta, norm_eps):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, ffn, norm_eps) for _ in range(layers))
        self.norm = RMSNorm(dim, norm_eps)
        head = dim // heads
        frequency = rope_theta ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
        angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency).repeat(1, 2)
        self.register_buffer("cos_TE", angle.cos().float(), persistent=False)
        self.register_buffer("sin_TE", angle.sin().float(), persistent=False)

    def forward(self, ids_BT):
        T = ids_BT.shape[1]
        x = self.embed_tokens(ids_BT)
        for layer in self.layers:
            x = layer(x, self.cos_TE[:T], self.sin_TE[:T])
        return self.norm(x)


class Decoder(nn.Module):
    """The loss of a batch: cross-entropy of the next token, mean over tokens."""

    def __init__(self, vocab, dim, layers, heads, ffn, length, rope_theta, norm_eps):
        super().__init__()
        self.model = Model(vocab, dim, layers, heads, ffn, length, rope_theta, norm_eps)
        self.lm_head = nn.Linear(dim, vocab, bias=False)

    def forward(self, ids_BT, labels_BT):
        logits_BTV = self.lm_head(self.model(ids_BT))
        return F.cross_entropy(logits_BTV.flatten(0, 1), labels_BT.flatten())

    @staticmethod
    def inputs(batch):
        return batch["ids_BT"], batch["labels_BT"]
