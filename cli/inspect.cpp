#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/inspection.h"
#include "etude/base/json_cursor.h"
#include "etude/base/text.h"

namespace etude::cli {
namespace {

constexpr size_t kShownLines = 60;

struct Options {
  std::vector<std::string> files;
  bool all = false;
};

nlohmann::json to_json(const Inspection& found) {
  nlohmann::json groups = nlohmann::json::array(), facts = nlohmann::json::object();
  int64_t tensors = 0, values = 0;
  for (const TensorGroup& group : found.tensors.all()) {
    groups.push_back({{"name", group.name},
                      {"dtype", group.dtype},
                      {"shape", group.shape},
                      {"count", group.count},
                      {"values", group.values}});
    tensors += group.count;
    values += group.values;
  }
  for (const auto& [name, value] : found.facts) facts[name] = value;
  nlohmann::json json = {{"path", found.path},
                         {"format", found.format},
                         {"bytes", found.bytes},
                         {"facts", facts},
                         {"tensors", tensors},
                         {"values", values},
                         {"dtypes", found.dtypes},
                         {"tensor_shapes", groups},
                         {"metadata", found.metadata},
                         {"verified", found.verified},
                         {"checked", found.checked},
                         {"problem", nullptr},
                         {"parts", nlohmann::json::array()}};
  if (found.problem) {
    json["problem"] = {{"code", code_name(found.problem->code())},
                       {"what", found.problem->message()},
                       {"where", found.problem->where()},
                       {"hint", found.problem->hint()}};
  }
  for (const Inspection& part : found.parts) json["parts"].push_back(to_json(part));
  return json;
}

class Teller {
 public:
  explicit Teller(bool all) : all_(all) {}

  void tell(const Inspection& found, int indent = 0) {
    indent_ = std::string(static_cast<size_t>(indent), ' ');
    std::cout << indent_ << printable(found.path) << '\n';
    indent_ += "  ";
    line("format", found.format + (found.bytes > 0 ? ", " + human_bytes(static_cast<double>(found.bytes)) : ""));
    for (const auto& [name, value] : found.facts) {
      line(name, value.is_string() ? shortened(value.get<std::string>()) : value.dump());
    }
    tell_tensors(found);
    if (found.problem) {
      line("problem", found.problem->message() + " (" + found.problem->where() + ")");
      if (!found.problem->hint().empty()) line("hint", found.problem->hint());
    } else if (found.parts.empty()) {
      line(found.verified ? "verified" : "not verified", found.checked);
    }
    for (const Inspection& part : found.parts) tell(part, indent + 2);
  }

 private:
  void line(const std::string& name, const std::string& text) const {
    std::cout << indent_ << padded(name, 14) << printable(text) << '\n';
  }

  /// Shows at most so many lines of a list, unless all are wanted.
  bool left_out(size_t shown, size_t of) const {
    if (all_ || shown < kShownLines || of == shown) return false;
    line("", "and " + std::to_string(of - shown) + " more; --all shows them");
    return true;
  }

  void tell_tensors(const Inspection& found) const {
    const std::vector<TensorGroup>& groups = found.tensors.all();
    size_t shown = 0;
    for (const auto& [key, value] : found.metadata) {
      if (left_out(shown, found.metadata.size())) break;
      line(shown++ == 0 ? "metadata" : "", shortened(key) + " = " + shortened(value));
    }
    if (groups.empty()) return;
    int64_t tensors = 0, values = 0;
    for (const TensorGroup& group : groups) {
      tensors += group.count;
      values += group.values;
    }
    std::string types;
    for (const auto& [dtype, count] : found.dtypes)
      types += (types.empty() ? "" : ", ") + std::to_string(count) + " " + dtype;
    line("tensors",
         std::to_string(tensors) + " (" + types + "), " + human_count(static_cast<double>(values)) + " values");
    int width = 0;
    const size_t most = all_ ? groups.size() : std::min(kShownLines, groups.size());
    for (size_t i = 0; i < most; ++i) width = std::max(width, columns(shortened(groups[i].name)));
    shown = 0;
    for (const TensorGroup& group : groups) {
      if (left_out(shown, groups.size())) break;
      std::cout << indent_ << "  " << group_line(group, width) << '\n';
      ++shown;
    }
  }

  bool all_;
  std::string indent_;
};

void inspect_all(const Options& o, Session& session) {
  for (const std::string& path : o.files) {
    const Inspection found = inspect(path);
    if (session.json) {
      std::cout << to_json(found).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    } else {
      Teller(o.all).tell(found);
    }
    const Error* const problem = found.first_problem();
    if (problem && session.status == 0) session.status = problem->exit_code();
  }
}

}  // namespace

void add_inspect(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("inspect", "what is in a checkpoint, token or tokenizer file, and whether it is whole")
          ->footer(
              "examples:\n"
              "  etude inspect model.safetensors\n"
              "  etude inspect runs/noloco-noloco/*/checkpoints/step-*\n"
              "  etude --json inspect ~/models/my-model\n"
              "Known are .safetensors files and their indexes, checkpoints, runs, artifacts, token caches, .bin\n"
              "and .npy token files, tokenizers, config.json, and folders of models. 'verified' means that\n"
              "every byte was compared with a stored hash. Exit code 0 only if nothing is damaged. Nothing is\n"
              "changed.");
  auto o = std::make_shared<Options>();
  command->add_option("files", o->files, "files or folders")->required();
  command->add_flag("--all", o->all, "every line, however many");
  command->callback([&session, o] { inspect_all(*o, session); });
}

}  // namespace etude::cli
