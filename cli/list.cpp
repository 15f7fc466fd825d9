#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace etude::cli {
namespace {

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool matches(const Paper& paper, const std::vector<std::string>& words) {
  const std::string all = lower(paper.slug + " " + paper.title + " " + paper.organisation + " " + paper.family + " " +
                                paper.date + " " + paper.arxiv + (paper.built ? " built" : ""));
  return std::all_of(words.begin(), words.end(),
                     [&](const auto& w) { return all.find(lower(w)) != std::string::npos; });
}

void list(const std::vector<std::string>& words, const Session& session) {
  int shown = 0, built = 0;
  for (const Paper& paper : catalogue()) {
    if (!matches(paper, words)) continue;
    ++shown;
    built += paper.built;
    if (session.json)
      std::cout
          << nlohmann::json{{"slug", paper.slug},   {"title", paper.title},   {"organisation", paper.organisation},
                            {"arxiv", paper.arxiv}, {"family", paper.family}, {"date", paper.date},
                            {"built", paper.built}}
                 .dump()
          << '\n';
    else
      std::cout << (paper.built ? "* " : "  ") << padded(paper.slug, 22) << ' ' << padded(paper.family, 10) << ' '
                << paper.date.substr(0, 4) << "  " << paper.title << '\n';
  }
  if (session.json) return;
  if (shown == 0)
    std::cout << "no paper has all of these words; etude list shows every one\n";
  else
    std::cout << '\n'
              << shown << (shown == 1 ? " paper, " : " papers, ") << built
              << " built (*); etude show METHOD says more\n";
}

}  // namespace

void add_list(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("list", "the papers, by title, words, family, date")
                      ->footer(
                          "examples:\n"
                          "  etude list\n"
                          "  etude list built\n"
                          "  etude list sync 2025\n"
                          "  etude --json list vision");
  auto words = std::make_shared<std::vector<std::string>>();
  command->add_option("words", *words, "only papers that contain all of these");
  command->callback([&session, words] { list(*words, session); });
}

}  // namespace etude::cli
