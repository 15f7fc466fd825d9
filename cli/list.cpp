#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "etude/base/text.h"

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

nlohmann::json to_json(const Paper& paper) {
  return {{"slug", paper.slug},   {"title", paper.title},   {"organisation", paper.organisation},
          {"arxiv", paper.arxiv}, {"family", paper.family}, {"date", paper.date},
          {"built", paper.built}};
}

void list(const std::vector<std::string>& words, const Session& session) {
  std::vector<Paper> papers = catalogue();
  std::erase_if(papers, [&](const Paper& paper) { return !matches(paper, words); });
  const auto unbuilt = std::stable_partition(papers.begin(), papers.end(), [](const auto& p) { return p.built; });
  if (session.json) {
    for (const Paper& paper : papers) std::cout << to_json(paper).dump() << '\n';
    return;
  }
  if (papers.empty()) {
    std::cout << "no paper has all of these words; etude list shows every one\n";
    return;
  }
  const int width = output_width();
  for (const Paper& paper : papers) {
    const std::string line = (paper.built ? "* " : "  ") + padded(paper.slug, 16) + ' ' + padded(paper.family, 10) +
                             ' ' + paper.date.substr(0, 7) + "  " + paper.title;
    std::cout << (width > 0 ? fitted(line, width) : line) << '\n';
  }
  std::cout << '\n'
            << papers.size() << (papers.size() == 1 ? " paper, " : " papers, ") << unbuilt - papers.begin()
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
  command->add_option("words", *words,
                      "only papers that have all of these in title, slug, organisation, family, date or arXiv number");
  command->callback([&session, words] { list(*words, session); });
}

}  // namespace etude::cli
