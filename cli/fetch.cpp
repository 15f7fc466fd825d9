#include "cli/fetch.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>

#include "cli/apt.h"
#include "cli/commands.h"
#include "cli/process.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"

namespace etude::cli {
namespace {

constexpr int64_t kDay = 24 * 3600;
constexpr const char* kStatus = "/var/lib/dpkg/status";

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  gmtime_r(&now, &day);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &day);
  return text;
}

int64_t bytes_in(const std::string& folder) {
  int64_t sum = 0;
  for (const std::string& name : file::list(folder)) {
    struct stat info {};
    if (stat((folder + "/" + name).c_str(), &info) == 0 && S_ISREG(info.st_mode)) sum += info.st_size;
  }
  return sum;
}

/// The file that dpkg would call so ("fortunes_1%3a1.99.1-7.3_all.deb"), in any version if `any`; "" if none is there.
std::string deb_in(const std::string& folder, const SetPackage& package, bool any) {
  std::string version = package.version;
  for (size_t at = 0; (at = version.find(':', at)) != std::string::npos; at += 3) version.replace(at, 1, "%3a");
  std::string other;
  for (const std::string& name : file::list(folder)) {
    if (!name.ends_with(".deb") || !name.starts_with(package.name + "_")) continue;
    if (name.starts_with(package.name + "_" + version + "_")) return folder + "/" + name;
    other = folder + "/" + name;
  }
  return any ? other : "";
}

/// "1:1.99.1-7.3" of a path that deb_in() gave.
std::string version_of(const std::string& deb) {
  const size_t first = deb.find('_', deb.rfind('/')) + 1;
  std::string version = deb.substr(first, deb.find('_', first) - first);
  for (size_t at = 0; (at = version.find("%3a")) != std::string::npos;) version.replace(at, 3, ":");
  return version;
}

class Fetch {
 public:
  Fetch(const SetDescription& set, const FetchOptions& options, const Told& told)
      : set_(set), options_(options), told_(told), maker_(set, [] { look(); }) {}

  SetManifest run() {
    say("looking for its files");
    switch (set_.source) {
      case SetDescription::Source::packages:
        from_packages();
        break;
      case SetDescription::Source::indexes:
        from_indexes();
        break;
      case SetDescription::Source::status:
        from_status();
        break;
    }
    say("converting");
    return maker_.publish(taken_, today());
  }

 private:
  static void look() {
    if (interrupted())
      throw Error(Code::interrupted, "interrupted: nothing was changed", "", "the same again fetches it");
  }

  void say(const std::string& what) const { told_(set_.name + ": " + what); }

  void from_packages() {
    bool installed = false;
    for (const SetPackage& package : set_.packages) installed |= take_installed(package);
    if (installed && !known_content()) {
      // Documentation is often left out of an installation, and files may have been edited.
      note("the installed files of '" + set_.name + "' are not those of the archive: the archive's are taken");
      maker_.clear();
      taken_.clear();
    }
    for (const SetPackage& package : set_.packages)
      if (std::none_of(taken_.begin(), taken_.end(), [&](const auto& p) { return p.name == package.name; }))
        take_deb(package);
    if (!known_content() && !options_.any_version)
      throw Error(Code::data,
                  "the files of '" + set_.name + "' have the hash " + maker_.content() + " in place of " + set_.content,
                  "set:" + set_.name, "--any-version takes them as they are");
  }

  /// Whether the members are those that the set was made for.
  bool known_content() const { return set_.content.empty() || maker_.content() == set_.content; }

  /// Takes the files of an installed package of the right version. Returns whether there was one.
  bool take_installed(const SetPackage& package) {
    if (!options_.debs.empty() || !options_.sources.empty()) return false;
    try {
      const Ended version = dpkg({"-W", "-f", "${db:Status-Status} ${Version}\n", package.name});
      if (version.out != "installed " + package.version + "\n") return false;
      const Ended list = dpkg({"-L", package.name});
      for (size_t begin = 0; begin < list.out.size();) {
        const size_t end = std::min(list.out.find('\n', begin), list.out.size());
        const std::string path = list.out.substr(begin, end - begin);
        begin = end + 1;
        struct stat info {};
        if (!path.starts_with('/') || !maker_.wanted(path.substr(1))) continue;
        if (lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) maker_.add({path.substr(1), file::read(path)});
      }
      taken_.push_back({package.name, package.version, ""});
      return true;
    } catch (const Error& error) {
      if (error.code() != Code::io) throw;
      note(std::string("dpkg can't tell what is installed: ") + error.what());
      return false;
    }
  }

  static Ended dpkg(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "dpkg-query");
    return run_program(arguments, "", look, "this is no Debian system");
  }

  void take_deb(const SetPackage& package) {
    const auto [path, version] = options_.debs.empty() ? downloaded(package) : given(package);
    say("reading " + package.name);
    const std::string found = file::sha256_file(path);
    if (version == package.version && found != package.sha256 && !options_.any_version)
      throw Error(Code::data, package.name + " " + version + " has SHA-256 " + found + " in place of " + package.sha256,
                  path, "it was built or changed since: --any-version takes it");
    read_deb(
        path, [&](const std::string& member) { return maker_.wanted(member); },
        [&](const ArchiveMember& member) { maker_.add(member); }, limits_for(file::size(path)));
    taken_.push_back({package.name, version, found});
    if (options_.debs.empty()) file::remove_all(path);
  }

  /// Texts pack to a seventh; a hundredth and more is an attack.
  static ArchiveLimits limits_for(int64_t packed) {
    ArchiveLimits limits;
    limits.bytes = std::min(limits.bytes, (int64_t{64} << 20) + 100 * packed);
    return limits;
  }

  [[noreturn]] void refuse_version(const SetPackage& package, const std::string& found,
                                   const std::string& where) const {
    throw Error(
        Code::data,
        "the set '" + set_.name + "' was made from " + package.name + " " + package.version + "; there is " + found,
        where, "--any-version takes that one: its documents may differ");
  }

  struct Deb {
    std::string path, version;
  };

  Deb given(const SetPackage& package) const {
    const std::string path = deb_in(options_.debs, package, true);
    if (path.empty())
      throw Error(Code::data, "there is no " + package.name + "_" + package.version + "_all.deb", options_.debs,
                  "apt-get download " + package.name + "=" + package.version + " gets it on a Debian system");
    const std::string version = version_of(path);
    if (version != package.version && !options_.any_version) refuse_version(package, version, path);
    return {path, version};
  }

  AptArchive& archive(const std::string& languages) {
    if (!archive_) archive_ = std::make_unique<AptArchive>(languages, options_.sources, [this] { watch(); });
    return *archive_;
  }

  Deb downloaded(const SetPackage& package) {
    AptArchive& apt = archive("none");
    say("the archive's lists");
    apt.refresh(7 * kDay);
    std::optional<AptArchive::Offer> offer = offer_of(package);
    if (!offer || offer->version != package.version) {
      apt.refresh(kDay / 24);
      offer = offer_of(package);
    }
    if (!offer)
      throw Error(Code::data, "the archive has no package '" + package.name + "'", "set:" + set_.name,
                  "it is in the main part of Debian 12: the system's sources, or --apt-sources FILE, must name that");
    if (offer->version != package.version && !options_.any_version)
      refuse_version(package, offer->version, "set:" + set_.name);
    expected_ = offer->bytes;
    downloading_ = package.name;
    const std::string path = apt.download(package.name, offer->version, maker_.work_folder());
    downloading_.clear();
    return {path, offer->version};
  }

  /// The pinned version if the archive has it, else the newest.
  std::optional<AptArchive::Offer> offer_of(const SetPackage& package) {
    const std::vector<AptArchive::Offer> offers = archive_->offers(package.name);
    for (const AptArchive::Offer& offer : offers)
      if (offer.version == package.version) return offer;
    return offers.empty() ? std::nullopt : std::optional(offers.front());
  }

  /// While apt is at work.
  void watch() const {
    look();
    if (downloading_.empty()) return;
    const auto there = static_cast<double>(bytes_in(maker_.work_folder()));
    say(downloading_ + ", " + human_bytes(there) +
        (expected_ > 0 ? " of " + human_bytes(static_cast<double>(expected_)) : ""));
  }

  void from_indexes() {
    const auto option = set_.options.find("language");
    const std::string language = option == set_.options.end() ? "en" : option->second;
    AptArchive& apt = archive("en,de,fr,it");
    say("the archive's descriptions");
    apt.refresh(kDay);
    for (const AptArchive::Index& index : apt.indexes()) {
      const bool wanted = index.member.ends_with("/Packages") || index.member.ends_with("/Translation-en") ||
                          index.member.ends_with("/Translation-" + language);
      if (!wanted) continue;
      const std::string bytes = unpacked(file::read(index.path), index.path);
      maker_.add({index.member, bytes});
      if (index.member.ends_with("/Packages"))
        taken_.push_back({index.release + "/main", today(), file::sha256(bytes)});
    }
  }

  void from_status() {
    if (!file::exists(kStatus))
      throw Error(Code::data, "this system has no list of installed packages", kStatus,
                  "the set '" + set_.name + "' is for Debian systems; debdesc has the packages of the archive");
    maker_.add({std::string(kStatus).substr(1), file::read(kStatus)});
    taken_.push_back({"dpkg", today(), ""});
  }

  const SetDescription& set_;
  const FetchOptions& options_;
  const Told& told_;
  SetMaker maker_;
  std::unique_ptr<AptArchive> archive_;
  std::vector<SetManifest::Package> taken_;
  std::string downloading_;
  int64_t expected_ = 0;
};

}  // namespace

SetManifest fetch_set(const SetDescription& set, const FetchOptions& options, const Told& told) {
  return Fetch(set, options, told).run();
}

}  // namespace etude::cli
