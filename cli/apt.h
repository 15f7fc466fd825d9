#pragma once
// Debian's archive through apt, with folders of our own, so that it needs no root and leaves the system's lists alone.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "etude/base/error.h"
#include "etude/base/file.h"

namespace etude::cli {

class AptArchive {
 public:
  /// `languages`: of descriptions, "none" or "en,it". `sources`: a sources.list in place of the system's; "" for that.
  /// `meanwhile` is called while apt works. Errors: Code::checkpoint when another process uses the folder, Code::io
  /// when `sources` can't be read.
  AptArchive(const std::string& languages, const std::string& sources, std::function<void()> meanwhile);

  /// Brings the lists up to date unless that was done in the last `seconds`. What goes wrong is told by the functions
  /// below, if they don't find what they want.
  void refresh(int64_t seconds);

  struct Offer {
    std::string version, sha256;
    int64_t bytes = 0;
  };
  /// What the archive has of a package, in apt's order; empty when it has none. Errors: Code::io when the lists could
  /// not be had.
  std::vector<Offer> offers(const std::string& package);
  /// Downloads into an empty folder and returns the path of the .deb. Errors: Code::io.
  std::string download(const std::string& package, const std::string& version, const std::string& folder);

  struct Index {
    std::string member;   ///< "dists/bookworm/main/binary-amd64/Packages"
    std::string release;  ///< "bookworm"
    std::string path;     ///< on this machine; packed or not
  };
  /// The indexes of the main part of the release itself (not of its updates): packages, and translations of their
  /// descriptions into `languages`. Errors: Code::io when there are none.
  std::vector<Index> indexes();

 private:
  std::vector<std::string> command(const std::string& program) const;
  Error unreachable(const std::string& what) const;

  const std::string languages_;
  const std::function<void()> meanwhile_;
  std::string folder_, sources_;
  std::string complaint_;  ///< of the last update; "" if all went well
  std::unique_ptr<file::Lock> lock_;
};

}  // namespace etude::cli
