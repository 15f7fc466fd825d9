#pragma once
// The data sets that have a name: those that the program carries inside itself ("builtin:web"), and those that
// `etude data get NAME` fetches ("set:kjv").

#include <string>
#include <string_view>
#include <vector>

#include "etude/data/source.h"

namespace etude {

/// Their cards, sorted by name. A record of a text is a line.
std::vector<DataCard> data_sets();

/// The bytes of a built-in text, checked against its card; they live as long as the program.
/// Errors: Code::data for an unknown name (with the nearest) and for bytes whose hash is another.
std::string_view builtin_text(const std::string& name);

/// A set that can be fetched from Debian's archive, as data/sets.toml describes it.
struct NamedSet {
  std::string name, title, licence;
};
/// Sorted by name.
std::vector<NamedSet> named_sets();

/// Where fetched sets, token caches and the like are kept: $ETUDE_CACHE, else $XDG_CACHE_HOME/etude, else
/// ~/.cache/etude. "" where there is no home.
std::string cache_directory();

/// The documents of a fetched set, as the path of a JSON-lines file with `text` in each line, checked against its
/// manifest. Errors: Code::data for an unknown name (with the nearest), for one that was not fetched (with the command
/// that does it), and for files that are not those of the manifest.
std::string fetched_set(const std::string& name);

}  // namespace etude
