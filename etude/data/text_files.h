#pragma once
// Reading text that users point at: regular files only, whole, valid UTF-8.

#include <string>
#include <vector>

namespace etude {

struct Document { std::string name, text; };

/// The documents of a .txt file, of a folder (every .txt below it, sorted by path) or of builtin:NAME (form feeds
/// part documents). Errors: Code::data with the path, and what to do.
std::vector<Document> read_documents(const std::string& path);

}  // namespace etude
