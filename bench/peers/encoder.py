"""A masked encoder in the manner of BERT as people write it in plain PyTorch. Parameters have the names of Hugging Face.

B batch, T time, D model width, V vocabulary, M masked tokens of the batch.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Embeddings(nn.Module):
    def __init__(self, vocab, dim, length, types, eps):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, dim)
        self.position_embeddings = nn.Embedding(length, dim)
        self.token_type_embeddings = nn.Embedding(types, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps)

    def forward(self, ids_BT):
        of_place_TD = self.position_embeddings.weight[: ids_BT.shape[1]] + self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(ids_BT) + of_place_TD)


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x_BTD):
        B, T, D = x_BTD.shape
        q, k, v = (
            projection(x_BTD).view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, D)


class AddAndNorm(nn.Module):
    """LayerNorm(dense(x) + residual): what BERT calls an output."""

    def __init__(self, inputs, dim, eps):
        super().__init__()
        self.dense = nn.Linear(inputs, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps)

    def forward(self, x, residual):
        return self.LayerNorm(self.dense(x) + residual)


class Layer(nn.Module):
    def __init__(self, dim, heads, ffn, eps):
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(dim, heads), "output": AddAndNorm(dim, dim, eps)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(dim, ffn)})
        self.output = AddAndNorm(ffn, dim, eps)

    def forward(self, x):
        x = self.attention["output"](self.attention["self"](x), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Bert(nn.Module):
    def __init__(self, vocab, dim, layers, heads, ffn, length, types, eps):
        super().__init__()
        self.embeddings = Embeddings(vocab, dim, length, types, eps)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(dim, heads, ffn, eps) for _ in range(layers))})

    def forward(self, ids_BT):
        x = self.embeddings(ids_BT)
        for layer in self.encoder["layer"]:
            x = layer(x)
        return x


class Predictions(nn.Module):
    def __init__(self, vocab, dim, eps):
        super().__init__()
        self.transform = nn.ModuleDict({"dense": nn.Linear(dim, dim), "LayerNorm": nn.LayerNorm(dim, eps)})
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, x, embedding_VD):
        x = self.transform["LayerNorm"](F.gelu(self.transform["dense"](x)))
        return F.linear(x, embedding_VD, self.bias)


class Encoder(nn.Module):
    """The loss of a batch: cross-entropy of the tokens that were masked, mean over them."""

    def __init__(self, vocab, dim, layers, heads, ffn, length, types, norm_eps):
        super().__init__()
        self.bert = Bert(vocab, dim, layers, heads, ffn, length, types, norm_eps)
        self.cls = nn.ModuleDict({"predictions": Predictions(vocab, dim, norm_eps)})

    def forward(self, ids_BT, place_M, labels_M):
        x_MD = self.bert(ids_BT).flatten(0, 1)[place_M]
        logits_MV = self.cls["predictions"](x_MD, self.bert.embeddings.word_embeddings.weight)
        return F.cross_entropy(logits_MV, labels_M)

    @staticmethod
    def inputs(batch):
        """The masked places come with the batch, as a collator gives them: their number is the same in each."""
        labels = batch["labels_BT"].flatten()
        place_M = labels.ge(0).nonzero().flatten()
        return batch["ids_BT"], place_M, labels[place_M]
