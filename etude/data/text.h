#pragma once
// Text: folders of .txt files, byte tokens, packing into rows of fixed length.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/options.h"
#include "etude/data/source.h"

namespace etude {

/// Text to token ids and back.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string decode(const std::vector<int64_t>& ids) const = 0;
  virtual int64_t vocabulary() const = 0;
  virtual int64_t document_end() const = 0;  ///< the token between documents
};

/// Ids 0..255 are bytes, 256 ends a document.
std::shared_ptr<Tokenizer> byte_tokenizer();

struct TextOptions {
  std::string path = "builtin:web";  ///< a .txt file, a folder of them (read recursively, sorted), or builtin:NAME
  double validation = 0.05;          ///< fraction of each document's tail (contiguous) kept for validation
  int64_t length = 64;               ///< tokens a row predicts (T)
  template <class V> void fields(V& v) {
    v("path", path, "text file, folder of .txt files, or builtin:NAME");
    v("validation", validation, half_open(0, 1), "share of the text kept for validation, from the end of each shard");
    v("length", length, at_least(2), "tokens in a row (T)");
  }
};

/// Rows of T+1 tokens packed from documents: ids_BT, labels_BT (next tokens, -1 where none), position_BT
/// (restarting at a document), segment_BT (document number within the row).
class TextDataset : public Dataset {
 public:
  enum class Split { train, validation };
  virtual int64_t documents() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
};
std::shared_ptr<TextDataset> open_text(const TextOptions& options, TextDataset::Split split);

}  // namespace etude
