#include "etude/data/sets/store.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/data/sets.h"

namespace etude {
namespace {

using nlohmann::json;

constexpr const char* kDocuments = "documents.jsonl";
constexpr const char* kManifest = "manifest.json";
constexpr int64_t kMostManifest = int64_t{64} << 20;

std::string sets_folder() {
  const std::string cache = cache_directory();
  if (cache.empty())
    throw Error(Code::io, "there is no folder to keep data sets in: HOME is not set", "ETUDE_CACHE",
                "set ETUDE_CACHE to a folder");
  return cache + "/sets";
}

std::string again(const std::string& name) { return "etude data get " + name + " fetches it again"; }

json to_json(const StoredFile& f) { return {{"path", f.path}, {"bytes", f.bytes}, {"sha256", f.sha256}}; }

StoredFile stored_file(const json& j) {
  return {j.at("path").get<std::string>(), j.at("bytes").get<int64_t>(), j.at("sha256").get<std::string>()};
}

json to_json(const SetManifest& m) {
  json packages = json::array(), members = json::array();
  for (const auto& p : m.packages) packages.push_back({{"name", p.name}, {"version", p.version}, {"sha256", p.sha256}});
  for (const StoredFile& f : m.members) members.push_back(to_json(f));
  return {{"format", 1},
          {"name", m.name},
          {"licence", m.licence},
          {"date", m.date},
          {"packages", packages},
          {"content", m.content},
          {"documents", m.documents},
          {"documents_file", to_json(m.documents_file)},
          {"members", members}};
}

SetManifest manifest_of(const json& j) {
  SetManifest m;
  m.name = j.at("name");
  m.licence = j.at("licence");
  m.date = j.at("date");
  m.content = j.at("content");
  m.documents = j.at("documents");
  m.documents_file = stored_file(j.at("documents_file"));
  for (const json& p : j.at("packages")) m.packages.push_back({p.at("name"), p.at("version"), p.at("sha256")});
  for (const json& f : j.at("members")) m.members.push_back(stored_file(f));
  return m;
}

void check_file(const SetManifest& manifest, const StoredFile& wanted) {
  const std::string path = set_folder(manifest.name) + "/" + wanted.path;
  const auto refuse = [&](const std::string& what) {
    throw Error(Code::data,
                "the data set '" + manifest.name + "' (" + manifest.packages_text() + ") is damaged: " + what, path,
                again(manifest.name));
  };
  if (!file::exists(path)) refuse("a file of it is missing");
  if (const int64_t bytes = file::size(path); bytes != wanted.bytes)
    refuse("a file of it has " + std::to_string(bytes) + " bytes in place of " + std::to_string(wanted.bytes));
  if (const std::string found = file::sha256_file(path); found != wanted.sha256)
    refuse("a file of it has SHA-256 " + found + " in place of " + wanted.sha256);
}

/// Members that were written, for the converter.
class FolderMembers : public MemberFiles {
 public:
  FolderMembers(std::string folder, const std::vector<StoredFile>& members) : folder_(std::move(folder)) {
    for (const StoredFile& f : members) paths_.push_back(f.path.substr(f.path.find('/') + 1));
    std::sort(paths_.begin(), paths_.end());
  }
  const std::vector<std::string>& paths() const override { return paths_; }
  std::string read(const std::string& path) const override { return file::read(folder_ + "/files/" + path); }

 private:
  const std::string folder_;
  std::vector<std::string> paths_;
};

/// The document as a line, if it keeps the rules.
std::string line_of(const json& document, const SetDescription& set, std::unordered_set<std::string>& ids) {
  const auto refuse = [&](const std::string& what) {
    throw Error(Code::data, "a document of '" + set.name + "' " + what, "set:" + set.name,
                "its files are not what this version of Etude expects: take the version that etude data show " +
                    set.name + " names");
  };
  const auto text_at = [&](const char* key) -> const std::string& {
    const auto found = document.find(key);
    if (found == document.end() || !found->is_string()) refuse("has no '" + std::string(key) + "'");
    return found->get_ref<const std::string&>();
  };
  const std::string& id = text_at("id");
  const std::string& text = text_at("text");
  if (!ids.insert(id).second) refuse("has the id '" + printable(id) + "', which another one has too");
  if (trim(text).empty()) refuse("('" + printable(id) + "') is empty");
  if (!valid_utf8(text) || text.find('\0') != std::string::npos)
    refuse("('" + printable(id) + "') is no UTF-8 text");
  return document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string SetManifest::packages_text() const {
  std::string text;
  for (const Package& p : packages) text += (text.empty() ? "" : ", ") + p.name + " " + p.version;
  return text.empty() ? "fetched on " + date : text;
}

std::string set_folder(const std::string& name) { return sets_folder() + "/" + name; }

bool is_fetched(const std::string& name) {
  return !cache_directory().empty() && file::exists(set_folder(name) + "/" + kManifest);
}

SetManifest read_manifest(const std::string& name) {
  const std::string path = set_folder(name) + "/" + kManifest;
  if (!file::exists(path))
    throw Error(Code::data, "the data set '" + name + "' was not fetched", "set:" + name,
                "etude data get " + name + " fetches it");
  if (file::size(path) <= kMostManifest) {
    try {
      SetManifest manifest = manifest_of(json::parse(file::read(path)));
      if (manifest.name == name && manifest.documents_file.path == kDocuments) return manifest;
    } catch (const json::exception&) {
      // said below
    }
  }
  throw Error(Code::data, "the manifest of the data set '" + name + "' is damaged", path, again(name));
}

void check_set(const SetManifest& manifest, bool members) {
  check_file(manifest, manifest.documents_file);
  if (!members) return;
  for (const StoredFile& f : manifest.members) check_file(manifest, f);
  if (const std::string found = members_hash(manifest.members); found != manifest.content)
    throw Error(Code::data, "the manifest of '" + manifest.name + "' doesn't agree with itself",
                set_folder(manifest.name) + "/" + kManifest, again(manifest.name));
}

std::string members_hash(const std::vector<StoredFile>& members) {
  std::vector<std::string> lines;
  for (const StoredFile& f : members) lines.push_back(f.path + "\n" + f.sha256);
  std::sort(lines.begin(), lines.end());
  file::Sha256 hash;
  for (const std::string& line : lines) {
    const size_t end = line.find('\n');
    hash.add(line.substr(end + 1) + "  " + line.substr(0, end) + "\n");
  }
  return hash.hex();
}

SetMaker::SetMaker(const SetDescription& set, std::function<void()> look)
    : set_(set), look_(std::move(look)), folder_(sets_folder() + "/.making-" + set.name) {
  file::make_directories(sets_folder());
  lock_ = std::make_unique<file::Lock>(sets_folder() + "/.lock-" + set.name);
  file::remove_all(folder_);
  file::make_directories(folder_ + "/files");
}

SetMaker::~SetMaker() {
  try {
    file::remove_all(folder_);
  } catch (const Error&) {
    // What is left is cleared away when the set is made again.
  }
}

bool SetMaker::wanted(const std::string& path) const {
  return std::any_of(set_.members.begin(), set_.members.end(),
                     [&](const std::string& pattern) { return matches_glob(pattern, path); });
}

void SetMaker::add(const ArchiveMember& member) {
  look_();
  const std::string path = folder_ + "/files/" + member.path;
  if (file::exists(path))
    throw Error(Code::data, "two packages of the set '" + set_.name + "' hold the same file", member.path,
                "data/sets.toml has to tell them apart");
  file::make_directories(path.substr(0, path.rfind('/')));
  // The manifest tells whether a power cut took some of it: no need to wait for the disk with each of thousands.
  file::Writer(path, file::Writer::Mode::create).write(member.bytes);
  members_.push_back({"files/" + member.path, static_cast<int64_t>(member.bytes.size()), file::sha256(member.bytes)});
}

void SetMaker::clear() {
  file::remove_all(folder_ + "/files");
  file::make_directories(folder_ + "/files");
  members_.clear();
}

std::string SetMaker::work_folder() const {
  file::make_directories(folder_ + "/work");
  return folder_ + "/work";
}

void SetMaker::convert(SetManifest& manifest) const {
  file::Writer out(folder_ + "/" + kDocuments, file::Writer::Mode::create);
  file::Sha256 hash;
  std::unordered_set<std::string> ids;
  std::string block;
  const auto flush = [&] {
    look_();
    out.write(block);
    hash.add(block);
    block.clear();
  };
  converter(set_.kind).convert(FolderMembers(folder_, members_), set_, [&](const json& document) {
    block += line_of(document, set_, ids);
    if (block.size() > (1 << 20)) flush();
  });
  flush();
  out.sync();
  manifest.documents = static_cast<int64_t>(ids.size());
  manifest.documents_file = {kDocuments, out.position(), hash.hex()};
  if (ids.empty())
    throw Error(Code::data, "the files of '" + set_.name + "' hold no document", "set:" + set_.name,
                "take the version of the package that etude data show " + set_.name + " names");
}

SetManifest SetMaker::publish(std::vector<SetManifest::Package> packages, const std::string& date) {
  SetManifest manifest;
  manifest.name = set_.name;
  manifest.licence = set_.licence;
  manifest.date = date;
  manifest.packages = std::move(packages);
  std::sort(members_.begin(), members_.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  manifest.members = members_;
  manifest.content = content();
  convert(manifest);
  file::remove_all(folder_ + "/work");
  file::write_atomically(folder_ + "/" + kManifest, to_json(manifest).dump(1) + "\n");
  const std::string place = set_folder(set_.name), old = folder_ + ".old";
  file::remove_all(old);
  if (file::exists(place)) file::rename_durably(place, old);
  file::rename_durably(folder_, place);
  file::remove_all(old);
  return manifest;
}

bool remove_set(const std::string& name) {
  const std::string place = set_folder(name);
  if (!file::exists(place)) return false;
  const file::Lock lock(sets_folder() + "/.lock-" + name);
  const std::string gone = sets_folder() + "/.making-" + name + ".old";
  file::remove_all(gone);
  file::rename_durably(place, gone);
  file::remove_all(gone);
  return true;
}

}  // namespace etude
