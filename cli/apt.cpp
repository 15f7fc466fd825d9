#include "cli/apt.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>

#include "cli/process.h"
#include "etude/base/text.h"
#include "etude/data/sets.h"

namespace etude::cli {
namespace {

constexpr const char* kNoApt =
    "data sets come from Debian's archive through apt: on another system, give a folder that holds the .deb files that "
    "etude data show NAME lists: --debs FOLDER";

/// Clears what a system's settings may hold for all users: hooks that would run on every update, and lists of
/// languages, which are ours to choose.
constexpr const char* kSettings =
    "#clear APT::Update::Pre-Invoke;\n"
    "#clear APT::Update::Post-Invoke;\n"
    "#clear APT::Update::Post-Invoke-Success;\n"
    "#clear Acquire::Languages;\n";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::vector<std::string> columns_of(const std::string& line) {
  std::vector<std::string> columns;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('|', begin), line.size());
    columns.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return columns;
}

/// The first line in which apt says what went wrong.
std::string first_complaint(const std::string& errors) {
  for (const char* mark : {"E: ", "W: "})
    for (const std::string& line : lines_of(errors))
      if (line.starts_with(mark) && line.find("unsandboxed") == std::string::npos)
        return std::string(trim(printable(line.substr(3))));
  return "";
}

}  // namespace

AptArchive::AptArchive(const std::string& languages, const std::string& sources, std::function<void()> meanwhile)
    : languages_(languages), meanwhile_(std::move(meanwhile)) {
  // apt is started in other folders, so that paths have to hold everywhere. Lists are kept by what is in them: others
  // would be thrown out by an update.
  folder_ = std::filesystem::absolute(cache_directory()).string() + "/apt/" +
            (languages == "none" ? "packages" : "descriptions");
  if (!sources.empty()) {
    sources_ = std::filesystem::absolute(sources).string();
    folder_ += "-" + file::sha256(sources_ + "\n" + file::read(sources_)).substr(0, 12);
  }
  for (const char* part : {"/lists/partial", "/cache/archives/partial"}) file::make_directories(folder_ + part);
  lock_ = std::make_unique<file::Lock>(folder_ + "/lock");
  file::write_atomically(folder_ + "/status", "");
  file::write_atomically(folder_ + "/settings", kSettings);
}

std::vector<std::string> AptArchive::command(const std::string& program) const {
  std::vector<std::string> words = {program, "-c=" + folder_ + "/settings", "-q"};
  const auto set = [&](const std::string& key, const std::string& value) {
    words.emplace_back("-o");
    words.push_back(key + "=" + value);
  };
  set("Dir::State", folder_);
  set("Dir::State::lists", folder_ + "/lists");
  set("Dir::State::status", folder_ + "/status");
  set("Dir::Cache", folder_ + "/cache");
  set("APT::Architecture", "amd64");  // the same data on every machine; nothing of it is executed
  set("APT::Architectures", "amd64");
  set("Acquire::Languages", languages_);
  set("Acquire::Retries", "2");
  if (!sources_.empty()) {
    set("Dir::Etc::sourcelist", sources_);
    set("Dir::Etc::sourceparts", "-");
  }
  return words;
}

Error AptArchive::unreachable(const std::string& what) const {
  return Error(Code::io, what + (complaint_.empty() ? "" : ": " + complaint_), "apt-get",
               "check the network and the system's sources (apt-get update tells more); without network, give a folder "
               "with the .deb files that etude data show NAME lists: --debs FOLDER");
}

void AptArchive::refresh(int64_t seconds) {
  const std::string stamp = folder_ + "/updated";
  struct stat info {};
  const bool known = stat(stamp.c_str(), &info) == 0;
  if (known && std::time(nullptr) - info.st_mtime < seconds) return;
  std::vector<std::string> words = command("apt-get");
  words.emplace_back("update");
  const Ended ended = run_program(words, "", meanwhile_, kNoApt);
  complaint_ = first_complaint(ended.errors);
  if (ended.code != 0 && complaint_.empty()) complaint_ = "apt-get update ended with " + std::to_string(ended.code);
  if (ended.code == 0 && complaint_.empty()) file::write_atomically(stamp, "");
}

std::vector<AptArchive::Offer> AptArchive::offers(const std::string& package) {
  std::vector<std::string> words = command("apt-cache");
  words.insert(words.end(), {"show", "--", package});
  const Ended ended = run_program(words, "", meanwhile_, kNoApt);
  std::vector<Offer> offers;
  for (const std::string& line : lines_of(ended.out)) {
    const auto value = [&](std::string_view field) {
      return line.starts_with(field) ? std::string(trim(std::string_view(line).substr(field.size()))) : std::string();
    };
    if (line.starts_with("Package: ")) offers.emplace_back();
    if (offers.empty()) continue;
    if (const std::string version = value("Version: "); !version.empty()) offers.back().version = version;
    if (const std::string hash = value("SHA256: "); !hash.empty()) offers.back().sha256 = hash;
    if (const std::string size = value("Size: "); !size.empty())
      std::from_chars(size.data(), size.data() + size.size(), offers.back().bytes);
  }
  std::erase_if(offers, [](const Offer& offer) { return offer.version.empty(); });
  if (offers.empty() && !complaint_.empty()) throw unreachable("Debian's archive can't be reached");
  return offers;
}

std::string AptArchive::download(const std::string& package, const std::string& version, const std::string& folder) {
  std::vector<std::string> words = command("apt-get");
  words.insert(words.end(), {"download", "--", package + "=" + version});
  const Ended ended = run_program(words, folder, meanwhile_, kNoApt);
  for (const std::string& name : file::list(folder))
    if (ended.code == 0 && name.ends_with(".deb")) return folder + "/" + name;
  std::string why = first_complaint(ended.errors);
  throw Error(Code::io, package + " " + version + " can't be downloaded" + (why.empty() ? "" : ": " + why), "apt-get",
              "check the network, then try again; without network, give a folder with the .deb files that etude data "
              "show NAME lists: --debs FOLDER");
}

std::vector<AptArchive::Index> AptArchive::indexes() {
  std::vector<std::string> words = command("apt-get");
  words.insert(words.end(), {"indextargets", "--format",
                             "$(CREATED_BY)|$(CODENAME)|$(COMPONENT)|$(ARCHITECTURE)|$(LANGUAGE)|$(FILENAME)"});
  const Ended ended = run_program(words, "", meanwhile_, kNoApt);
  std::vector<Index> found;
  for (const std::string& line : lines_of(ended.out)) {
    const std::vector<std::string> c = columns_of(line);
    if (c.size() != 6 || c[2] != "main" || c[1].find('-') != std::string::npos || !file::exists(c[5])) continue;
    const std::string part = "dists/" + c[1] + "/main/";
    if (c[0] == "Packages" && c[3] == "amd64")
      found.push_back({part + "binary-amd64/Packages", c[1], c[5]});
    else if (c[0] == "Translations")
      found.push_back({part + "i18n/Translation-" + c[4], c[1], c[5]});
  }
  if (std::none_of(found.begin(), found.end(), [](const Index& i) { return i.member.ends_with("Packages"); }))
    throw unreachable("there is no index of packages of Debian's main part");
  return found;
}

}  // namespace etude::cli
