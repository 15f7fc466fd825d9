#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/commands.h"
#include "etude/base/assets.h"
#include "etude/optim/optimizer.h"
#include "etude/report/claims.h"

namespace etude::cli {
namespace {

constexpr int kWidth = 80;

struct Options {
  std::string what, profile = "small";
  std::vector<std::string> overrides;
  bool keys = false;
};

/// Kinds of the techniques that the arms use, in the order in which arms first use them.
std::vector<std::string> techniques(const std::vector<Recipe>& recipes) {
  std::vector<std::string> kinds;
  std::set<std::string> seen;
  for (const Recipe& recipe : recipes)
    for (const Part& part : recipe.options.with)
      if (seen.insert(part.kind()).second) kinds.push_back(part.kind());
  return kinds;
}

report::Claims claims(const std::string& slug) {
  const std::string path = "methods/" + slug + "/claims.toml";
  const auto text = asset(path);
  return text ? report::parse_claims(*text, path) : report::Claims{};
}

/// The first paragraph of the card's "What it does".
std::string what_it_does(const std::string& slug) {
  const std::string card(asset("methods/" + slug + "/README.md").value_or(""));
  const std::string heading = "## What it does\n";
  const size_t at = card.find(heading);
  if (at == std::string::npos) return "";
  const size_t begin = card.find_first_not_of('\n', at + heading.size());
  std::string text = card.substr(begin, card.find("\n\n", begin) - begin);
  std::erase_if(text, [](char c) { return c == '*' || c == '`'; });
  return text;
}

void print_option(const OptionInfo& o, const std::string& prefix) {
  std::cout << "    " << padded(prefix + o.key, 14) << ' ' << o.type;
  if (!o.fallback.empty()) std::cout << ", default " << o.fallback;
  if (!o.range.empty()) std::cout << ", " << o.range;
  if (!o.when.empty()) std::cout << " (with " << o.when << ")";
  std::cout << '\n';
  if (!o.help.empty()) std::cout << std::string(19, ' ') << wrapped(o.help, 19, kWidth) << '\n';
}

void print_options(const std::string& title, const std::string& help, const std::vector<OptionInfo>& options,
                   const std::string& prefix = "") {
  std::cout << "  " << wrapped(help.empty() ? title : title + ": " + help, 4, kWidth - 2) << '\n';
  for (const OptionInfo& o : options) print_option(o, prefix);
}

nlohmann::json options_json(const std::vector<OptionInfo>& options) {
  nlohmann::json all = nlohmann::json::array();
  for (const OptionInfo& o : options)
    all.push_back({{"key", o.key},
                   {"type", o.type},
                   {"default", o.fallback},
                   {"range", o.range},
                   {"help", o.help},
                   {"when", o.when}});
  return all;
}

void show_json(const Paper& paper, const std::vector<Recipe>& recipes, const Registry& registry) {
  nlohmann::json out = {{"slug", paper.slug},
                        {"title", paper.title},
                        {"organisation", paper.organisation},
                        {"arxiv", paper.arxiv},
                        {"family", paper.family},
                        {"date", paper.date},
                        {"built", paper.built},
                        {"about", what_it_does(paper.slug)}};
  for (const Recipe& recipe : recipes) out["arms"].push_back({{"arm", recipe.arm}, {"about", recipe.options.about}});
  for (const std::string& kind : techniques(recipes))
    out["techniques"][kind] = options_json(registry.techniques().at(kind).options);
  const report::Claims said = claims(paper.slug);
  for (const report::Claim& claim : said.claims)
    out["claims"].push_back({{"id", claim.id},
                             {"text", claim.text},
                             {"source", claim.source},
                             {"kind", claim.kind},
                             {"expression", claim.expression}});
  for (const report::Experiment& e : said.experiments)
    out["experiments"].push_back(
        {{"id", e.id}, {"about", e.about}, {"arms", e.arms}, {"nproc", e.nproc}, {"inject", e.inject}, {"set", e.set}});
  std::cout << out.dump() << '\n';
}

void show_text(const Paper& paper, const std::vector<Recipe>& recipes, const Registry& registry) {
  std::cout << wrapped(paper.title, 0, kWidth) << '\n';
  for (const std::string& part : {paper.organisation, paper.date})
    if (!part.empty()) std::cout << part << ", ";
  if (!paper.arxiv.empty()) std::cout << "https://arxiv.org/abs/" << paper.arxiv;
  std::cout << "\nfamily: " << paper.family << '\n';
  if (!paper.built) {
    std::cout << "\nlisted, but not built yet; etude list built shows those that are\n";
    return;
  }
  if (const std::string about = what_it_does(paper.slug); !about.empty())
    std::cout << '\n' << wrapped(about, 0, kWidth) << '\n';
  std::cout << "\narms\n";
  for (const Recipe& recipe : recipes)
    std::cout << "  " << padded(paper.slug + "/" + recipe.arm, 24) << ' ' << wrapped(recipe.options.about, 27, kWidth)
              << '\n';
  const std::vector<std::string> kinds = techniques(recipes);
  if (!kinds.empty())
    std::cout << "\noptions: with.N.KEY=value on the command line, where N counts the recipe's\n"
                 "techniques from 0; --keys lists the keys of all recipes\n";
  for (const std::string& kind : kinds)
    print_options(kind, registry.techniques().at(kind).help, registry.techniques().at(kind).options);
  const report::Claims said = claims(paper.slug);
  if (!said.experiments.empty()) std::cout << "\nexperiments: arms over ranks\n";
  for (const report::Experiment& e : said.experiments) {
    std::string text = e.about + ":";
    for (const std::string& arm : e.arms) text += " " + arm + "@" + e.id;
    std::cout << "  " << padded(e.id, 24) << ' ' << wrapped(text, 27, kWidth) << '\n';
  }
  if (!said.claims.empty()) std::cout << "\nclaims\n";
  for (const report::Claim& claim : said.claims)
    std::cout << "  " << claim.id << "\n      " << wrapped(claim.text, 6, kWidth) << '\n';
  std::cout << "\nrun it      etude run " << paper.slug << "\ncompare it  etude compare " << paper.slug
            << " --plan\nits recipe  etude show " << paper.slug << '/' << recipes.front().arm
            << "\nchange it   etude eject " << paper.slug << " my.toml\n";
}

/// A value of a recipe and where it comes from.
struct Setting {
  std::string key, value, origin;
};

/// "_base.toml:3:1" for a recipe of the program.
std::string short_origin(const Recipe& recipe, const std::string& origin) {
  const std::string folder = "methods/" + recipe.method + "/arms/";
  return origin.starts_with(folder) ? origin.substr(folder.size()) : origin;
}

std::vector<Setting> settings_of(const Recipe& recipe) {
  std::vector<Setting> settings;
  for (const Change& leaf : difference(Config::table(), recipe.resolved)) {
    const Config* written = recipe.written.find_path(leaf.key);
    settings.push_back({leaf.key, leaf.after, written ? written->origin.text() : "default"});
  }
  return settings;
}

/// The resolved recipe of an arm: every value with its origin.
void show_recipe(const Options& o, const Session& session) {
  const Recipe recipe = find_recipe(o.what, o.profile, o.overrides, session.registry);
  const std::vector<Setting> settings = settings_of(recipe);
  if (session.json) {
    nlohmann::json out = {{"method", recipe.method},
                          {"arm", recipe.arm},
                          {"profile", recipe.profile},
                          {"about", recipe.options.about},
                          {"recipe_hash", recipe.hash()}};
    for (const Setting& s : settings)
      out["settings"].push_back({{"key", s.key}, {"value", s.value}, {"origin", s.origin}});
    std::cout << out.dump() << '\n';
    return;
  }
  std::cout << recipe.method << '/' << recipe.arm << ", profile " << recipe.profile << ": " << recipe.options.about
            << "\n\n";
  for (const Setting& s : settings)
    std::cout << padded(padded(s.key, 28) + " = " + s.value, 54) << "  # " << short_origin(recipe, s.origin) << '\n';
  std::cout << "\nchange one  etude run " << o.what << " KEY=VALUE\nexplained   etude show " << recipe.method
            << " --keys\n";
}

/// Every key that a recipe may have.
void show_keys(const Session& session) {
  const Registry& registry = session.registry;
  print_options("recipe", "the keys of a recipe, and of its tables", describe_options<RecipeOptions>());
  for (const auto& [kind, maker] : registry.data_sets()) print_options("data = " + kind, maker.help, maker.options);
  for (const auto& [kind, maker] : registry.nets()) print_options("net.NAME = " + kind, maker.help, maker.options);
  for (const auto& [kind, maker] : registry.objectives())
    print_options("pass.N.objective = " + kind, maker.help, maker.options);
  for (const std::string& kind : optimizer_kinds())
    print_options("learner.N.optimizer = " + kind, "", describe_optimizer(kind));
  for (const auto& [kind, maker] : registry.techniques()) print_options("with.N = " + kind, maker.help, maker.options);
}

void show(const Options& o, const Session& session) {
  const size_t slash = o.what.find('/');
  const Paper paper = find_paper(o.what.substr(0, slash));
  if (o.keys) return show_keys(session);
  if (slash != std::string::npos) return show_recipe(o, session);
  std::vector<Recipe> recipes;
  for (const std::string& arm : arms(paper.slug))
    recipes.push_back(builtin_recipe(paper.slug, arm, "", {}, session.registry));
  if (session.json)
    show_json(paper, recipes, session.registry);
  else
    show_text(paper, recipes, session.registry);
}

}  // namespace

void add_show(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("show", "a method: its paper, arms, options and claims; or an arm's recipe")
                      ->footer(
                          "examples:\n"
                          "  etude show noloco\n"
                          "  etude show noloco/diloco --profile smoke with.0.every=4\n"
                          "  etude show noloco --keys\n"
                          "  etude --json show noloco");
  auto o = std::make_shared<Options>();
  command->add_option("method", o->what, "METHOD; or METHOD/ARM for its recipe, each value with where it comes from")
      ->required();
  command->add_option("overrides", o->overrides, "key=value of the recipe");
  command->add_option("--profile", o->profile, "size of the recipe")->capture_default_str();
  command->add_flag("--keys", o->keys, "all keys that a recipe may have: type, default, range, meaning");
  command->callback([&session, o] { show(*o, session); });
}

}  // namespace etude::cli
