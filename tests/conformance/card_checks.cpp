// Checks of what a method says of itself: its card, its claims, the command lines in them.

#include <stdio.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <utility>

#include "etude/base/assets.h"
#include "etude/comm/rehearsal.h"
#include "etude/report/claims.h"
#include "etude/report/results.h"
#include "tests/conformance/checks.h"

namespace etude::conformance {
namespace {

const std::vector<std::string> kHeadings = {
    "What it does", "Run it",        "Result table", "Your data",
    "Options",      "Composes with", "Cost",         "Differences from the paper"};
constexpr const char* kNoResults = "No comparison is stored yet";

std::string file_of(const std::string& slug, const std::string& name) { return "methods/" + slug + "/" + name; }

/// Errors: Code::config when the program does not carry it.
std::string text_of(const std::string& path) {
  const auto text = asset(path);
  if (!text) throw Error(Code::config, "there is no " + path, path, "CONTRIBUTING.md says what belongs into it");
  return std::string(*text);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// What stands between <!-- name --> and <!-- /name -->.
std::string between(const std::string& card, const std::string& name) {
  const std::string open = "<!-- " + name + " -->\n", close = "<!-- /" + name + " -->";
  const size_t begin = card.find(open), end = card.find(close);
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    throw Error(Code::config, "the card lacks the lines " + open.substr(0, open.size() - 1) + " and " + close);
  return card.substr(begin + open.size(), end - begin - open.size());
}

Problems card(const Papers& p) {
  Problems problems;
  const auto lines = lines_of(p.card);
  if (lines.empty() || !lines[0].starts_with("# ")) problems.push_back("the card does not begin with '# Title'");
  std::vector<std::string> headings;
  for (const std::string& line : lines)
    if (line.starts_with("## ")) headings.push_back(line.substr(3));
  for (size_t i = 0; i < std::max(headings.size(), kHeadings.size()); ++i) {
    const std::string wanted = i < kHeadings.size() ? kHeadings[i] : "(no more)";
    const std::string found = i < headings.size() ? headings[i] : "(no more)";
    if (wanted != found) return {"heading " + std::to_string(i + 1) + " is '" + found + "', expected '" + wanted + "'"};
  }
  for (size_t i = 0; i < lines.size(); ++i)
    if (lines[i].starts_with("## ") && (i + 1 == lines.size() || lines[i + 1].starts_with("## ")))
      problems.push_back("nothing stands under '" + lines[i].substr(3) + "'");
  return problems;
}

/// The card links the paper, the one of the catalogue if the method is in it.
Problems paper(const Papers& p) {
  const Config catalogue = parse_toml(text_of("methods/papers.toml"), "methods/papers.toml");
  for (const Config& entry : catalogue.find("paper")->as_list()) {
    if (entry.find("slug")->as_string() != p.slug) continue;
    const Config* arxiv = entry.find("arxiv");
    if (arxiv && p.card.find("arxiv.org/abs/" + arxiv->as_string()) == std::string::npos)
      return {"the card does not link arxiv.org/abs/" + arxiv->as_string() + ", the paper of methods/papers.toml"};
    return {};
  }
  if (p.card.find("](https://") == std::string::npos) return {"the card does not link its paper"};
  return {};
}

Problems results(const Papers& p) {
  if (!p.results) {
    if (between(p.card, "results").find(kNoResults) != std::string::npos) return {};
    return {"there is no results.json, and the card does not say so: \"" + std::string(kNoResults) + "\""};
  }
  Problems problems;
  const report::Results kept = report::parse_results(*p.results, file_of(p.slug, "results.json"));
  if (report::with_results(p.card, kept, file_of(p.slug, "README.md")) != p.card)
    problems.push_back("the result table is not that of results.json: etude compare " + p.slug + " --record renews it");
  if (kept.claims_sha256 != report::parse_claims(p.claims, file_of(p.slug, "claims.toml")).sha256)
    problems.push_back("results.json was judged by another claims.toml: compare again");
  for (const auto& arm : kept.arms)
    if (std::find(p.arms.begin(), p.arms.end(), arm.name) == p.arms.end())
      problems.push_back("results.json has an arm '" + arm.name + "' that is gone");
  return problems;
}

Problems claims(const Papers& p) {
  const report::Claims read = report::parse_claims(p.claims, file_of(p.slug, "claims.toml"));
  read.check_arms(p.arms);
  for (const report::Experiment& e : read.experiments) {
    Rehearsal::parse(e.inject).resolved(static_cast<int>(e.nproc), 1);
    for (const std::string& arm : e.arms) builtin_recipe(p.slug, arm, "", e.set, everything());
  }
  Problems problems;
  if (read.headline.empty()) problems.push_back("claims.toml names no headline arms");
  if (read.claims.empty()) problems.push_back("claims.toml has no claim");
  return problems;
}

void add_rows(std::string& table, const std::string& family, const std::string& kind,
              const std::vector<OptionInfo>& options) {
  if (options.empty()) return;
  const auto cell = [](const std::string& text) { return std::regex_replace(text, std::regex("\\|"), "\\|"); };
  table += "\n| " + family + " `" + kind + "` | default | range | meaning |\n|---|---|---|---|\n";
  for (const OptionInfo& o : options)
    table += "| " + o.key + " | " + cell(o.fallback) + " | " + cell(o.range) + " | " + cell(o.help) +
             (o.when.empty() ? "" : " (with " + cell(o.when) + ")") + " |\n";
}

/// The tables of all options of what a method registers.
std::string options_tables(const std::string& slug) {
  Registry own;
  for (const BuiltMethod& method : built_methods())
    if (method.slug == slug) method.add(own);
  std::string table;
  for (const auto& [kind, maker] : own.techniques()) add_rows(table, "technique", kind, maker.options);
  for (const auto& [kind, maker] : own.objectives()) add_rows(table, "objective", kind, maker.options);
  for (const auto& [kind, maker] : own.nets()) add_rows(table, "net", kind, maker.options);
  for (const auto& [kind, maker] : own.data_sets()) add_rows(table, "data", kind, maker.options);
  return table.empty() ? table : table.substr(1);
}

Problems card_options(const Papers& p) {
  const std::string expected = options_tables(p.slug);
  if (between(p.card, "options") == expected) return {};
  return {
      "the options of the card are not those of the code; between <!-- options --> and <!-- /options --> belongs\n" +
      expected};
}

Problems commands(const Papers& p) { return check_commands(p.card, file_of(p.slug, "README.md")); }

// ---- command lines ----

/// Words up to a comment; blanks within quotes belong to a word.
std::vector<std::string> words_of(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  for (const char c : command + " ") {
    if (quote ? c == quote : c == '"' || c == '\'')
      quote = quote ? 0 : c;
    else if (quote || c != ' ')
      word += c;
    else if (word == "#")
      break;
    else if (!word.empty())
      words.push_back(std::exchange(word, {}));
  }
  return words;
}

/// Lines that begin with `etude` or `./etude`, and such words between backquotes.
std::vector<std::string> commands_in(const std::string& text) {
  static const std::regex line("^ *(?:\\$ )?(?:\\./)?etude +(.*)"), inline_code("`(?:\\./)?etude +([^`]*)`");
  std::vector<std::string> found;
  for (const std::string& one : lines_of(text)) {
    std::smatch match;
    if (std::regex_search(one, match, line)) found.push_back(match[1]);
    for (std::sregex_iterator it(one.begin(), one.end(), inline_code), end; it != end; ++it) found.push_back((*it)[1]);
  }
  return found;
}

/// What `etude COMMAND --help` says; "" if there is no such command.
const std::string& help_of(const std::string& command) {
  static std::map<std::string, std::string> known;
  const auto [it, fresh] = known.try_emplace(command);
  if (!fresh) return it->second;
  const char* program = std::getenv("ETUDE_BIN");
  if (!program) throw Error(Code::usage, "ETUDE_BIN is not set", "", "run the tests by ctest");
  FILE* out = ::popen(("'" + std::string(program) + "' " + command + " --help 2> /dev/null").c_str(), "r");
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, out)) it->second.append(buffer, n);
  if (::pclose(out) != 0) it->second.clear();
  return it->second;
}

/// The line of help that declares a flag ("  -q,--quiet   ..."); "" if there is none.
std::string declaration(const std::string& help, const std::string& flag) {
  for (const std::string& line : lines_of(help)) {
    std::string names = line.substr(std::min(line.find('-'), line.size()));
    names = names.substr(0, names.find(' ')) + ",";
    if (line.starts_with("  -") && names.find(flag + ",") != std::string::npos) return line;
  }
  return "";
}

/// Whether methods, arms, profile and options of a command exist.
void check_recipe(const std::vector<std::string>& positional, const std::string& profile, Problems& problems) {
  if (positional.empty() || positional[0].ends_with(".toml")) return;
  if (positional[0].find_first_of("abcdefghijklmnopqrstuvwxyz") == std::string::npos) return;  // METHOD
  const std::string method = positional[0].substr(0, positional[0].find('/'));
  const std::string arm =
      positional[0].find('/') == std::string::npos ? method : positional[0].substr(method.size() + 1);
  std::vector<std::string> overrides;
  for (size_t i = 1; i < positional.size(); ++i)
    if (positional[i].find('=') != std::string::npos) overrides.push_back(positional[i]);
  try {
    builtin_recipe(method, arm, profile, overrides, everything());
  } catch (const Error& error) {
    problems.push_back(error.what());
  }
}

Problems check_command(const std::vector<std::string>& words) {
  static const std::set<std::string> of_recipes = {"run", "check", "eject", "compare", "show", "report"};
  Problems problems;
  const std::string& help = help_of(words[0]);
  if (help.empty()) return {"there is no command '" + words[0] + "'"};
  std::vector<std::string> positional;
  std::string profile;
  for (size_t i = 1; i < words.size(); ++i) {
    if (!words[i].starts_with("-")) {
      positional.push_back(words[i]);
      continue;
    }
    const std::string flag = words[i].substr(0, words[i].find('='));
    std::string line = declaration(help, flag);
    if (line.empty()) line = declaration(help_of(""), flag);
    if (line.empty()) problems.push_back("there is no option " + flag);
    static const std::regex takes_value("^  -[a-z,-]+ (TEXT|INT|UINT|FLOAT)");
    if (!std::regex_search(line, takes_value)) continue;
    if (i + 1 == words.size()) {
      problems.push_back(flag + " lacks its value");
      continue;
    }
    ++i;
    if (flag == "--profile") profile = words[i];
  }
  if (of_recipes.count(words[0])) check_recipe(positional, profile, problems);
  return problems;
}

}  // namespace

Problems check_commands(const std::string& text, const std::string& name) {
  Problems problems;
  for (const std::string& command : commands_in(text)) {
    const auto words = words_of(command);
    if (!words.empty()) append(problems, check_command(words), name + ": etude " + command);
  }
  return problems;
}

const std::vector<MethodCheck>& method_checks() {
  static const std::vector<MethodCheck> all = {
      {"card", card},        {"paper", paper}, {"results", results}, {"claims", claims}, {"card_options", card_options},
      {"commands", commands}};
  return all;
}

Papers papers(const std::string& slug) {
  Papers p{slug, text_of(file_of(slug, "README.md")), text_of(file_of(slug, "claims.toml")), std::nullopt, arms(slug)};
  if (const auto stored = asset(file_of(slug, "results.json"))) p.results = std::string(*stored);
  return p;
}

Problems run_method_check(const std::string& id, const Papers& papers) {
  for (const MethodCheck& check : method_checks()) {
    if (check.id != id) continue;
    try {
      return check.run(papers);
    } catch (const std::exception& error) {
      return {error.what()};
    }
  }
  ETUDE_CHECK(false, "no check is called " + id);
}

}  // namespace etude::conformance
