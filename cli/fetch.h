#pragma once
// Fetches sets: from the packages that are installed, from .deb files, from Debian's archive.

#include <functional>
#include <string>

#include "etude/data/sets/store.h"

namespace etude::cli {

struct FetchOptions {
  bool any_version = false;  ///< take a package of another version than the set was made for
  std::string sources;       ///< a sources.list in place of the system's
  std::string debs;          ///< a folder with .deb files in place of the archive
};

/// What is being done, for the live line.
using Told = std::function<void(const std::string& what)>;

/// Makes the set anew. A package that is installed in the version that the set was made for serves as it is, unless its
/// files are not all there or were changed; else its .deb is taken, checked by its SHA-256.
/// Errors: Code::data for another version or hash (naming both), for damage, and those of converters; Code::io for
/// network and disk; Code::interrupted.
SetManifest fetch_set(const SetDescription& set, const FetchOptions& options, const Told& told);

}  // namespace etude::cli
