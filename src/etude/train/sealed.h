#pragma once
// A directory of files that is there whole or not at all: written aside, sealed by a manifest that counts and
// hashes each file, fsynced, renamed. Checkpoints and artifacts are such directories.
//
// manifest.json is {"sha256":"<hash of the body's bytes>","body":{"files":{"<name>":{"bytes":..,"sha256":".."}},..}},
// so that no bit of it can change unseen.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "etude/tensor/tensor.h"

namespace etude::sealed {

/// A sealed directory while it is written, at <parent>/.tmp-<process>-<number>-<label>, and locked as long. What is
/// not published goes with the object. Errors: Code::io.
class Draft {
 public:
  Draft(const std::string& parent, const std::string& label);
  ~Draft();
  Draft(const Draft&) = delete;
  void add(const std::string& name, std::string_view content);
  void add(const std::string& name, const NamedTensors& tensors);
  /// Durable under `path` when it returns. If something is there already it throws, as with any other failure, and
  /// what was there stays as it was. The body gets the table "files" added.
  void publish(const std::string& path, nlohmann::json body);

  class Claim;

 private:
  void remove() const;

  std::string path_;
  std::unique_ptr<Claim> claim_;
  nlohmann::json files_ = nlohmann::json::object();
};

/// The body of a manifest. Errors: Code::checkpoint.
nlohmann::json read_manifest(const std::string& directory);
/// The bytes of a file; `entry` is {"bytes", "sha256"}. Errors: Code::checkpoint when they are others.
std::string read_file(const std::string& path, const nlohmann::json& entry);
/// As read_file, a piece at a time.
void verify_file(const std::string& path, const nlohmann::json& entry);
/// Reads all back from the disk. Errors: Code::checkpoint, naming the file.
void verify(const std::string& directory);

/// Takes a sealed directory away: renamed aside first, so that no half of it is ever found in its place.
void discard(const std::string& path);
/// Removes the drafts of the dead, and single files set aside: of those the caller is the only writer. Never throws.
void remove_leftovers(const std::string& parent);

/// As JSON and back again, with all that JSON lacks: doubles that are not finite, texts that are not UTF-8.
std::string to_text(nlohmann::json value);
/// Errors: Code::checkpoint naming `where`.
nlohmann::json from_text(const std::string& text, const std::string& where);
/// The two steps by themselves: such values become {"$double": "<bits>"} and {"$bytes": "<hexadecimal>"}, and an
/// object that has such a key of its own gets a '$' more.
void make_portable(nlohmann::json& value);
void restore_portable(nlohmann::json& value);

}  // namespace etude::sealed
