#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/fetch.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/data/sets.h"
#include "etude/data/sets/store.h"

namespace etude::cli {
namespace {

using nlohmann::json;

/// `get --small` leaves out what takes more than this to fetch, and what has to be asked of the archive anew.
constexpr int64_t kSmall = int64_t{10} << 20;

/// What list and show tell of a set, whether it is built in or fetched.
struct Entry {
  std::string name, title, licence, use;
  int64_t documents = 0, bytes = 0, packed = 0;
  bool built_in = false, fetched = false;
};

std::vector<Entry> entries() {
  std::vector<Entry> all;
  for (const DataCard& card : data_sets())
    all.push_back({card.name, card.origin.substr(0, card.origin.find(" (")), card.licence, "builtin:" + card.name,
                   card.records, card.bytes, 0, true, true});
  for (const SetDescription& set : set_descriptions())
    all.push_back({set.name, set.title, set.licence, "set:" + set.name, set.documents, set.bytes, set.packed_bytes(),
                   false, is_fetched(set.name)});
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return all;
}

json to_json(const Entry& e) {
  return {{"name", e.name},           {"title", e.title},     {"licence", e.licence},
          {"documents", e.documents}, {"bytes", e.bytes},     {"download_bytes", e.packed},
          {"built_in", e.built_in},   {"fetched", e.fetched}, {"use", e.use}};
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

bool matches(const Entry& e, const std::vector<std::string>& words) {
  const std::string all = lower(e.name + " " + e.title + " " + e.licence + (e.built_in ? " built-in" : "") +
                                (e.fetched && !e.built_in ? " fetched" : ""));
  return std::all_of(words.begin(), words.end(), [&](const auto& w) { return all.find(lower(w)) != all.npos; });
}

void list(const std::vector<std::string>& words, const Session& session) {
  std::vector<Entry> all = entries();
  std::erase_if(all, [&](const Entry& e) { return !matches(e, words); });
  if (session.json) {
    for (const Entry& e : all) std::cout << to_json(e).dump() << '\n';
    return;
  }
  if (all.empty()) {
    std::cout << "no set has all of these words; etude data list shows every one\n";
    return;
  }
  const int width = output_width();
  for (const Entry& e : all) {
    const std::string documents = e.documents > 0 ? human_count(static_cast<double>(e.documents)) : "?";
    const std::string size = e.bytes > 0 ? human_bytes(static_cast<double>(e.bytes)) : "?";
    const std::string line = (e.built_in  ? "+ "
                              : e.fetched ? "* "
                                          : "  ") +
                             padded(e.name, 19) + ' ' + padded(documents, 6) + ' ' + padded(size, 8) + ' ' +
                             padded(fitted(e.licence, 22), 22) + ' ' + e.title;
    std::cout << (width > 0 ? fitted(line, width) : line) << '\n';
  }
  std::cout << "\nname, documents, their size, licence; + built in, * fetched; etude data show NAME says more\n";
}

/// A built-in set by name, if it is one.
std::optional<DataCard> built_in(const std::string& name) {
  for (const DataCard& card : data_sets())
    if (card.name == name) return card;
  return std::nullopt;
}

/// "set:kjv" and "builtin:web" are understood too.
std::string plain_name(const std::string& name) {
  for (const std::string_view prefix : {"set:", "builtin:"})
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return name;
}

/// The set, with built-in names among those that are suggested. Errors: Code::usage.
const SetDescription& find_set(const std::string& name) {
  for (const SetDescription& set : set_descriptions())
    if (set.name == name) return set;
  std::vector<std::string> names;
  for (const Entry& e : entries()) names.push_back(e.name);
  throw Error(Code::usage, "there is no data set '" + name + "'", "etude data",
              did_you_mean(name, names, "etude data list shows them all"));
}

void row(const std::string& label, const std::string& text) {
  if (!text.empty()) std::cout << "  " << padded(label, 11) << wrapped(text, 13) << '\n';
}

void show_built_in(const DataCard& card, const Session& session) {
  if (session.json) {
    std::cout << json{{"name", card.name},     {"licence", card.licence},      {"origin", card.origin},
                      {"sha256", card.sha256}, {"bytes", card.bytes},          {"documents", card.records},
                      {"built_in", true},      {"use", "builtin:" + card.name}}
                     .dump()
              << '\n';
    return;
  }
  std::cout << card.name << ": built in\n\n";
  row("origin", card.origin);
  row("licence", card.licence);
  row("size", std::to_string(card.records) + " records, " + human_bytes(static_cast<double>(card.bytes)));
  row("SHA-256", card.sha256);
  row("use", "--data builtin:" + card.name);
}

json to_json(const SetDescription& set) {
  json packages = json::array();
  for (const SetPackage& p : set.packages)
    packages.push_back({{"name", p.name}, {"version", p.version}, {"sha256", p.sha256}, {"bytes", p.bytes}});
  json all = {{"name", set.name},        {"title", set.title},     {"licence", set.licence},
              {"terms", set.terms},      {"about", set.about},     {"split", set.split},
              {"packages", packages},    {"members", set.members}, {"documents", set.documents},
              {"bytes", set.bytes},      {"built_in", false},      {"fetched", is_fetched(set.name)},
              {"use", "set:" + set.name}};
  if (is_fetched(set.name)) {
    const SetManifest manifest = read_manifest(set.name);
    all["path"] = set_folder(set.name) + "/" + manifest.documents_file.path;
    all["sha256"] = manifest.documents_file.sha256;
    all["date"] = manifest.date;
    all["taken"] = manifest.packages_text();
    all["documents"] = manifest.documents;
    all["bytes"] = manifest.documents_file.bytes;
  }
  return all;
}

std::string origin_of(const SetDescription& set) {
  switch (set.source) {
    case SetDescription::Source::indexes:
      return "the indexes of Debian's archive, main part, as they are on the day";
    case SetDescription::Source::status:
      return "the list of packages that are installed on this machine";
    case SetDescription::Source::packages:
      break;
  }
  return "Debian 12, " + human_bytes(static_cast<double>(set.packed_bytes())) + " to fetch";
}

void show(const std::string& given, const Session& session) {
  const std::string name = plain_name(given);
  if (const auto card = built_in(name)) return show_built_in(*card, session);
  const SetDescription& set = find_set(name);
  if (session.json) {
    std::cout << to_json(set).dump() << '\n';
    return;
  }
  std::cout << set.name << ": " << set.title << "\n\n";
  row("about", set.about);
  row("licence", set.licence);
  row("terms", set.terms);
  row("split", set.split);
  row("origin", origin_of(set));
  for (const SetPackage& p : set.packages)
    row("package",
        p.name + " " + p.version + ", " + human_bytes(static_cast<double>(p.bytes)) + ", SHA-256 " + p.sha256);
  if (set.documents > 0)
    row("size", std::to_string(set.documents) + " documents, " + human_bytes(static_cast<double>(set.bytes)));
  if (!is_fetched(set.name)) {
    std::cout << "\nnot fetched: etude data get " << set.name << '\n';
    return;
  }
  const SetManifest manifest = read_manifest(set.name);
  std::cout << '\n';
  row("fetched", manifest.date + ", " + manifest.packages_text());
  row("documents", std::to_string(manifest.documents) + ", " +
                       human_bytes(static_cast<double>(manifest.documents_file.bytes)) + ", SHA-256 " +
                       manifest.documents_file.sha256);
  row("path", set_folder(set.name) + "/" + manifest.documents_file.path);
  row("use", "--data set:" + set.name);
}

struct GetOptions {
  std::vector<std::string> names;
  bool small = false;
  FetchOptions fetch;
};

/// What is there and whole already is left as it is, unless another version was asked for.
bool is_whole(const SetDescription& set) {
  if (!is_fetched(set.name)) return false;
  try {
    const SetManifest manifest = read_manifest(set.name);
    check_set(manifest, true);
    return set.content.empty() || manifest.content == set.content;
  } catch (const Error& error) {
    if (error.code() != Code::data) throw;
    inform(error.message() + ": it is fetched again");
    return false;
  }
}

void tell_fetched(const SetDescription& set, const SetManifest& manifest, const Session& session) {
  if (set.source == SetDescription::Source::packages && set.documents > 0 && manifest.content == set.content &&
      manifest.documents != set.documents)
    warn("'" + set.name + "' has " + std::to_string(manifest.documents) + " documents; " +
         std::to_string(set.documents) + " were expected");
  if (session.json) {
    std::cout << to_json(set).dump() << std::endl;
    return;
  }
  std::cout << padded(set.name, 19) << ' ' << manifest.documents << " documents, "
            << human_bytes(static_cast<double>(manifest.documents_file.bytes)) << "  (" << set.licence << ")"
            << std::endl;
  if (!set.terms.empty()) std::cout << std::string(20, ' ') << wrapped(set.terms, 20) << std::endl;
}

void get(const GetOptions& o, const Session& session) {
  std::vector<const SetDescription*> wanted;
  for (const std::string& given : o.names) {
    const std::string name = plain_name(given);
    if (built_in(name))
      inform("'" + name + "' is built in: --data builtin:" + name);
    else
      wanted.push_back(&find_set(name));
  }
  if (o.small)
    for (const SetDescription& set : set_descriptions())
      if (set.source == SetDescription::Source::packages && set.packed_bytes() <= kSmall) wanted.push_back(&set);
  if (o.names.empty() && !o.small)
    throw Error(Code::usage, "no set is named", "etude data get", "etude data get NAME, or --small for all small ones");
  if (!o.fetch.debs.empty() && !file::is_directory(o.fetch.debs))
    throw Error(Code::usage, "there is no folder '" + o.fetch.debs + "'", "--debs",
                "give a folder that holds .deb files");
  catch_interrupts("\nleaving; what is not whole is cleared away\n");
  for (const SetDescription* set : wanted) {
    if (is_whole(*set) && set->source == SetDescription::Source::packages && !o.fetch.any_version) {
      tell_fetched(*set, read_manifest(set->name), session);
      continue;
    }
    LiveLine live;
    const SetManifest manifest = fetch_set(*set, o.fetch, [&](const std::string& what) { live.show(what); });
    live.show("");
    tell_fetched(*set, manifest, session);
  }
}

void path(const std::string& given, const Session& session) {
  const std::string name = plain_name(given);
  if (built_in(name))
    throw Error(Code::usage, "'" + name + "' is built in and has no path", "etude data path",
                "use it as --data builtin:" + name);
  const std::string found = fetched_set(find_set(name).name);
  std::cout << (session.json ? json{{"name", name}, {"path", found}}.dump() : found) << '\n';
}

void remove(const std::vector<std::string>& names, const Session& session) {
  for (const std::string& given : names) {
    const std::string name = plain_name(given);
    const bool there = remove_set(find_set(name).name);
    if (session.json)
      std::cout << json{{"name", name}, {"removed", there}}.dump() << '\n';
    else
      std::cout << name << (there ? " is removed\n" : " was not fetched\n");
  }
}

}  // namespace

void add_data(CLI::App& app, Session& session) {
  auto* data = app.add_subcommand("data", "sets of real data: what there is, and fetching it")
                   ->footer(
                       "examples:\n"
                       "  etude data list\n"
                       "  etude data show kjv\n"
                       "  etude data get kjv fortunes\n"
                       "  etude run noloco --data set:kjv");
  data->require_subcommand(1);

  auto* list_command = data->add_subcommand("list", "the sets: name, documents, size, licence, title");
  auto words = std::make_shared<std::vector<std::string>>();
  list_command->add_option("words", *words, "only sets that have all of these in name, title or licence");
  list_command->callback([&session, words] { list(*words, session); });

  auto* show_command = data->add_subcommand("show", "everything about one: licence, terms, origin, hashes, use");
  auto name = std::make_shared<std::string>();
  show_command->add_option("name", *name, "NAME")->required();
  show_command->callback([&session, name] { show(*name, session); });

  auto* get_command = data->add_subcommand("get", "fetch sets from Debian's archive; needs no root")
                          ->footer(
                              "Files are taken from packages that are installed, else from the archive, and checked.\n"
                              "ETUDE_CACHE names another folder to keep them in than ~/.cache/etude.");
  auto o = std::make_shared<GetOptions>();
  get_command->add_option("names", o->names, "NAME...");
  get_command->add_flag("--small", o->small, "all sets that take at most 10 MiB to fetch");
  get_command->add_flag("--any-version", o->fetch.any_version, "take packages of other versions or hashes too");
  get_command->add_option("--debs", o->fetch.debs, "a folder with .deb files, in place of the archive")
      ->check(not_empty());
  get_command->add_option("--apt-sources", o->fetch.sources, "a sources.list in place of the system's")
      ->check(not_empty());
  get_command->callback([&session, o] { get(*o, session); });

  auto* path_command = data->add_subcommand("path", "where the documents of a fetched set are");
  path_command->add_option("name", *name, "NAME")->required();
  path_command->callback([&session, name] { path(*name, session); });

  auto* remove_command = data->add_subcommand("remove", "remove fetched sets");
  auto names = std::make_shared<std::vector<std::string>>();
  remove_command->add_option("names", *names, "NAME...")->required();
  remove_command->callback([&session, names] { remove(*names, session); });
}

}  // namespace etude::cli
