#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "etude/base/assets.h"
#include "etude/base/file.h"
#include "etude/base/log.h"

namespace etude::cli {
namespace {

std::atomic<int> interrupts{0};

void on_interrupt(int) {
  if (++interrupts > 1) _exit(130);
}

std::string with_unit(double x, double step, const char* const* units, int n) {
  int unit = 0;
  while (std::abs(x) >= step && unit + 1 < n) {
    x /= step;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, std::abs(x) < 10 && unit > 0 ? "%.1f%s" : "%.0f%s", x, units[unit]);
  return text;
}

}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
}
bool interrupted() { return interrupts > 0; }

std::string human_time(double s) {
  char text[32];
  if (s < 60) std::snprintf(text, sizeof text, s < 10 ? "%.1f s" : "%.0f s", s);
  else if (s < 3600) std::snprintf(text, sizeof text, "%.0f min %.0f s", std::floor(s / 60), std::fmod(s, 60));
  else std::snprintf(text, sizeof text, "%.0f h %.0f min", std::floor(s / 3600), std::fmod(s, 3600) / 60);
  return text;
}

std::string human_bytes(double bytes) {
  static const char* const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  return with_unit(bytes, 1024, units, 5);
}

std::string human_count(double count) {
  static const char* const units[] = {"", "k", "M", "G", "T", "P"};
  return with_unit(count, 1000, units, 6);
}

std::vector<Paper> catalogue() {
  const auto text = asset("methods/papers.toml");
  ETUDE_CHECK(text.has_value(), "the catalogue is not in the binary");
  std::vector<Paper> papers;
  const Config all = parse_toml(*text, "papers.toml");
  auto string = [](const Config& entry, const char* key) {
    const Config* value = entry.find(key);
    return value && value->is_string() ? value->as_string() : std::string();
  };
  for (const Config& entry : all.find("paper")->as_list()) {
    Paper paper{string(entry, "slug"), string(entry, "title"), string(entry, "arxiv"), string(entry, "family"), string(entry, "date"), false};
    paper.built = !arms(paper.slug).empty();
    papers.push_back(std::move(paper));
  }
  return papers;
}

Paper find_paper(const std::string& slug) {
  std::vector<std::string> known;
  for (const Paper& paper : catalogue()) {
    if (paper.slug == slug) return paper;
    known.push_back(paper.slug);
  }
  throw Error(Code::usage, "there is no method '" + slug + "'", "", did_you_mean(slug, known, "etude list shows all"));
}

Recipe find_recipe(const std::string& what, const std::string& profile, const std::vector<std::string>& overrides, const Registry& registry) {
  if (what.ends_with(".toml")) {
    namespace fs = std::filesystem;
    const fs::path path(what);
    auto load = [&](const std::string& file_name) {
      if (!file::exists(file_name)) throw Error(Code::usage, "there is no recipe", file_name, "etude eject METHOD/ARM writes one to begin with");
      return file::read(file_name);
    };
    Recipe recipe = read_recipe(load(what), what, [&](const std::string& name) { return load((path.parent_path() / (name + ".toml")).string()); }, profile, overrides, registry);
    recipe.method = "own";
    recipe.arm = path.stem().string();
    return recipe;
  }
  const size_t slash = what.find('/');
  const Paper paper = find_paper(what.substr(0, slash));
  if (!paper.built) throw Error(Code::usage, "'" + paper.slug + "' is listed but not built yet", "", "etude list shows which are");
  return builtin_recipe(paper.slug, slash == std::string::npos ? paper.slug : what.substr(slash + 1), profile, overrides, registry);
}

int run_and_tell(const Recipe& recipe, Session& session, RunSettings settings) {
  catch_interrupts();
  settings.interrupted = interrupted;
  LiveLine live;
  settings.progress = [&](const Progress& p) {
    const double done = p.counters[p.stop.unit];
    if (session.json) {
      std::cout << nlohmann::json{{"event", "progress"}, {"arm", recipe.arm}, {"seed", recipe.options.seed}, {"step", p.counters.step()}, {"done", done}, {"of", p.stop.amount}, {"loss", p.loss}, {"eta_seconds", p.seconds_left}}.dump() << std::endl;
      return;
    }
    char text[200];
    std::snprintf(text, sizeof text, "%s %.0f/%.0f %s | loss %.4f | %.1f ms/step | %s tokens/s | data %.1f%% | ETA %s", recipe.arm.c_str(), done, p.stop.amount, std::string(unit_name(p.stop.unit)).c_str(), p.loss, p.step_seconds * 1e3,
                  human_count(p.counters[Unit::tokens] / std::max(1e-9, p.counters[Unit::seconds])).c_str(), p.wait_fraction * 100, human_time(p.seconds_left).c_str());
    live.show(text);
  };
  const Outcome outcome = run_recipe(recipe, session.registry, settings);
  live.finish();
  if (session.json) {
    nlohmann::json values = nlohmann::json::object();
    for (const auto& [name, value] : outcome.values) values[name] = value;
    std::cout << nlohmann::json{{"event", outcome.finished ? "finished" : "interrupted"}, {"directory", outcome.directory}, {"values", values}}.dump() << std::endl;
  } else if (outcome.finished) {
    if (outcome.was_finished) inform("this run is finished already; nothing was trained (--fresh begins anew)");
    for (const auto& [name, value] : outcome.values)
      if (name.rfind("valid/", 0) == 0 || name.rfind("averaged/", 0) == 0 || name.rfind("noloco/", 0) == 0) std::cout << name << " = " << value << '\n';
    std::cout << "run: " << outcome.directory << '\n';
  }
  if (!outcome.finished) {
    inform("interrupted and saved in " + outcome.directory + "; the same command goes on from there");
    return static_cast<int>(Code::interrupted);
  }
  return 0;
}

}  // namespace etude::cli
