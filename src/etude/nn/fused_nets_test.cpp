// Whole nets in the own kernels against the same nets of ATen's operators in float64, and blocks that recompute.
//
// B batch, T time, D model width, H heads, G key/value heads, E head width, V vocabulary.

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>

#include "etude/nn/decoder.h"
#include "etude/nn/gpt2.h"
#include "etude/nn/recompute.h"
#include "etude/nn/testing.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"

namespace etude {
namespace {

using torch::autograd::grad;
using torch::autograd::variable_list;
using Weights = std::map<std::string, Tensor>;

DecoderOptions llama_like() {
  DecoderOptions o;
  o.vocab = 61;
  o.dim = 48;
  o.layers = 2;
  o.heads = 4;
  o.kv_heads = 2;
  o.ffn = 88;
  o.length = 40;
  o.qkv_bias = true;
  o.tied = false;
  o.init_std = 0.1;
  return o;
}

Gpt2Options gpt2_like() {
  Gpt2Options o;
  o.vocab = 61;
  o.dim = 48;
  o.layers = 2;
  o.heads = 4;
  o.length = 40;
  o.init_std = 0.1;
  return o;
}

Tensor ids_for_nets(int64_t B, int64_t T, int64_t V) {
  const Tensor ids = at::empty({B, T}, at::kLong);
  Rng rng(Key{.seed = 3, .purpose = Purpose::test});
  for (int64_t i = 0; i < ids.numel(); ++i) ids.data_ptr<int64_t>()[i] = rng.below(V);
  return ids;
}

Tensor product64(const Weights& w, const std::string& name, const Tensor& x) {
  const Tensor y = x.matmul(w.at(name + ".weight").t());
  const auto bias = w.find(name + ".bias");
  return bias == w.end() ? y : y + bias->second;
}

/// softmax(q k^T / sqrt(E)) v, causal, heads side by side.
Tensor heads64(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE) {
  const int64_t T = q_BTHE.size(1), H = q_BTHE.size(2), G = k_BTGE.size(2);
  const auto repeated = [&](const Tensor& x) { return x.repeat_interleave(H / G, 2).transpose(1, 2); };
  const Tensor score =
      q_BTHE.transpose(1, 2).matmul(repeated(k_BTGE).transpose(2, 3)) / std::sqrt(static_cast<double>(q_BTHE.size(3)));
  const Tensor seen = score.masked_fill(at::ones({T, T}, at::kBool).triu(1), -INFINITY);
  return at::softmax(seen, -1).matmul(repeated(v_BTGE)).transpose(1, 2).flatten(2);
}

Tensor logits64(const DecoderOptions& o, const Weights& w, const Tensor& ids_BT) {
  const int64_t B = ids_BT.size(0), T = ids_BT.size(1), E = o.dim / o.heads;
  const auto norm = [&](const Tensor& x, const std::string& name) {
    return x / (x.square().mean(-1, true) + o.norm_eps).sqrt() * w.at(name + ".weight");
  };
  const Tensor angle =
      at::outer(at::arange(T, at::kDouble), at::pow(o.rope_theta, -at::arange(0, E, 2, at::kDouble) / E));
  const Tensor cos = angle.cos().unsqueeze(1), sin = angle.sin().unsqueeze(1);
  const auto turn = [&](const Tensor& x) {
    const Tensor a = x.narrow(3, 0, E / 2), b = x.narrow(3, E / 2, E / 2);
    return at::cat({a * cos - b * sin, b * cos + a * sin}, 3);
  };
  Tensor x = w.at("model.embed_tokens.weight").index({ids_BT});
  for (int64_t l = 0; l < o.layers; ++l) {
    const std::string at = "model.layers." + std::to_string(l) + ".";
    const auto heads = [&](const Tensor& a, const char* part) {
      return product64(w, at + "self_attn." + part, a).view({B, T, -1, E});
    };
    const Tensor a = norm(x, at + "input_layernorm");
    const Tensor y = heads64(turn(heads(a, "q_proj")), turn(heads(a, "k_proj")), heads(a, "v_proj"));
    x = x + product64(w, at + "self_attn.o_proj", y);
    const Tensor m = norm(x, at + "post_attention_layernorm");
    const Tensor hidden = at::silu(product64(w, at + "mlp.gate_proj", m)) * product64(w, at + "mlp.up_proj", m);
    x = x + product64(w, at + "mlp.down_proj", hidden);
  }
  return product64(w, "lm_head", norm(x, "model.norm"));
}

Tensor logits64(const Gpt2Options& o, const Weights& w, const Tensor& ids_BT) {
  const int64_t B = ids_BT.size(0), T = ids_BT.size(1), E = o.dim / o.heads;
  const auto norm = [&](const Tensor& x, const std::string& name) {
    return at::layer_norm(x, {o.dim}, w.at(name + ".weight"), w.at(name + ".bias"), o.norm_eps);
  };
  Tensor x = w.at("transformer.wte.weight").index({ids_BT}) + w.at("transformer.wpe.weight").narrow(0, 0, T);
  for (int64_t l = 0; l < o.layers; ++l) {
    const std::string at = "transformer.h." + std::to_string(l) + ".";
    const std::vector<Tensor> qkv = product64(w, at + "attn.c_attn", norm(x, at + "ln_1")).chunk(3, -1);
    const auto heads = [&](const Tensor& t) { return t.reshape({B, T, o.heads, E}); };
    x = x + product64(w, at + "attn.c_proj", heads64(heads(qkv[0]), heads(qkv[1]), heads(qkv[2])));
    const Tensor hidden = at::gelu(product64(w, at + "mlp.c_fc", norm(x, at + "ln_2")), "tanh");
    x = x + product64(w, at + "mlp.c_proj", hidden);
  }
  const Tensor y = norm(x, "transformer.ln_f");
  return o.tied ? y.matmul(w.at("transformer.wte.weight").t()) : product64(w, "lm_head", y);
}

double relative_norm(const Tensor& a, const Tensor& exact) {
  return (a.to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>();
}

template <class NetKind>
void draw(NetKind& net) {
  net.initialise(5);
  const at::NoGradGuard no_grad;
  // Norms of other than ones and biases of other than zeros, so that a forgotten one shows.
  for (const auto& p : net.named_parameters())
    if (p.value().dim() == 1) p.value().add_(test::random(p.value().sizes(), p.key(), 0.3).to(p.value().dtype()));
}

template <class NetKind>
variable_list gradients_of(NetKind& net, const Tensor& ids_BT, const Tensor& w_BTV, Ctx& ctx) {
  return grad({(net.logits(ids_BT, {}, {}, ctx) * w_BTV).sum()}, net.parameters());
}

template <class NetKind>
void expect_net_of_float64(NetKind& net) {
  draw(net);
  const Tensor ids_BT = ids_for_nets(3, 37, net.vocabulary());
  Weights weights;
  variable_list leaves;
  for (const auto& p : net.named_parameters()) {
    leaves.push_back(p.value().detach().to(at::kDouble).requires_grad_());
    weights[p.key()] = leaves.back();
  }
  const Tensor exact_BTV = logits64(net.options(), weights, ids_BT);
  const Tensor w_BTV = test::random(exact_BTV.sizes(), "loss").to(at::kFloat);
  const variable_list expected = grad({(exact_BTV * w_BTV).sum()}, leaves);
  const std::vector<std::string> names = net.named_parameters().keys();
  for (const Format format : {Format::float32, Format::bfloat16}) {
    Ctx ctx;
    ctx.format = format;
    const double tolerance = format == Format::float32 ? 1e-5 : 2e-2;
    const Tensor logits_BTV = net.logits(ids_BT, {}, {}, ctx);
    EXPECT_EQ(logits_BTV.scalar_type(), at::kFloat);
    EXPECT_LT(relative_norm(logits_BTV.detach(), exact_BTV.detach()), tolerance);
    const variable_list found = gradients_of(net, ids_BT, w_BTV, ctx);
    double square = 0, whole = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].scalar_type(), at::kFloat);
      square += (found[i].to(at::kDouble) - expected[i]).square().sum().template item<double>();
      whole += expected[i].square().sum().template item<double>();
      // Softmax does not see the bias of keys: its gradient is zero but for rounding.
      if (format == Format::float32 && !names[i].ends_with("k_proj.bias")) {
        EXPECT_LT(relative_norm(found[i], expected[i]), 10 * tolerance) << names[i];
      }
    }
    EXPECT_LT(std::sqrt(square / whole), tolerance);
  }
}

TEST(FusedNets, ADecoderIsTheOneOfATenInFloat64) {
  const auto net = make_decoder(llama_like());
  expect_net_of_float64(*net);
}

TEST(FusedNets, AGpt2IsTheOneOfATenInFloat64) {
  for (const bool tied : {true, false}) {
    Gpt2Options o = gpt2_like();
    o.tied = tied;
    const auto net = std::make_shared<Gpt2>(o);
    expect_net_of_float64(*net);
  }
}

TEST(FusedNets, TapsAndSlotsSeeTheSameValues) {
  const auto net = make_decoder(llama_like());
  draw(*net);
  const Tensor ids_BT = ids_for_nets(2, 20, 61);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    Ctx fused, watched;
    fused.format = watched.format = format;
    Taps taps;
    for (const char* name : {"input_layernorm.output", "self_attn.q_proj.output", "self_attn.o_proj.input",
                             "self_attn.o_proj.output", "self_attn.output", "mlp.gate_proj.output",
                             "mlp.down_proj.input", "mlp.down_proj.output", "mlp.output", "output"})
      taps.wanted.insert(std::string("model.layers.1.") + name);
    watched.taps = &taps;
    const double tolerance = format == Format::float32 ? 1e-5 : 1e-2;
    const Tensor expected_BTV = net->logits(ids_BT, {}, {}, fused).detach().to(at::kDouble);
    EXPECT_LT(relative_norm(net->logits(ids_BT, {}, {}, watched).detach(), expected_BTV), tolerance);
    EXPECT_EQ(taps.got.size(), taps.wanted.size());
    EXPECT_LT(relative_norm(taps.got.at("model.layers.1.mlp.down_proj.output").detach(),
                            taps.got.at("model.layers.1.mlp.output").detach().to(at::kDouble)),
              1e-12);
  }
  Ctx ctx;
  const Tensor before_BTV = net->logits(ids_BT, {}, {}, ctx).detach().to(at::kDouble);
  net->linear("model.layers.0.mlp.down_proj").slots().weight = [](const Tensor& w, Ctx&) { return w; };
  net->linear("model.layers.1.self_attn.k_proj").slots().weight = [](const Tensor& w, Ctx&) { return w; };
  EXPECT_LT(relative_norm(net->logits(ids_BT, {}, {}, ctx).detach(), before_BTV), 1e-5);
}

TEST(FusedNets, TakeTheOwnKernels) {
  if (isa() == Isa::aten) GTEST_SKIP() << "own kernels are switched off";
  const auto net = make_decoder(llama_like());
  draw(*net);
  Ctx ctx;
  ctx.format = Format::bfloat16;
  watch_paths(true);
  net->logits(ids_for_nets(2, 32, 61), {}, {}, ctx).sum().backward();
  const auto taken = paths_taken();
  watch_paths(false);
  // Two layers: norm with projections twice each, and both ends of branches; and the head.
  EXPECT_EQ(taken.at("normed linears").at("own: bfloat16"), 4);
  EXPECT_EQ(taken.at("normed linears backward").at("own: bfloat16"), 4);
  EXPECT_EQ(taken.at("linear").at("own: bfloat16"), 5);
  EXPECT_EQ(taken.at("linear backward").at("own: bfloat16"), 5);
}

/// Bytes of LibTorch's CPU tensors that are alive, counted while this lives.
class CountedMemory : public c10::Allocator {
 public:
  CountedMemory() : below_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 100); }
  ~CountedMemory() override { c10::SetCPUAllocator(below_, 100); }
  c10::DataPtr allocate(size_t bytes) override {
    struct Block {
      c10::DataPtr data;
      size_t bytes;
    };
    auto* const block = new Block{below_->allocate(bytes), bytes};
    alive += static_cast<int64_t>(bytes);
    return {block->data.get(), block,
            [](void* b) {
              alive -= static_cast<int64_t>(static_cast<Block*>(b)->bytes);
              delete static_cast<Block*>(b);
            },
            c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { below_->copy_data(to, from, bytes); }
  static inline std::atomic<int64_t> alive = 0;

 private:
  c10::Allocator* below_;
};

template <class NetKind>
void expect_same_bits_in_less_memory(NetKind& net) {
  draw(net);
  const Tensor ids_BT = ids_for_nets(4, 32, net.vocabulary());
  Ctx keeping;
  keeping.train = true;
  keeping.id_B = at::arange(4);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    keeping.format = format;
    Ctx recomputing = keeping;
    recomputing.recompute = true;
    const Tensor w_BTV = test::random({4, 32, net.vocabulary()}, "loss").to(at::kFloat);
    const variable_list expected = gradients_of(net, ids_BT, w_BTV, keeping);
    const variable_list found = gradients_of(net, ids_BT, w_BTV, recomputing);
    for (size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(at::equal(found[i], expected[i])) << i;
    const auto kept_by = [&](Ctx& ctx) {
      const CountedMemory counted;
      const int64_t before = CountedMemory::alive;
      const Tensor y = net.logits(ids_BT, {}, {}, ctx);
      return CountedMemory::alive - before;
    };
    EXPECT_LT(2 * kept_by(recomputing), kept_by(keeping));
  }
}

TEST(Recompute, GivesTheSameBitsAndKeepsLess) {
  DecoderOptions o = llama_like();
  o.layers = 4;
  o.dropout = 0.2;
  const auto decoder = make_decoder(o);
  expect_same_bits_in_less_memory(*decoder);
  Gpt2Options g = gpt2_like();
  g.layers = 4;
  g.dropout = 0.2;
  const auto gpt2 = std::make_shared<Gpt2>(g);
  expect_same_bits_in_less_memory(*gpt2);
}

TEST(Recompute, GradientsOfWhatIsFrozenAreNotMade) {
  const Tensor w = test::random({3, 3}, "w").requires_grad_(), frozen = test::random({3, 3}, "frozen");
  const Tensor x = test::random({2, 3}, "x");
  int runs = 0;
  const auto block = [&](const Tensor& in) {
    ++runs;
    return in.mm(w).mm(frozen).tanh();
  };
  const Tensor expected = grad({block(x).sum()}, {w})[0];
  runs = 0;
  EXPECT_TRUE(at::equal(grad({recompute(block, x, {w, frozen}).sum()}, {w})[0], expected));
  EXPECT_EQ(runs, 2);
  const at::NoGradGuard no_grad;
  Ctx ctx;
  ctx.recompute = true;
  EXPECT_FALSE(recomputes(ctx));
}

}  // namespace
}  // namespace etude
