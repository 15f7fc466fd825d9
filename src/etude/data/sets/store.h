#pragma once
// Fetched sets on disk. A set is a folder CACHE/sets/NAME:
//   files/PATH       the members, under their paths in the package
//   documents.jsonl  a document a line: what runs read
//   manifest.json    what the set is made of, with sizes and SHA-256; written last
// It is made in CACHE/sets/.making-NAME and renamed when it is whole, so that a set is there or it isn't.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "etude/base/file.h"
#include "etude/data/sets/archive.h"
#include "etude/data/sets/converters.h"

namespace etude {

struct StoredFile {
  std::string path;  ///< below the set's folder
  int64_t bytes = 0;
  std::string sha256;
};

/// What manifest.json holds.
struct SetManifest {
  struct Package {
    std::string name, version;
    std::string sha256;  ///< of the .deb; empty where the files were those of the installed package
  };
  std::string name, licence;
  std::string date;  ///< of the day on which it was fetched, "2026-11-24"
  std::vector<Package> packages;
  std::string content;  ///< members_hash() of the members
  StoredFile documents_file;
  int64_t documents = 0;
  std::vector<StoredFile> members;

  /// "fortunes 1:1.99.1-7.3, fortunes-min 1:1.99.1-7.3"
  std::string packages_text() const;
};

/// CACHE/sets/NAME. Errors: Code::io when there is no home folder to keep a cache in.
std::string set_folder(const std::string& name);
bool is_fetched(const std::string& name);
/// Errors: Code::data for a manifest that is missing or damaged, with the command that fetches the set again.
SetManifest read_manifest(const std::string& name);
/// Compares the documents with the manifest, and the members too when asked. Errors: Code::data naming the file, the
/// package's version, and both hashes.
void check_set(const SetManifest& manifest, bool members);

/// One SHA-256 of everything that a package gave to a set: of lines "SHA256  PATH" sorted by path.
std::string members_hash(const std::vector<StoredFile>& members);

/// A set in the making. Only one process makes a set at a time; what another left behind is cleared away.
class SetMaker {
 public:
  /// `look` is called now and then; what it throws ends the making.
  SetMaker(const SetDescription& set, std::function<void()> look);
  ~SetMaker();
  SetMaker(const SetMaker&) = delete;

  bool wanted(const std::string& path) const;  ///< whether the set has it among its members
  /// Errors: Code::data for a path that is there already.
  void add(const ArchiveMember& member);
  void clear();  ///< as if nothing had been added
  std::string content() const { return members_hash(members_); }
  std::string work_folder() const;  ///< for downloads; goes away with the making

  /// Converts, writes the manifest and puts the set in its place. Errors: Code::data for documents that break the
  /// rules of Emit or when there are none.
  SetManifest publish(std::vector<SetManifest::Package> packages, const std::string& date);

 private:
  void convert(SetManifest& manifest) const;

  const SetDescription& set_;
  const std::function<void()> look_;
  const std::string folder_;
  std::unique_ptr<file::Lock> lock_;
  std::vector<StoredFile> members_;
};

/// Removes a fetched set. Returns whether there was one.
bool remove_set(const std::string& name);

}  // namespace etude
