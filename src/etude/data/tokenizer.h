#pragma once
// Tokenizers: text to token ids and back. Free of LibTorch, so that they can be fuzzed by themselves.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// Tokens with where they come from.
struct Encoding {
  struct Span {
    int64_t begin = 0, end = 0;  ///< bytes of the text, end excluded
    bool operator==(const Span&) const = default;
  };
  std::vector<int32_t> ids;
  std::vector<Span> offsets;   ///< what each token stands for; empty for what stands for nothing
  std::vector<int32_t> words;  ///< number of the word that each token is a part of; -1: of none
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Without the tokens that open and close a document. `text` is UTF-8. Thread-safe.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The same ids with offsets and word groups, for masking whole words and for tagging.
  virtual Encoding encode_with_offsets(std::string_view text) const = 0;
  /// The text of ids; what stands for no text (special tokens, ids outside the vocabulary) is left out. Bytes of
  /// characters that are not whole are kept as they are.
  virtual std::string decode(const std::vector<int64_t>& ids) const = 0;

  virtual int64_t vocabulary() const = 0;  ///< ids are 0 .. vocabulary() - 1
  /// The token that closes each document. Errors: Code::data if the tokenizer has none, with a hint.
  virtual int64_t document_end() const = 0;
  std::optional<int64_t> document_end_if_any() const;  ///< the same; nothing if there is none
  /// The token that opens each document ("<s>", "[CLS]"), if there is one.
  virtual std::optional<int64_t> document_begin() const { return std::nullopt; }
  /// Of a token as the vocabulary writes it ("[MASK]", "▁the", "Ġthe").
  virtual std::optional<int64_t> id(std::string_view token) const = 0;
  /// The token as the vocabulary writes it; "" outside of it.
  virtual std::string token(int64_t id) const = 0;
  /// SHA-256, in hexadecimal, of everything that decides ids: the key of what is stored of its work.
  virtual std::string hash() const = 0;

  /// A file of a tokenizer in the form in which others read it.
  struct File {
    std::string name, content;  ///< "tokenizer.json", "tokenizer.model", "vocab.txt", ...
  };
  /// What open_tokenizer() reads back as the same tokenizer; none for bytes.
  virtual std::vector<File> files() const = 0;
};

/// Ids 0..255 are bytes, 256 ends a document.
std::shared_ptr<Tokenizer> byte_tokenizer();

/// A tokenizer.json, a sentencepiece .model, a vocab.txt, or a folder that holds one of these or vocab.json with
/// merges.txt (in this order of preference; special tokens also from tokenizer_config.json, special_tokens_map.json
/// and config.json beside it). "bytes": byte_tokenizer().
/// Errors: Code::data with the file, the place in it, what is wrong, and a hint.
std::shared_ptr<Tokenizer> open_tokenizer(const std::string& path);

}  // namespace etude
