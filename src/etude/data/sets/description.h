#pragma once
// The sets that can be fetched, as data/sets.toml tells them.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// A Debian package of a known version.
struct SetPackage {
  std::string name, version;
  std::string sha256;  ///< of the .deb, in hexadecimal
  int64_t bytes = 0;   ///< of the .deb
};

struct SetDescription {
  std::string name, title;
  std::string licence;  ///< in a word or two
  std::string terms;    ///< what a user must know before passing the data on; may be empty
  std::string about;    ///< what a document is, its fields, what is wrong with it
  std::string split;    ///< how to cut it for testing without leaks
  /// Where its files come from: packages of the archive, the archive's indexes of them, or dpkg's list of what is
  /// installed here.
  enum class Source { packages, indexes, status } source = Source::packages;
  std::string kind;                            ///< of its converter
  std::map<std::string, std::string> options;  ///< of the converter
  std::string option(const std::string& key, const std::string& otherwise = "") const;
  std::vector<SetPackage> packages;  ///< none for the other sources
  std::vector<std::string> members;  ///< patterns of member paths
  std::string content;               ///< members_hash() of what the packages hold; empty where it changes
  int64_t documents = 0;             ///< counted once; what a changing set has may differ
  int64_t bytes = 0;                 ///< of its documents as JSON lines, counted once

  int64_t packed_bytes() const;  ///< of all packages
};

/// Sorted by name. Errors: Code::config for an asset that is not what it should be.
const std::vector<SetDescription>& set_descriptions();
/// Reads what set_descriptions() gives from a text in its format. Errors: Code::config with the line.
std::vector<SetDescription> parse_set_descriptions(std::string_view toml, std::string_view file_name);
/// Errors: Code::data for an unknown name, with the nearest.
const SetDescription& set_description(const std::string& name);

/// Whether a path matches a pattern: '?' is any character but '/', '*' any number of them, "**" any number of any.
bool matches_glob(std::string_view pattern, std::string_view path);

}  // namespace etude
