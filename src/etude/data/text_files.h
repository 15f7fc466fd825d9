#pragma once
// Texts that users point at: files and folders of several kinds, packed or not, as one sequence of documents.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "etude/data/corpus/compressed.h"
#include "etude/data/corpus/document.h"
#include "etude/data/corpus/utf8.h"

namespace etude {

/// What is in a file.
enum class TextFormat { plain, json_lines, csv, tsv, tokens };

struct TextFile {
  std::string path;
  std::string name;  ///< below the folder, or of the file
  TextFormat format = TextFormat::plain;
  corpus::Packing packing = corpus::Packing::none;
};

struct TextSource {
  std::string path;             ///< as it was given
  std::string builtin;          ///< name of a built-in text; then there are no files
  std::vector<TextFile> files;  ///< one at least
  /// Whether all of it was tokenised elsewhere.
  bool is_tokens() const;
};

/// What is at a path: a file, a folder, builtin:NAME, or set:NAME (fetched_set() in etude/data/sets.h).
///
/// The end of its name (in any case) tells what a file is: .txt a document; .jsonl, .ndjson, .jsonlines and .json-lines
/// JSON lines; .csv and .tsv tables; each also with .gz, .zst or .xz behind; .bin and .npy token ids
/// (etude/data/corpus/token_file.h). A single file of any other name is a document.
/// Of a folder, every file below it whose name says one of these is read, sorted by the bytes of their paths; names
/// that begin with a dot are left out; links are followed; a folder that is met again by another way is read once.
///
/// Errors: Code::data, each with the path and a hint: nothing there (with the nearest name), no file in a folder, links
/// in a circle, a FIFO, a device or a socket in a folder, kinds that are not read (.parquet, packed token ids).
TextSource find_texts(const std::string& path);

/// Its documents in that order, read as they are asked for. A built-in text is cut at its blank lines. A UTF-8 byte
/// order mark is left out, everything else (line ends too) is kept byte by byte. `field` names the field of JSON lines
/// and the column of tables. Memory: etude/data/corpus/readers.h.
/// Errors: Code::data, see there and in etude/data/corpus/{bytes,compressed,token_file}.h.
std::unique_ptr<DocumentReader> open_documents(const TextSource& source, const std::string& field);

/// All documents of a path, whole, with the field "text".
/// Errors: Code::data, as above, and for more than fits into memory.
std::vector<Document> read_documents(const std::string& path);

/// One file, whatever its name, as plain text: whole, UTF-8, no NUL, not empty, not larger than memory, unchanged while
/// it is read. `after_chunk` is called with the bytes read so far, for tests of what happens meanwhile.
std::string read_text_file(const std::string& path, const std::function<void(int64_t)>& after_chunk = {});

}  // namespace etude
