#include "etude/nn/peft_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

using nlohmann::json;

constexpr size_t kLargest = size_t{1} << 20;  // bytes of a config; none comes near
constexpr int kDeepest = 32;

/// One setting of the file. Errors: Code::checkpoint.
class Settings {
 public:
  Settings(json object, std::string file) : object_(std::move(object)), file_(std::move(file)) {}

  bool truth(const char* key) const { return number_or<bool>(key, false, &json::is_boolean, "true or false"); }
  int64_t whole(const char* key, int64_t fallback) const {
    return number_or<int64_t>(key, fallback, &json::is_number_integer, "a whole number");
  }
  double number(const char* key, double fallback) const {
    return number_or<double>(key, fallback, &json::is_number, "a number");
  }
  std::string text(const char* key) const {
    const json& value = at(key);
    return value.is_string() ? value.get<std::string>() : "";
  }
  /// Errors unless the key is left out, null, false, empty, or one of `harmless`.
  void refuse(const char* key, const std::vector<json>& harmless = {}) const {
    const json& value = at(key);
    const bool off = value.is_null() || value == false || (value.is_structured() && value.empty());
    if (!off && std::find(harmless.begin(), harmless.end(), value) == harmless.end())
      fail(key, "which is not supported", "adapters of plain LoRA on linear layers can be read");
  }
  [[noreturn]] void fail(const char* key, const std::string& why, const std::string& hint) const {
    std::string shown = printable(at(key).dump(-1, ' ', true));
    if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
    throw Error(Code::checkpoint, std::string(key) + " = " + shown + ", " + why, file_, hint);
  }

 private:
  const json& at(const char* key) const {
    static const json none;
    const auto found = object_.find(key);
    return found == object_.end() ? none : *found;
  }
  template <class T>
  T number_or(const char* key, T fallback, bool (json::*is)() const noexcept, const char* wanted) const {
    const json& value = at(key);
    if (value.is_null()) return fallback;
    if (!(value.*is)()) fail(key, std::string("where ") + wanted + " is wanted", "the file is damaged");
    return value.get<T>();
  }

  json object_;
  std::string file_;
};

json parsed(std::string_view text, const std::string& file) {
  const auto refuse = [&](const std::string& why) {
    return Error(Code::checkpoint, "the adapter's config " + why, file, "PEFT writes it beside the weights");
  };
  if (text.size() > kLargest) throw refuse("is larger than 1 MiB");
  bool too_deep = false;
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kDeepest;
    return !too_deep;
  };
  const json object = json::parse(text, shallow, false);
  if (too_deep) throw refuse("is nested too deeply");
  if (object.is_discarded()) throw refuse("is no JSON");
  if (!object.is_object()) throw refuse("is no JSON object");
  return object;
}

}  // namespace

PeftConfig parse_peft_config(std::string_view text, const std::string& file) {
  const Settings settings(parsed(text, file), file);
  if (settings.text("peft_type") != "LORA")
    settings.fail("peft_type", "which is no LoRA", "adapters of plain LoRA on linear layers can be read");
  for (const char* key : {"use_dora", "use_qalora", "use_bdlora", "lora_bias", "rank_pattern", "alpha_pattern",
                          "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication",
                          "alora_invocation_tokens", "arrow_config", "corda_config", "kasa_config", "loftq_config",
                          "lora_ga_config", "megatron_config", "monteclora_config", "velora_config"})
    settings.refuse(key);
  settings.refuse("bias", {"none"});
  settings.refuse("init_lora_weights", {true, "gaussian", "orthogonal"});
  PeftConfig config;
  config.rank = settings.whole("r", 8);
  if (config.rank < 1 || config.rank > 1 << 16) settings.fail("r", "outside 1 to 65536", "the file is damaged");
  config.alpha = settings.number("lora_alpha", 8);
  if (!std::isfinite(config.alpha)) settings.fail("lora_alpha", "which is not finite", "the file is damaged");
  config.dropout = settings.number("lora_dropout", 0);
  if (!(config.dropout >= 0 && config.dropout < 1))
    settings.fail("lora_dropout", "outside 0 to 1", "the file is damaged");
  config.rslora = settings.truth("use_rslora");
  config.fan_in_fan_out = settings.truth("fan_in_fan_out");
  config.base = settings.text("base_model_name_or_path");
  return config;
}

std::string to_peft_config(const PeftConfig& config) {
  json object{{"peft_type", "LORA"},
              {"task_type", "CAUSAL_LM"},
              {"inference_mode", true},
              {"r", config.rank},
              {"lora_alpha", config.alpha},
              {"lora_dropout", config.dropout},
              {"use_rslora", config.rslora},
              {"fan_in_fan_out", config.fan_in_fan_out},
              {"target_modules", config.targets},
              {"bias", "none"},
              {"init_lora_weights", true},
              {"base_model_name_or_path", nullptr}};
  if (!config.base.empty()) object["base_model_name_or_path"] = config.base;
  if (config.alpha == std::floor(config.alpha) && std::fabs(config.alpha) < 1e15)
    object["lora_alpha"] = static_cast<int64_t>(config.alpha);
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace etude
