// Candidates for the last word of a command line: commands and options as CLI11 knows them, names from the catalogue
// and the registry, keys and values from the resolved recipe, files.

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "cli/completion.h"
#include "etude/base/file.h"
#include "etude/data/sets.h"
#include "etude/optim/optimizer.h"

namespace etude::cli {
namespace {

using Kind = Completion::Kind;
using Candidate = Completion::Candidate;

// ---- the keys of a recipe ---------------------------------------------------------------------------

struct Key {
  std::string help;
  std::vector<std::string> values;  ///< where there are few
};
using Keys = std::map<std::string, Key>;

/// The words of "one of 'a', 'b'".
std::vector<std::string> values_of(const OptionInfo& option) {
  if (option.type == "boolean") return {"true", "false"};
  std::vector<std::string> words;
  if (!option.range.starts_with("one of ")) return words;
  const std::regex quoted("'([^']*)'");
  for (std::sregex_iterator it(option.range.begin(), option.range.end(), quoted), end; it != end; ++it)
    words.push_back((*it)[1]);
  return words;
}

/// "learner.*.clip" for each learner that there is.
std::vector<std::string> expanded(const std::string& key, const Config& recipe) {
  const size_t star = key.find(".*.");
  if (star == std::string::npos) return {key};
  std::vector<std::string> all;
  const Config* list = recipe.find_path(key.substr(0, star));
  for (size_t i = 0; list && list->is_list() && i < list->as_list().size(); ++i)
    for (const std::string& one : expanded(key.substr(0, star + 1) + std::to_string(i) + key.substr(star + 2), recipe))
      all.push_back(one);
  return all;
}

class KeysOf {
 public:
  KeysOf(const Recipe& recipe, const Registry& registry) : recipe_(recipe.resolved) {
    const RecipeOptions& o = recipe.options;
    add("", describe_options<RecipeOptions>());
    part("data", o.data, registry.data_sets());
    for (const auto& [name, net] : o.net) {
      part("net." + name, net, registry.nets());
      keys["net." + name + ".role"] = {"what becomes of its weights", {"trained", "frozen", "follows"}};
    }
    for (size_t i = 0; i < o.learner.size(); ++i) {
      const std::string place = "learner." + std::to_string(i) + ".optimizer";
      keys[place + ".kind"] = {"", optimizer_kinds()};
      add(place + ".", describe_optimizer(complete_optimizer(o.learner[i].optimizer).kind()));
    }
    for (size_t i = 0; i < o.pass.size(); ++i)
      part("pass." + std::to_string(i) + ".objective", o.pass[i].objective, registry.objectives());
    for (size_t i = 0; i < o.with.size(); ++i) part("with." + std::to_string(i), o.with[i], registry.techniques());
  }
  Keys keys = {};

 private:
  void add(const std::string& prefix, const std::vector<OptionInfo>& options) {
    for (const OptionInfo& option : options) {
      const bool has_no_value =
          option.type == "table" || option.type == "part" || option.type.starts_with("list of table");
      if (has_no_value || option.type == "list of part") continue;
      for (const std::string& key : expanded(prefix + option.key, recipe_))
        keys[key] = {option.help, values_of(option)};
    }
  }
  template <class M>
  void part(const std::string& place, const Part& part, const std::map<std::string, M>& makers) {
    Key& kind = keys[place + ".kind"];
    for (const auto& [name, maker] : makers) kind.values.push_back(name);
    if (const auto it = makers.find(part.kind()); it != makers.end()) add(place + ".", it->second.options);
  }
  const Config& recipe_;
};

// ---- names ------------------------------------------------------------------------------------------

std::vector<Candidate> methods(bool with_arms, bool with_unbuilt) {
  std::vector<Candidate> all;
  for (const Paper& paper : catalogue()) {
    if (paper.built || with_unbuilt) all.push_back({paper.slug, paper.title});
    if (!with_arms) continue;
    for (const std::string& arm : arms(paper.slug)) all.push_back({paper.slug + "/" + arm});
  }
  return all;
}

std::vector<Candidate> data_names() {
  std::vector<Candidate> all;
  for (const DataCard& card : data_sets()) all.push_back({"builtin:" + card.name, card.licence});
  for (const NamedSet& set : named_sets()) all.push_back({"set:" + set.name, set.title});
  return all;
}

/// Folders, and files that end so; "" takes all files. What begins with a dot only where that was written.
std::vector<Candidate> paths(const std::string& begun, const std::string& ending, bool files) {
  const size_t slash = begun.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : begun.substr(0, slash + 1);
  const bool hidden = begun.substr(folder.size()).starts_with(".");
  std::vector<Candidate> all;
  for (const std::string& name : file::list(folder.empty() ? "." : folder)) {
    if (name.starts_with(".") != hidden) continue;
    const bool is_folder = file::is_directory(folder + name);
    if (is_folder || (files && name.ends_with(ending))) all.push_back({folder + name + (is_folder ? "/" : "")});
  }
  return all;
}

// ---- the command line -------------------------------------------------------------------------------

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

class Line {
 public:
  Line(const CLI::App& app, const Registry& registry, const std::vector<std::string>& words)
      : app_(app), registry_(registry), last_(words.empty() ? "" : words.back()) {
    for (size_t i = 0; i + 1 < words.size(); ++i) take(words[i]);
  }

  Completion candidates() const {
    Completion all = possible();
    std::erase_if(all.candidates, [&](const Candidate& c) { return !c.word.starts_with(last_); });
    return all;
  }

 private:
  /// A word that is whole.
  void take(const std::string& word) {
    if (pending_) {
      values_[pending_->get_name()] = word;
      pending_ = nullptr;
    } else if (word.starts_with("-")) {
      const size_t equals = word.find('=');
      const CLI::Option* option = find(word.substr(0, equals));
      if (option && equals != std::string::npos)
        values_[option->get_name()] = word.substr(equals + 1);
      else if (option && takes_value(*option))
        pending_ = option;
    } else if (!command_ || !parts(*command_).empty()) {
      const CLI::App* const part = part_called(command_ ? *command_ : app_, word);
      is_lost_ = is_lost_ || !part;
      if (part) command_ = part;
    } else {
      positionals_.push_back(word);
    }
  }

  /// What stands in the help: the commands of a program, the parts of a command.
  static std::vector<const CLI::App*> parts(const CLI::App& of) {
    return of.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); });
  }
  static const CLI::App* part_called(const CLI::App& of, const std::string& name) {
    const auto all = parts(of);
    const auto it = std::find_if(all.begin(), all.end(), [&](const CLI::App* a) { return a->get_name() == name; });
    return it == all.end() ? nullptr : *it;
  }

  /// The command, and what it is a part of up to the program.
  std::vector<const CLI::App*> levels() const {
    std::vector<const CLI::App*> all;
    for (const CLI::App* app = command_ ? command_ : &app_; app; app = app->get_parent()) all.push_back(app);
    return all;
  }

  const CLI::Option* find(const std::string& name) const {
    for (const CLI::App* app : levels())
      if (const CLI::Option* option = app->get_option_no_throw(name)) return option;
    return nullptr;
  }

  Completion possible() const {
    if (is_lost_) return {};
    if (pending_) return of_option(*pending_, last_);
    if (const size_t equals = last_.find('='); last_.starts_with("--") && equals != std::string::npos) {
      const std::string name = last_.substr(0, equals);
      const CLI::Option* option = find(name);
      return option && takes_value(*option) ? behind(name + "=", of_option(*option, last_.substr(equals + 1)))
                                            : Completion();
    }
    if (last_.starts_with("-")) return {Kind::words, options()};
    const CLI::App& at = command_ ? *command_ : app_;
    if (parts(at).empty()) return of_positional();
    Completion all;
    for (const CLI::App* part : parts(at)) all.candidates.push_back({part->get_name(), part->get_description()});
    return all;
  }

  static Completion behind(const std::string& prefix, Completion of) {
    for (Candidate& candidate : of.candidates) candidate.word = prefix + candidate.word;
    return of;
  }

  std::vector<Candidate> options() const {
    std::vector<Candidate> all;
    std::set<std::string> seen;  // --help is there on every level
    for (const CLI::App* app : levels())
      for (const CLI::Option* option : app->get_options())
        for (const std::string& name : option->get_lnames())
          if (seen.insert(name).second) all.push_back({"--" + name, option->get_description()});
    return all;
  }

  Completion of_option(const CLI::Option& option, const std::string& begun) const {
    const std::string name = option.get_name();
    if (name == "--profile") {
      Completion all;
      if (const auto found = recipe(""))
        for (const std::string& profile : found->profiles) all.candidates.push_back({profile});
      return all;
    }
    if (name == "--with") {
      Completion all;
      for (const auto& [kind, maker] : registry_.techniques()) all.candidates.push_back({kind, maker.help});
      return all;
    }
    if (name == "--data") return data(begun);
    if (name == "--net") {
      Completion all;
      if (const auto found = recipe(""))
        for (const auto& [net, part] : found->options.net) all.candidates.push_back({net});
      return all;
    }
    if (name == "--arms") return arm_list(begun);
    static const std::set<std::string> for_paths = {"--out", "--to", "--tokenizer", "--adapter"};
    if (for_paths.count(name)) return {Kind::paths, paths(begun, "", true)};
    return {};
  }

  static Completion data(const std::string& begun) {
    std::vector<Candidate> names = data_names();
    const auto begins = [&](const Candidate& c) { return c.word.starts_with(begun); };
    if (!begun.empty() && std::none_of(names.begin(), names.end(), begins))
      return {Kind::paths, paths(begun, "", true)};
    if (begun.empty())
      for (Candidate& path : paths(begun, "", true)) names.push_back(std::move(path));
    return {Kind::words, std::move(names)};
  }

  /// "noloco,non" may become "noloco,none".
  Completion arm_list(const std::string& begun) const {
    Completion all;
    const std::string done = begun.substr(0, begun.rfind(',') + 1);
    if (!positionals_.empty())
      for (const std::string& arm : arms(positionals_.front())) all.candidates.push_back({done + arm});
    return all;
  }

  /// By the name of the positional argument, which says what it is.
  Completion of_positional() const {
    std::vector<const CLI::Option*> places;
    for (const CLI::Option* option : command_->get_options())
      if (option->get_positional()) places.push_back(option);
    if (places.empty()) return {};
    const std::string name = places[std::min(positionals_.size(), places.size() - 1)]->get_name();
    const bool shows = command_->get_name() == "show";
    if (positionals_.size() >= places.size() && places.back()->get_items_expected_max() < 2) return {};
    if (name == "method") return {Kind::words, methods(command_->get_name() != "compare", shows)};
    if (name == "overrides") return overrides();
    if (name == "recipe") return recipes();
    if (name == "run" || name == "what") return runs(name == "what");
    if (name == "file" || name == "files") return {Kind::paths, paths(last_, "", true)};
    if (name == "shell") return {Kind::words, {{"bash"}, {"zsh"}, {"fish"}}};
    if (name == "name" || name == "names") {
      Completion all;
      for (const NamedSet& set : named_sets()) all.candidates.push_back({set.name, set.title});
      return all;
    }
    return {};
  }

  /// A .toml file; for `check` a method does too.
  Completion recipes() const {
    Completion all{Kind::paths, paths(last_, ".toml", true)};
    if (command_->get_name() != "check") return all;
    const std::vector<Candidate> names = methods(true, false);
    const auto begins = [&](const Candidate& c) { return c.word.starts_with(last_); };
    if (!std::any_of(names.begin(), names.end(), begins)) return all;
    all.kind = Kind::words;
    all.candidates.insert(all.candidates.end(), names.begin(), names.end());
    return all;
  }

  Completion runs(bool or_methods) const {
    Completion all{Kind::paths, paths(last_, "", false)};
    // A folder that holds a run, rather than one on the way to it, is done with.
    for (Candidate& path : all.candidates)
      if (file::exists(path.word + "recipe.toml")) path.word.pop_back();
    if (!or_methods || last_.find('/') != std::string::npos) return all;
    for (Candidate& method : methods(false, false)) all.candidates.push_back(std::move(method));
    return all;
  }

  /// Up to the next dot of a key, or with its '='; behind that, its values.
  Completion overrides() const {
    const auto found = recipe(profile());
    if (!found) return {};
    const Keys keys = KeysOf(*found, registry_).keys;
    if (const size_t equals = last_.find('='); equals != std::string::npos) {
      const std::string key = last_.substr(0, equals);
      if (key == "data.path") return behind("data.path=", data(last_.substr(equals + 1)));
      Completion all;
      if (const auto it = keys.find(key); it != keys.end())
        for (const std::string& value : it->second.values) all.candidates.push_back({key + "=" + value});
      return all;
    }
    Completion all{Kind::beginnings};
    std::set<std::string> seen;
    for (const auto& [key, what] : keys) {
      if (!key.starts_with(last_)) continue;
      const size_t dot = key.find('.', last_.size());
      const bool whole = dot == std::string::npos;
      if (const std::string word = whole ? key + "=" : key.substr(0, dot + 1); seen.insert(word).second)
        all.candidates.push_back({word, whole ? what.help : ""});
    }
    return all;
  }

  std::string profile() const {
    if (const auto it = values_.find("--profile"); it != values_.end()) return it->second;
    const CLI::Option* option = command_->get_option_no_throw("--profile");
    return option ? option->get_default_str() : "";
  }

  /// That the line is about, with what it overrides.
  std::optional<Recipe> recipe(const std::string& profile) const {
    if (positionals_.empty()) return std::nullopt;
    std::string what = positionals_.front();
    const bool is_run = file::exists(what + "/recipe.toml");
    if (is_run) what += "/recipe.toml";
    RecipeChoice choice;
    choice.what = what;
    choice.profile = is_run ? "" : profile;
    for (size_t i = 1; i < positionals_.size(); ++i)
      if (positionals_[i].find('=') != std::string::npos) choice.overrides.push_back(positionals_[i]);
    if (const auto it = values_.find("--with"); it != values_.end()) choice.with = {it->second};
    return chosen_recipe(choice, registry_);
  }

  const CLI::App& app_;
  const CLI::App* command_ = nullptr;
  const Registry& registry_;
  const CLI::Option* pending_ = nullptr;  ///< whose value is still to come
  bool is_lost_ = false;                  ///< a word is none that there is
  std::map<std::string, std::string> values_;
  std::vector<std::string> positionals_;
  std::string last_;
};

}  // namespace

Completion complete(const CLI::App& app, const Registry& registry, const std::vector<std::string>& words) {
  try {
    return Line(app, registry, words).candidates();
  } catch (const std::exception&) {
    return {};  // what is wrong is said when the command is run
  }
}

}  // namespace etude::cli
