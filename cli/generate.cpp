#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/prompts.h"
#include "cli/trained.h"
#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"
#include "etude/rl/generation.h"

namespace etude::cli {
namespace {

struct Options {
  ModelChoice model{.path = "", .net = "model"};
  std::string prompts_file;
  std::vector<std::string> prompts;
  int64_t samples = 1, batch = 8;
  Sampling sampling;
};

/// A text that is asked for.
struct Wanted {
  Prompt prompt;
  int64_t sample = 0;
};

std::vector<Wanted> wanted(const Options& o) {
  std::vector<Prompt> prompts;
  for (const std::string& text : o.prompts) {
    if (text.empty())
      throw Error(Code::usage, "the prompt is empty", "--prompt", "a model needs something to go on from");
    prompts.push_back({text});
  }
  if (!o.prompts_file.empty())
    for (Prompt& prompt : read_prompts(o.prompts_file)) prompts.push_back(std::move(prompt));
  if (prompts.empty()) prompts = {{"In the beginning"}};
  std::vector<Wanted> all;
  for (const Prompt& prompt : prompts)
    for (int64_t sample = 0; sample < o.samples; ++sample) all.push_back({prompt, sample});
  return all;
}

Request request_for(const Wanted& text, int64_t number, const Sampling& sampling, const TrainedModel& model) {
  Request request{text.prompt.ids, sampling, number};
  if (request.prompt.empty()) {
    if (const auto begin = model.tokenizer->document_begin()) request.prompt.push_back(*begin);
    for (const int32_t id : model.tokenizer->encode(text.prompt.text)) request.prompt.push_back(id);
  }
  request.sampling.end_ids = model.end_ids;
  return request;
}

std::string prompt_text(const Wanted& text, const Tokenizer& tokenizer) {
  return text.prompt.ids.empty() ? text.prompt.text : tokenizer.decode(text.prompt.ids);
}

nlohmann::json as_json(const Wanted& text, const Result& result, const Tokenizer& tokenizer, const Sampling& sampling) {
  nlohmann::json object{{"prompt", printable(prompt_text(text, tokenizer))},
                        {"sample", text.sample},
                        {"text", printable(result.text)},
                        {"ids", result.ids},
                        {"reason", ending_name(result.ending)}};
  if (!sampling.log_probabilities) return object;
  object["log_probabilities"] = result.log_probabilities;
  auto& tokens = object["tokens"] = nlohmann::json::array();
  for (const int64_t id : result.ids) tokens.push_back(printable(tokenizer.token(id)));
  return object;
}

/// Each token with its log-probability, for people.
void show_log_probabilities(const Result& result, const Tokenizer& tokenizer) {
  for (size_t i = 0; i < result.ids.size(); ++i) {
    char number[32];
    std::snprintf(number, sizeof number, "%10.4f", result.log_probabilities[i]);
    std::cout << number << "  " << nlohmann::json(printable(tokenizer.token(result.ids[i]))).dump() << '\n';
  }
}

/// Shows results in the order in which they were asked for, as soon as those before are there. A single text has been
/// shown token by token.
class Teller {
 public:
  Teller(const std::vector<Wanted>& texts, const TrainedModel& model, const Sampling& sampling, bool json)
      : texts_(texts), model_(model), sampling_(sampling), json_(json) {
    if (streams()) std::cout << printable(prompt_text(texts_.front(), *model_.tokenizer)) << std::flush;
  }
  bool token(const Drawn& drawn) {
    if (streams()) std::cout << printable(drawn.text) << std::flush;
    ++tokens_;
    return !interrupted() && std::cout;
  }
  void results(std::vector<Result> some) {
    for (Result& result : some) early_.emplace(result.ticket, std::move(result));
    for (auto it = early_.find(next_); it != early_.end(); it = early_.find(next_)) show_next();
  }
  /// What there is of texts behind one that was never begun.
  void finish() {
    while (!early_.empty()) {
      next_ = early_.begin()->first;
      show_next();
    }
  }
  int64_t tokens() const { return tokens_; }

 private:
  bool streams() const { return !json_ && texts_.size() == 1; }
  void show_next() {
    const Result result = std::move(early_.extract(next_).mapped());
    const Wanted& text = texts_[static_cast<size_t>(next_++)];
    if (json_) {
      std::cout << as_json(text, result, *model_.tokenizer, sampling_).dump() << std::endl;
      return;
    }
    if (!streams()) std::cout << printable(prompt_text(text, *model_.tokenizer) + result.text);
    std::cout << '\n';
    if (sampling_.log_probabilities) show_log_probabilities(result, *model_.tokenizer);
    if (!streams()) std::cout << std::endl;
  }

  const std::vector<Wanted>& texts_;
  const TrainedModel& model_;
  const Sampling& sampling_;
  const bool json_;
  std::map<int64_t, Result> early_;
  int64_t next_ = 0, tokens_ = 0;
};

void note_rate(int64_t tokens, double seconds, int64_t slots) {
  note(std::to_string(tokens) + " tokens in " + human_time(seconds) + ": " +
       human_count(static_cast<double>(tokens) / seconds) + " tokens/s, " + std::to_string(slots) + " at a time");
}

void generate(const Options& o, const Session& session) {
  const std::vector<Wanted> texts = wanted(o);
  const TrainedModel model = open_trained(o.model, session.registry);
  auto* const net = dynamic_cast<LanguageModel*>(model.net.get());
  if (!net)
    throw Error(Code::usage, "the net '" + o.model.net + "' fills gaps in a text, it writes none", o.model.path,
                "choose a run of a decoder");
  const int64_t slots = texts.size() == 1 ? 1 : o.batch;
  Generator generator(*net, *model.tokenizer, slots);
  for (size_t i = 0; i < texts.size(); ++i)
    generator.submit(request_for(texts[i], static_cast<int64_t>(i), o.sampling, model));
  Teller teller(texts, model, o.sampling, session.json);
  const auto begin = std::chrono::steady_clock::now();
  while (!generator.idle()) teller.results(generator.step([&](const Drawn& drawn) { return teller.token(drawn); }));
  teller.finish();
  note_rate(teller.tokens(), std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), slots);
}

void add_sampling(CLI::App& command, Sampling& sampling) {
  command.add_option("--tokens", sampling.tokens, "how many to add, at most")
      ->check(whole(1, 1000000))
      ->capture_default_str();
  command.add_option("--temperature", sampling.temperature, "0: always the likeliest")
      ->check(number(0, 100))
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "draw among so many likeliest tokens; 0: among all")
      ->check(whole(0, 1000000))
      ->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "draw among the fewest that have this probability together")
      ->check(number(0, 1))
      ->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "leave out those below this share of the likeliest's probability")
      ->check(number(0, 1))
      ->capture_default_str();
  command.add_option("--stop", sampling.stop, "text that ends a sequence, and is cut off; may be given again")
      ->check(not_empty())
      ->allow_extra_args(false);
  command.add_option("--seed", sampling.seed, "of the draws")->check(whole(0, INT64_MAX))->capture_default_str();
  command.add_flag("--log-probabilities", sampling.log_probabilities, "show that of each token");
}

}  // namespace

void add_generate(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("generate", "text from what was trained")
                      ->footer(
                          "examples:\n"
                          "  etude generate runs/noloco-noloco/HASH-s0 --prompt \"In the beginning\"\n"
                          "  etude generate RUN --temperature 0 --tokens 500\n"
                          "  etude generate RUN --prompt \"A house\" --samples 4 --top-p 0.9 --stop .\n"
                          "A text longer than the net's length goes on from the last half of that length.");
  auto o = std::make_shared<Options>();
  o->sampling.temperature = 0.8;
  command->add_option("run", o->model.path, "directory of a run, as `etude run` names it, or folder of Hugging Face's")
      ->required();
  command->add_option("--prompt", o->prompts, "how a text begins; may be given again  [In the beginning]")
      ->allow_extra_args(false);
  command
      ->add_option("--prompts", o->prompts_file, "file with a prompt a line, or JSON lines with \"prompt\" or \"ids\"")
      ->check(not_empty());
  command->add_option("--samples", o->samples, "texts for each prompt")
      ->check(whole(1, 1000000))
      ->capture_default_str();
  add_sampling(*command, o->sampling);
  command->add_option("--batch", o->batch, "texts that grow together; rounding aside, none depends on it")
      ->check(whole(1, 4096))
      ->capture_default_str();
  add_weights_choice(*command, o->model);
  command->add_option("--tokenizer", o->model.tokenizer, "bytes, or file or folder of another tokenizer than its own")
      ->check(not_empty());
  command->callback([&session, o] {
    catch_interrupts("");
    generate(*o, session);
    if (interrupted()) session.status = static_cast<int>(Code::interrupted);
  });
}

}  // namespace etude::cli
