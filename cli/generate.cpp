#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"
#include "etude/data/text.h"

namespace etude::cli {
namespace {

struct Options {
  std::string run, prompt = "In the beginning", net = "model";
  int64_t tokens = 200, seed = 0, top_k = 0;
  double temperature = 0.8;
};

/// The net of a run's recipe with its trained weights.
std::shared_ptr<LanguageModel> trained_model(const Options& o, const Registry& registry) {
  const std::string path = o.run + "/recipe.toml";
  if (!file::exists(path))
    throw Error(Code::usage, "there is no run '" + o.run + "'", path,
                "etude run METHOD trains one and names its directory");
  const Recipe recipe = read_recipe(file::read(path), path, {}, "", {}, registry);
  const auto found = recipe.options.net.find(o.net);
  if (found == recipe.options.net.end()) {
    std::vector<std::string> known;
    for (const auto& [name, part] : recipe.options.net) known.push_back(name);
    throw Error(Code::usage, "this run has no net '" + o.net + "'", path, did_you_mean(o.net, known));
  }
  Part part = found->second;
  part.config.erase("role");
  auto net = std::dynamic_pointer_cast<LanguageModel>(registry.net(part).make(part));
  if (!net) throw Error(Code::usage, "the net '" + o.net + "' makes no text", path);
  const torch::NoGradGuard no_grad;
  auto parameters = net->named_parameters();
  const std::string prefix = o.net + "/";
  size_t taken = 0;
  for (const auto& [name, value] : trained_weights(o.run)) {
    Tensor* const own = name.starts_with(prefix) ? parameters.find(name.substr(prefix.size())) : nullptr;
    if (!own) continue;
    if (own->sizes() != value.sizes())
      throw Error(Code::checkpoint, "'" + name + "' has another shape than the recipe gives it", o.run);
    own->copy_(value);
    ++taken;
  }
  if (taken != parameters.size())
    throw Error(Code::checkpoint, "the run's weights are not those of its recipe", o.run, "--fresh trains it again");
  return net;
}

/// The next token: the likeliest at temperature 0, else drawn from softmax(logits / temperature), of the top_k
/// likeliest ones if that is not 0.
int64_t draw(Tensor logits_V, double temperature, int64_t top_k, double uniform) {
  if (temperature == 0) return logits_V.argmax().item<int64_t>();
  if (top_k > 0 && top_k < logits_V.size(0)) {
    const Tensor least = std::get<0>(logits_V.topk(top_k)).min();
    logits_V = logits_V.masked_fill(logits_V < least, -std::numeric_limits<double>::infinity());
  }
  const Tensor cumulative_V = torch::softmax((logits_V - logits_V.max()) / temperature, 0).cumsum(0);
  const int64_t index = (cumulative_V <= uniform * cumulative_V[-1].item<double>()).sum().item<int64_t>();
  return std::min(index, logits_V.size(0) - 1);
}

void generate(const Options& o, const Session& session) {
  if (o.prompt.empty())
    throw Error(Code::usage, "the prompt is empty", "--prompt", "a model needs something to go on from");
  const auto net = trained_model(o, session.registry);
  const torch::NoGradGuard no_grad;
  const auto tokenizer = byte_tokenizer();
  if (net->vocabulary() < tokenizer->vocabulary()) throw Error(Code::usage, "this net was not trained on bytes", o.run);
  std::vector<int64_t> ids;
  for (int32_t id : tokenizer->encode(o.prompt)) ids.push_back(id);
  const size_t begin = ids.size();
  if (!session.json) std::cout << printable(o.prompt) << std::flush;
  std::string pending;  // bytes of a character that isn't whole yet
  for (int64_t i = 0; i < o.tokens && !interrupted() && std::cout; ++i) {
    const auto from = static_cast<std::ptrdiff_t>(ids.size()) -
                      std::min(static_cast<std::ptrdiff_t>(ids.size()), static_cast<std::ptrdiff_t>(net->longest()));
    Ctx ctx;
    const Tensor ids_BT = torch::tensor(std::vector<int64_t>(ids.begin() + from, ids.end())).unsqueeze(0);
    const Tensor logits_V = net->logits(ids_BT, {}, {}, ctx)[0][-1].to(torch::kFloat64);
    const int64_t next = draw(logits_V, o.temperature, o.top_k,
                              Rng(Key{static_cast<uint64_t>(o.seed), Purpose::sample, i, 0}).uniform());
    if (next == tokenizer->document_end()) break;
    ids.push_back(next);
    pending += tokenizer->decode({next});
    if (session.json || (!valid_utf8(pending) && pending.size() < 4)) continue;
    std::cout << printable(pending) << std::flush;
    pending.clear();
  }
  if (session.json)
    std::cout << nlohmann::json{{"prompt", printable(o.prompt)},
                                {"text", printable(tokenizer->decode(
                                             {ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.end()}))}}
                     .dump();
  std::cout << '\n';
}

}  // namespace

void add_generate(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("generate", "text from what was trained")
                      ->footer(
                          "examples:\n"
                          "  etude generate runs/noloco-noloco/HASH-s0 --prompt \"In the beginning\"\n"
                          "  etude generate RUN --temperature 0 --tokens 500");
  auto o = std::make_shared<Options>();
  command->add_option("run", o->run, "directory of a run, as `etude run` names it")->required();
  command->add_option("--prompt", o->prompt, "how the text begins")->capture_default_str();
  command->add_option("--tokens", o->tokens, "how many to add, at most")
      ->check(whole(1, 1000000))
      ->capture_default_str();
  command->add_option("--temperature", o->temperature, "0: always the likeliest")
      ->check(number(0, 100))
      ->capture_default_str();
  command->add_option("--top-k", o->top_k, "draw among so many likeliest tokens; 0: among all")
      ->check(whole(0, 1000000))
      ->capture_default_str();
  command->add_option("--seed", o->seed, "of the draws")->check(whole(0, INT64_MAX))->capture_default_str();
  command->add_option("--net", o->net, "which of the run's nets")->capture_default_str();
  command->callback([&session, o] {
    catch_interrupts("");
    generate(*o, session);
    if (interrupted()) session.status = static_cast<int>(Code::interrupted);
  });
}

}  // namespace etude::cli
