#include <iostream>

#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/base/torch_pch.h"
#include "etude/data/text.h"
#include "etude/tensor/safetensors.h"

namespace etude::cli {

void add_generate(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("generate", "text from a trained run")->footer("examples:\n  etude generate runs/noloco-noloco/HASH-s0 --prompt 'In the beginning'\n  etude generate RUN --temperature 0");
  struct Options {
    std::string run, prompt = "In the beginning";
    int64_t tokens = 200, seed = 0;
    double temperature = 0.8;
  };
  auto o = std::make_shared<Options>();
  command->add_option("run", o->run, "directory of a finished run")->required();
  command->add_option("--prompt", o->prompt, "how the text begins")->capture_default_str();
  command->add_option("--tokens", o->tokens, "how many to add")->check(CLI::Range(1, 1000000))->capture_default_str();
  command->add_option("--temperature", o->temperature, "0: always the likeliest")->check(CLI::Range(0.0, 100.0))->capture_default_str();
  command->add_option("--seed", o->seed, "of the draws")->capture_default_str();
  command->callback([&session, o] {
    if (!is_finished(o->run)) throw Error(Code::usage, "there is no finished run", o->run, "etude run METHOD trains one");
    if (o->prompt.empty()) throw Error(Code::usage, "the prompt is empty", "--prompt", "a model needs something to go on from");
    const Recipe recipe = read_recipe(file::read(o->run + "/recipe.toml"), o->run + "/recipe.toml", {}, "", {}, session.registry);
    const Part part = recipe.options.net.at("model");
    const auto net = std::dynamic_pointer_cast<LanguageModel>(session.registry.net(part).make(part));
    if (!net) throw Error(Code::config, "this run's net makes no text", o->run);
    torch::NoGradGuard no_grad;
    auto parameters = net->named_parameters();
    for (const auto& [name, value] : read_safetensors(o->run + "/model.safetensors").tensors)
      if (name.rfind("model/", 0) == 0)
        if (Tensor* own = parameters.find(name.substr(6))) own->copy_(value);
    const auto tokenizer = byte_tokenizer();
    std::vector<int64_t> ids;
    for (int32_t id : tokenizer->encode(o->prompt)) ids.push_back(id);
    std::cout << o->prompt << std::flush;
    for (int64_t i = 0; i < o->tokens; ++i) {
      const auto from = static_cast<size_t>(std::max<int64_t>(0, static_cast<int64_t>(ids.size()) - net->longest()));
      Ctx ctx;
      const Tensor logits_V = net->logits(torch::tensor(std::vector<int64_t>(ids.begin() + static_cast<int64_t>(from), ids.end())).unsqueeze(0), {}, {}, ctx)[0][-1].to(torch::kFloat64);
      int64_t next = logits_V.argmax().item<int64_t>();
      if (o->temperature > 0) {
        const Tensor cumulative_V = torch::softmax(logits_V / o->temperature, 0).cumsum(0);
        const double u = Rng(Key{static_cast<uint64_t>(o->seed), Purpose::sample, i, 0}).uniform() * cumulative_V[-1].item<double>();
        next = std::min((cumulative_V <= u).sum().item<int64_t>(), net->vocabulary() - 1);
      }
      if (next == tokenizer->document_end()) break;
      ids.push_back(next);
      std::cout << tokenizer->decode({next}) << std::flush;
    }
    std::cout << '\n';
  });
}

}  // namespace etude::cli
