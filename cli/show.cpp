#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/commands.h"
#include "etude/base/assets.h"
#include "etude/report/claims.h"

namespace etude::cli {
namespace {

/// Kinds of the techniques that the arms use, with the first place's order.
std::vector<std::string> techniques(const std::vector<Recipe>& recipes) {
  std::vector<std::string> kinds;
  std::set<std::string> seen;
  for (const Recipe& recipe : recipes)
    for (const Part& part : recipe.options.with)
      if (seen.insert(part.kind()).second) kinds.push_back(part.kind());
  return kinds;
}

std::vector<report::Claim> claims(const std::string& slug) {
  const std::string path = "methods/" + slug + "/claims.toml";
  const auto text = asset(path);
  return text ? report::parse_claims(*text, path).claims : std::vector<report::Claim>{};
}

void print_options(const std::vector<OptionInfo>& options) {
  for (const OptionInfo& o : options) {
    std::cout << "    " << padded(o.key, 14) << ' ' << o.type;
    if (!o.fallback.empty()) std::cout << ", default " << o.fallback;
    if (!o.range.empty()) std::cout << ", " << o.range;
    if (!o.when.empty()) std::cout << " (with " << o.when << ")";
    std::cout << "\n" << std::string(19, ' ') << o.help << '\n';
  }
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
  nlohmann::json out = {{"slug", paper.slug},   {"title", paper.title},   {"organisation", paper.organisation},
                        {"arxiv", paper.arxiv}, {"family", paper.family}, {"date", paper.date},
                        {"built", paper.built}};
  for (const Recipe& recipe : recipes) out["arms"].push_back({{"arm", recipe.arm}, {"about", recipe.options.about}});
  for (const std::string& kind : techniques(recipes))
    out["techniques"][kind] = options_json(registry.techniques().at(kind).options);
  for (const report::Claim& claim : claims(paper.slug))
    out["claims"].push_back({{"id", claim.id},
                             {"text", claim.text},
                             {"source", claim.source},
                             {"kind", claim.kind},
                             {"expression", claim.expression}});
  std::cout << out.dump() << '\n';
}

void show_text(const Paper& paper, const std::vector<Recipe>& recipes, const Registry& registry) {
  std::cout << paper.title << '\n';
  if (!paper.organisation.empty()) std::cout << paper.organisation << ", ";
  std::cout << paper.date;
  if (!paper.arxiv.empty()) std::cout << ", https://arxiv.org/abs/" << paper.arxiv;
  std::cout << "\nfamily: " << paper.family << '\n';
  if (!paper.built) {
    std::cout << "\nlisted, but not built yet; etude list built shows those that are\n";
    return;
  }
  std::cout << "\narms\n";
  for (const Recipe& recipe : recipes)
    std::cout << "  " << padded(paper.slug + "/" + recipe.arm, 26) << ' ' << recipe.options.about << '\n';
  const std::vector<std::string> kinds = techniques(recipes);
  if (!kinds.empty()) std::cout << "\noptions: key=value with with.N.KEY, N counting the recipe's techniques from 0\n";
  for (const std::string& kind : kinds) {
    const TechniqueMaker& maker = registry.techniques().at(kind);
    std::cout << "  " << kind << ": " << maker.help << '\n';
    print_options(maker.options);
  }
  if (const auto all = claims(paper.slug); !all.empty()) {
    std::cout << "\nclaims\n";
    for (const report::Claim& claim : all) std::cout << "  " << padded(claim.id, 26) << ' ' << claim.text << '\n';
  }
  std::cout << "\nrun it      etude run " << paper.slug << "\ncompare it  etude compare " << paper.slug
            << "\nchange it   etude eject " << paper.slug << " my.toml\n";
}

}  // namespace

void add_show(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("show", "a method: its paper, arms, options and claims")
                      ->footer("examples:\n  etude show noloco\n  etude --json show noloco");
  auto slug = std::make_shared<std::string>();
  command->add_option("method", *slug, "slug of the method")->required();
  command->callback([&session, slug] {
    const Paper paper = find_paper(slug->substr(0, slug->find('/')));
    std::vector<Recipe> recipes;
    for (const std::string& arm : arms(paper.slug))
      recipes.push_back(builtin_recipe(paper.slug, arm, "", {}, session.registry));
    if (session.json)
      show_json(paper, recipes, session.registry);
    else
      show_text(paper, recipes, session.registry);
  });
}

}  // namespace etude::cli
