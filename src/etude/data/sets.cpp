#include "etude/data/sets.h"

#include <algorithm>
#include <cstdlib>

#include "etude/base/assets.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/data/sets/store.h"

namespace etude {

std::vector<DataCard> data_sets() {
  // What data/NAME.md tells; data/make_NAME.py makes the same bytes again.
  DataCard web;
  web.name = "web";
  web.licence = "Public Domain";
  web.origin = "World English Bible (https://ebible.org/web/), Debian package sword-text-web 426.0-1";
  web.sha256 = "52c48493f9896c27e18c0f5e8e1ffb4672b8c40b15495aab83032527b03f5633";
  web.bytes = 4020880;
  web.records = 31095;
  return {web};
}

std::string_view builtin_text(const std::string& name) {
  const std::vector<DataCard> sets = data_sets();
  const auto card = std::find_if(sets.begin(), sets.end(), [&](const DataCard& c) { return c.name == name; });
  if (card == sets.end()) {
    std::vector<std::string> names;
    for (const DataCard& c : sets) names.push_back(c.name);
    throw Error(Code::data, "there is no built-in text '" + name + "'", "data.path",
                did_you_mean(name, names, "there is builtin:web"));
  }
  const auto text = asset("data/" + name + ".txt");
  const std::string found = text ? file::sha256(*text) : "none";
  if (found != card->sha256) {
    throw Error(Code::data, "the built-in text '" + name + "' has SHA-256 " + found + " in place of " + card->sha256,
                "builtin:" + name,
                "the program is damaged, or was built from a changed data/" + name + ".txt: build it again");
  }
  return *text;
}

std::vector<NamedSet> named_sets() {
  std::vector<NamedSet> sets;
  for (const SetDescription& set : set_descriptions()) {
    sets.push_back({set.name, set.title, set.licence});
  }
  return sets;
}

std::string cache_directory() {
  const auto set = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (const std::string own = set("ETUDE_CACHE"); !own.empty()) return own;
  if (const std::string user = set("XDG_CACHE_HOME"); user.starts_with('/')) return user + "/etude";
  if (const std::string home = set("HOME"); !home.empty()) return home + "/.cache/etude";
  return "";
}

std::string fetched_set(const std::string& name) {
  const SetDescription& set = set_description(name);
  const SetManifest manifest = read_manifest(set.name);
  check_set(manifest, false);
  return set_folder(set.name) + "/" + manifest.documents_file.path;
}

}  // namespace etude
