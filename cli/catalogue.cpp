#include <algorithm>
#include <filesystem>
#include <regex>

#include "cli/commands.h"
#include "etude/base/assets.h"
#include "etude/base/file.h"

namespace etude::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostBytes = int64_t{16} << 20;

std::string read_recipe_file(const std::string& path) {
  if (!path.empty() && file::exists(path) && file::size(path) > kMostBytes)
    throw Error(Code::config, "this is no recipe: it has " + std::to_string(file::size(path)) + " bytes", path,
                "a recipe is a TOML file of at most 16 MiB");
  if (!file::exists(path))
    throw Error(Code::usage, "there is no recipe '" + path + "'", path,
                "etude eject METHOD/ARM FILE writes one to begin with");
  return file::read(path);
}

/// A profile that the user named but the recipe lacks is a mistake on the command line, not in the recipe.
Recipe with_profile(const std::string& profile, const std::function<Recipe(const std::string&)>& read) {
  if (profile.empty()) return read(profile);
  try {
    return read(profile);
  } catch (const Error& error) {
    if (error.code() != Code::config || !error.message().starts_with("there is no profile")) throw;
    throw Error(Code::usage, error.message(), error.where(), error.hint());
  }
}

/// A method that brought nothing but its folder: what its card says.
Paper unlisted(const std::string& slug) {
  const std::string card(asset("methods/" + slug + "/README.md").value_or(""));
  Paper paper{slug, slug, "", "", "other", "", !arms(slug).empty()};
  if (card.starts_with("# ")) paper.title = card.substr(2, card.find('\n') - 2);
  std::smatch arxiv;
  if (std::regex_search(card, arxiv, std::regex("arxiv\\.org/abs/([0-9.]+[0-9])"))) paper.arxiv = arxiv[1];
  return paper;
}

}  // namespace

std::vector<Paper> catalogue() {
  const auto text = asset("methods/papers.toml");
  ETUDE_CHECK(text.has_value(), "the catalogue is not in the program");
  const Config all = parse_toml(*text, "methods/papers.toml");
  auto string = [](const Config& entry, const char* key) {
    const Config* value = entry.find(key);
    return value && value->is_string() ? value->as_string() : std::string();
  };
  std::vector<Paper> papers;
  for (const Config& entry : all.find("paper")->as_list()) {
    Paper paper{string(entry, "slug"),
                string(entry, "title"),
                string(entry, "organisation"),
                string(entry, "arxiv"),
                string(entry, "family"),
                string(entry, "date"),
                false};
    paper.built = !arms(paper.slug).empty();
    papers.push_back(std::move(paper));
  }
  for (const BuiltMethod& method : built_methods())
    if (std::none_of(papers.begin(), papers.end(), [&](const Paper& paper) { return paper.slug == method.slug; }))
      papers.push_back(unlisted(method.slug));
  return papers;
}

Paper find_paper(const std::string& slug) {
  std::vector<std::string> known;
  for (const Paper& paper : catalogue()) {
    if (paper.slug == slug) return paper;
    known.push_back(paper.slug);
  }
  throw Error(Code::usage, "there is no method '" + slug + "'", "command line",
              did_you_mean(slug, known, "etude list shows all"));
}

Paper find_built(const std::string& slug) {
  const Paper paper = find_paper(slug);
  if (!paper.built)
    throw Error(Code::usage, "'" + slug + "' is listed but not built yet", "command line",
                "etude list built shows those that are");
  return paper;
}

bool is_file_name(const std::string& what) { return what.ends_with(".toml"); }

Recipe find_recipe(const std::string& what, const std::string& profile, const std::vector<std::string>& overrides,
                   const Registry& registry) {
  if (is_file_name(what)) {
    const fs::path path(what);
    const auto sibling = [&](const std::string& name) {
      return read_recipe_file((path.parent_path() / (name + ".toml")).string());
    };
    Recipe recipe = with_profile(profile, [&](const std::string& p) {
      return read_recipe(read_recipe_file(what), what, sibling, p, overrides, registry);
    });
    recipe.method = "own";
    recipe.arm = path.stem().string();
    return recipe;
  }
  const size_t slash = what.find('/');
  const Paper paper = find_built(what.substr(0, slash));
  const std::string arm = slash == std::string::npos ? paper.slug : what.substr(slash + 1);
  return with_profile(profile,
                      [&](const std::string& p) { return builtin_recipe(paper.slug, arm, p, overrides, registry); });
}

}  // namespace etude::cli
