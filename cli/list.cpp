#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace etude::cli {

void add_list(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("list", "the papers, by title, words, family, date")->footer("examples:\n  etude list\n  etude list low-communication\n  etude --json list speech");
  auto words = std::make_shared<std::vector<std::string>>();
  command->add_option("words", *words, "only papers that contain all of these words");
  command->callback([&session, words] {
    auto lower = [](std::string s) {
      std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
      return s;
    };
    size_t shown = 0, built = 0;
    for (const Paper& paper : catalogue()) {
      const std::string all = lower(paper.slug + " " + paper.title + " " + paper.family + " " + paper.date);
      if (!std::all_of(words->begin(), words->end(), [&](const auto& w) { return all.find(lower(w)) != std::string::npos; })) continue;
      ++shown;
      built += paper.built;
      if (session.json) {
        std::cout << nlohmann::json{{"slug", paper.slug}, {"title", paper.title}, {"arxiv", paper.arxiv}, {"family", paper.family}, {"date", paper.date}, {"built", paper.built}}.dump() << '\n';
        continue;
      }
      std::cout << (paper.built ? "* " : "  ") << paper.slug << std::string(paper.slug.size() < 23 ? 23 - paper.slug.size() : 1, ' ') << paper.title << '\n';
    }
    if (!session.json) std::cout << '\n' << shown << " papers, " << built << " built (*)\n";
  });
}

}  // namespace etude::cli
