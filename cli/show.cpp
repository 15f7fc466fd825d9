#include <iostream>

#include "cli/commands.h"

namespace etude::cli {
namespace {

void print_options(const std::vector<OptionInfo>& options) {
  for (const OptionInfo& o : options)
    std::cout << "    " << o.key << " (" << o.type << (o.fallback.empty() ? "" : ", default " + o.fallback) << (o.range.empty() ? "" : ", " + o.range) << "): " << o.help << '\n';
}

}  // namespace

void add_show(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("show", "a method: its paper, arms and options")->footer("examples:\n  etude show noloco\n  etude list");
  auto slug = std::make_shared<std::string>();
  command->add_option("method", *slug, "slug of the method")->required();
  command->callback([&session, slug] {
    const Paper paper = find_paper(*slug);
    std::cout << paper.title << "\narXiv " << paper.arxiv << (paper.date.empty() ? "" : ", " + paper.date) << ", family " << paper.family << "\n\n";
    if (!paper.built) {
      std::cout << "not built yet\n";
      return;
    }
    std::cout << "arms:\n";
    std::set<std::string> kinds;
    for (const std::string& arm : arms(paper.slug)) {
      const Recipe recipe = builtin_recipe(paper.slug, arm, "", {}, session.registry);
      std::cout << "  " << paper.slug << "/" << arm << ": " << recipe.options.about << '\n';
      for (const Part& part : recipe.options.with) kinds.insert(part.kind());
    }
    for (const std::string& kind : kinds) {
      const TechniqueMaker& maker = session.registry.techniques().at(kind);
      std::cout << "\ntechnique " << kind << ": " << maker.help << '\n';
      print_options(maker.options);
    }
    std::cout << "\nrun it: etude run " << paper.slug << "\ncompare: etude compare " << paper.slug << '\n';
  });
}

}  // namespace etude::cli
