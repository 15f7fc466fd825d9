#include "cli/verdicts.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "etude/base/assets.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/report/html.h"
#include "etude/report/table.h"

namespace etude::cli {
namespace {

namespace fs = std::filesystem;

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &utc)};
}

/// Each different value once: runs of one comparison may come from several machines or commits.
void join(std::string& all, const std::string& one) {
  if (one.empty() || (", " + all + ", ").find(", " + one + ", ") != std::string::npos) return;
  all += (all.empty() ? "" : ", ") + one;
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

bool utf8_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (std::string value = variable(name); !value.empty()) {
      std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::tolower(c); });
      return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
    }
  return false;
}

report::TableStyle table_style() {
  constexpr int kPipeWidth = 120, kLeast = 40;
  const bool terminal = isatty(STDOUT_FILENO) == 1, dumb = variable("TERM") == "dumb";
  winsize size{};
  const bool known = terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {.width = std::max<int>(known ? size.ws_col : kPipeWidth, kLeast),
          .unicode = utf8_locale() && !dumb,
          .colour = terminal && !dumb && variable("NO_COLOR").empty()};
}

/// Quoted for a shell where that is needed.
std::string shell_word(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_-+=.,:/%@").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Names in run files are someone else's: what may be in the name of a file.
std::string file_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') c = '-';
  return text.empty() ? "runs" : text;
}

std::string report_path(const report::Comparison& c, const std::string& out) {
  std::string name = c.profile;
  if (c.runs.size() == 1 && c.verdicts.empty()) name += "-" + c.runs[0].arm + "-s" + std::to_string(c.runs[0].seed);
  return out + "/" + file_name(c.method) + "-report/" + file_name(name) + ".html";
}

const Simulation& find_simulation(const Registry& registry, const std::string& kind, const std::string& method) {
  const auto found = registry.simulations().find(kind);
  if (found != registry.simulations().end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [name, simulation] : registry.simulations()) known.push_back(name);
  throw Error(Code::config, "there is no simulation '" + kind + "'", "methods/" + method + "/claims.toml",
              did_you_mean(kind, known, "the method's register function names those that there are"));
}

}  // namespace

report::Claims read_claims(const std::string& slug) {
  const std::string path = "methods/" + slug + "/claims.toml";
  const auto text = asset(path);
  if (!text) return {};
  report::Claims claims = report::parse_claims(*text, path);
  claims.check_arms(arms(slug));
  return claims;
}

std::vector<std::string> default_arms(const report::Claims& claims) {
  std::vector<std::string> names = claims.arms();
  for (const std::string& arm : claims.experiment_arms()) names.push_back(arm);
  return names;
}

ArmRecipe arm_recipe(const std::string& slug, const std::string& arm, const report::Claims& claims,
                     const std::string& profile, const std::vector<std::string>& overrides, const std::string& out,
                     const Registry& registry) {
  const report::Experiment* const experiment = claims.experiment(arm);
  std::vector<std::string> all = experiment ? experiment->set : std::vector<std::string>{};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const std::string name = experiment ? std::string(report::ordinary_arm(arm)) : arm;
  return {find_recipe(slug + "/" + name, profile, all, registry), experiment ? out + "/" + experiment->folder() : out};
}

std::string compare_command(const std::string& slug, const std::string& profile, int64_t seeds,
                            const std::vector<std::string>& arms, const std::vector<std::string>& overrides) {
  std::string command = "etude compare " + slug + " --profile " + profile + " --seeds " + std::to_string(seeds);
  std::string names;
  for (const std::string& arm : arms) names += (names.empty() ? "" : ",") + arm;
  if (!names.empty()) command += " --arms " + names;
  for (const std::string& word : overrides) command += " " + shell_word(word);
  return command;
}

report::Comparison compared(const std::string& method, const std::string& profile, const std::vector<std::string>& arms,
                            std::vector<report::RunRecord> runs, const Registry& registry) {
  report::Comparison c;
  c.method = method;
  c.profile = profile;
  c.claims = read_claims(method);
  c.date = today();
  for (const Paper& paper : catalogue()) {
    if (paper.slug != method) continue;
    c.title = paper.title;
    c.paper = {paper.title, paper.arxiv, paper.date, paper.organisation};
  }
  std::vector<std::string> names = arms;
  for (const report::RunRecord& run : runs) {
    if (std::find(names.begin(), names.end(), run.arm) == names.end()) names.push_back(run.arm);
    join(c.commit, run.commit);
    join(c.machine.processor, run.machine.processor);
    join(c.machine.isa, run.machine.isa);
    join(c.machine.libtorch, run.machine.libtorch);
    c.machine.threads = std::max(c.machine.threads, run.machine.threads);
  }
  const std::vector<std::string> known = etude::arms(method);
  for (const std::string& name : names) {
    const bool ours = std::find(known.begin(), known.end(), name) != known.end();
    c.arms.push_back({name, ours ? find_recipe(method + "/" + name, "", {}, registry).options.about : ""});
  }
  c.runs = std::move(runs);
  c.verdicts = report::judge_all(c.claims, c.runs, profile);
  for (size_t i = 0; i < c.verdicts.size(); ++i)
    if (const std::string& kind = c.claims.claims[i].simulation; !kind.empty())
      c.verdicts[i].simulation = find_simulation(registry, kind, method).run(0);
  return c;
}

report::Comparison alone(report::Comparison c) {
  c.claims.claims.clear();
  c.claims.experiments.clear();
  c.verdicts.clear();
  return c;
}

void tell(const report::Comparison& c, const std::string& out, const Session& session) {
  const report::Results results = report::summarise(c);
  const std::string path = report_path(c, out);
  if (!session.json) {
    const report::TableStyle style = table_style();
    if (!results.arms.empty()) std::cout << '\n' << report::arms_text(results, style) << '\n';
    if (!results.experiments.empty()) std::cout << report::experiments_text(results.experiments, style) << '\n';
    if (!results.verdicts.empty()) std::cout << report::verdicts_text(results.verdicts, style) << '\n';
    std::cout << std::flush;
  }
  report::write_html(path, c);
  if (session.json) {
    auto line = nlohmann::ordered_json::parse(report::to_json(results));
    line["event"] = "result";
    line["report"] = path;
    std::cout << line.dump() << std::endl;
  } else {
    std::cout << "report: " << path << std::endl;
  }
}

std::string checkout_folder(const std::string& slug) {
  const fs::path here = fs::current_path();
  const std::string claims = "methods/" + slug + "/claims.toml";
  fs::path top = here;
  while (!(file::exists((top / claims).string()) && file::exists((top / "CMakeLists.txt").string()))) {
    if (top == top.root_path())
      throw Error(Code::usage, "there is no checkout of Etude around '" + here.string() + "' to store results in",
                  "--record", "run it in the repository's folder, or leave --record out");
    top = top.parent_path();
  }
  if (file::sha256(file::read((top / claims).string())) != read_claims(slug).sha256)
    throw Error(Code::usage, "the claims there are not those that this program was built with", (top / claims).string(),
                "build again: verdicts are stored with the claims that they are about");
  return (top / "methods" / slug).string();
}

void record(const report::Comparison& c) {
  const std::string folder = checkout_folder(c.method), card = folder + "/README.md";
  const report::Results results = report::summarise(c);
  const std::string renewed = report::with_results(file::read(card), results, card);
  report::write_results(folder + "/results.json", results);
  file::write_atomically(card, renewed);
  inform("recorded: " + folder + "/results.json and the table of its README.md");
}

}  // namespace etude::cli
