// Options that several commands have, and checks of their values.

#include <charconv>
#include <cmath>

#include "cli/commands.h"
#include "etude/base/text.h"

namespace etude::cli {

CLI::Validator whole(int64_t low, int64_t high) {
  const std::string range =
      high == INT64_MAX ? std::to_string(low) + " or more" : std::to_string(low) + " to " + std::to_string(high);
  return CLI::Validator(
      [=](std::string& text) {
        int64_t value = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        if (error == std::errc() && stop == end && value >= low && value <= high) return std::string();
        return "'" + text + "' is no whole number of " + range;
      },
      range);
}

CLI::Validator number(double low, double high) {
  const std::string range = plain_number(low) + " to " + plain_number(high);
  return CLI::Validator(
      [=](std::string& text) {
        double value = 0;
        if (parse_number(text, value) && value >= low && value <= high) return std::string();
        return "'" + text + "' is no number from " + range;
      },
      range);
}

CLI::Validator not_empty() {
  return CLI::Validator([](std::string& text) { return text.empty() ? std::string("it is empty") : std::string(); },
                        "");
}

void add_own_data(CLI::App& command, OwnData& own) {
  command.add_option("--data", own.path, "file or folder of texts, or set:NAME: short for data.path=...")
      ->check(not_empty());
  command
      .add_option("--tokenizer", own.tokenizer,
                  "bytes, a tokenizer.json, .model or vocab.txt, or its folder: short for data.tokenizer=...")
      ->check(not_empty());
}

std::vector<std::string> overrides_of(const OwnData& own) {
  std::vector<std::string> overrides;
  if (!own.path.empty()) overrides.push_back("data.path=" + to_toml_value(Config(own.path)));
  if (own.tokenizer == "bytes") overrides.push_back("data.tokenizer={kind = \"bytes\"}");
  if (!own.tokenizer.empty() && own.tokenizer != "bytes")
    overrides.push_back("data.tokenizer={kind = \"file\", path = " + to_toml_value(Config(own.tokenizer)) + "}");
  return overrides;
}

void add_choice(CLI::App& command, RecipeChoice& choice) {
  command.add_option("overrides", choice.overrides, "key=value of the recipe, for example learner.0.clip=0.5");
  add_own_data(command, choice.own);
  command.add_option("--with", choice.with, "a technique more, by its kind; its options: with.N.key=value")
      ->allow_extra_args(false);
  command.add_option("--device", choice.device, "cpu, cuda, cuda:1, ...: short for device=...")->check(not_empty());
}

/// The overrides with what --data, --tokenizer, --with and --device stand for; those that the user wrote come last.
Recipe chosen_recipe(const RecipeChoice& choice, const Registry& registry) {
  std::vector<std::string> all = overrides_of(choice.own);
  if (!choice.with.empty()) {
    std::vector<std::string> known;
    for (const auto& [kind, maker] : registry.techniques()) known.push_back(kind);
    size_t at = find_recipe(choice.what, choice.profile, {}, registry).options.with.size();
    for (const std::string& kind : choice.with) {
      if (!registry.techniques().count(kind))
        throw Error(Code::usage, "there is no technique '" + kind + "'", "--with", did_you_mean(kind, known));
      const std::string part = "{kind = " + to_toml_value(Config(kind)) + "}";
      all.push_back(at == 0 ? "with=[" + part + "]" : "with." + std::to_string(at) + "=" + part);
      ++at;
    }
  }
  if (!choice.device.empty()) all.push_back("device=" + to_toml_value(Config(choice.device)));
  all.insert(all.end(), choice.overrides.begin(), choice.overrides.end());
  return find_recipe(choice.what, choice.profile, all, registry);
}

}  // namespace etude::cli
