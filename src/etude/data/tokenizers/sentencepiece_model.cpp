#include "etude/data/tokenizers/sentencepiece_model.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/data/tokenizers/token_decoders.h"
#include "etude/data/tokenizers/token_model.h"

namespace etude {
namespace {

constexpr const char* kHint = "is this a sentencepiece model, and complete?";

/// A field of a message; `bytes` of the wire types 2 (strings, messages) and 5 (four bytes), `number` of type 0.
struct Field {
  uint32_t tag = 0;
  int wire = 0;
  uint64_t number = 0;
  std::string_view bytes;
};

/// Walks over the fields of a message.
class Message {
 public:
  Message(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  std::optional<Field> next() {
    if (at_ == bytes_.size()) return std::nullopt;
    const uint64_t key = varint();
    Field field;
    field.tag = static_cast<uint32_t>(key >> 3);
    field.wire = static_cast<int>(key & 7);
    if (key >> 3 == 0 || key >> 32 != 0) fail("has a field without a number");
    switch (field.wire) {
      case 0:
        field.number = varint();
        break;
      case 1:
        field.bytes = take(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.bytes = take(4);
        break;
      default:
        fail("has a field of the unknown kind " + std::to_string(field.wire));
    }
    return field;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Code::data, "the model " + what + " (byte " + std::to_string(at_) + " of its message)", where_, kHint);
  }

  void require(const Field& field, int wire) const {
    if (field.wire != wire) fail("has the field " + std::to_string(field.tag) + " in the wrong kind");
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (at_ == bytes_.size()) fail("ends within a number");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("has a number that does not fit");
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) fail("ends within a field of " + std::to_string(size) + " bytes");
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }

  std::string_view bytes_;
  std::string where_;
  size_t at_ = 0;
};

void read_piece(std::string_view bytes, const std::string& name, SentencepieceModel& model) {
  const auto place = [&] { return name + ": piece " + std::to_string(model.types.size()); };
  const auto fail = [&](const std::string& what) { throw Error(Code::data, what, place(), kHint); };
  Message message(bytes, name + ": piece " + std::to_string(model.types.size()));
  std::string_view piece;
  uint64_t type = 1;
  float score = 0;
  while (const auto field = message.next()) {
    if (field->tag == 1) {
      message.require(*field, 2);
      piece = field->bytes;
    } else if (field->tag == 2) {
      message.require(*field, 5);
      std::memcpy(&score, field->bytes.data(), 4);
    } else if (field->tag == 3) {
      message.require(*field, 0);
      type = field->number;
    }
  }
  const std::string shown = "'" + fitted(printable(piece), 40) + "'";
  if (piece.empty()) fail("a piece is empty");
  if (!valid_utf8(piece) || piece.find('\0') != std::string_view::npos) fail("the piece " + shown + " is not UTF-8");
  if (!std::isfinite(score)) fail("the score of the piece " + shown + " is not finite");
  if (type < 1 || type > 6) fail("the piece " + shown + " has the unknown type " + std::to_string(type));
  const auto kind = static_cast<SentencepieceModel::Type>(type);
  if (kind == SentencepieceModel::Type::byte && byte_of_fallback(piece) < 0) {
    fail("the piece " + shown + " stands for a byte, but is none of <0x00> to <0xFF>");
  }
  if (model.table.add(piece, static_cast<int32_t>(model.types.size())) != TokenTable::Added::new_token) {
    fail("the piece " + shown + " stands twice in the vocabulary");
  }
  model.types.push_back(kind);
}

void read_trainer(std::string_view bytes, const std::string& name, SentencepieceModel& model) {
  Message message(bytes, name + ": trainer_spec");
  const auto text = [&](const Field& field) {
    message.require(field, 2);
    return std::string(field.bytes);
  };
  while (const auto field = message.next()) {
    if (field->tag == 24) {
      message.require(*field, 0);
      model.blanks_end_words = field->number != 0;
    }
    if (field->tag == 46) model.begin_piece = text(*field);
    if (field->tag == 47) model.end_piece = text(*field);
  }
}

/// The rules of a normalizer: the size of a double array, the array (Darts-clone: units of four bytes), and texts that
/// end in NUL. The library follows offsets within both unchecked.
void check_rules(std::string_view rules, const std::string& where) {
  const auto fail = [&](const char* what) { throw Error(Code::data, what, where, kHint); };
  if (rules.empty()) return;
  uint32_t array_size = 0;
  if (rules.size() < sizeof(array_size)) return fail("the normalization rules are cut off");
  std::memcpy(&array_size, rules.data(), sizeof(array_size));
  rules.remove_prefix(sizeof(array_size));
  if (array_size >= rules.size() || array_size % 4 != 0 || array_size == 0) {
    return fail("the normalization rules are cut off");
  }
  const std::string_view texts = rules.substr(array_size);
  if (texts.back() != '\0' || !valid_utf8(texts)) fail("the texts of the normalization rules are damaged");
  const size_t units = array_size / 4;
  const auto unit = [&](size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, rules.data() + at * 4, 4);
    return value;
  };
  for (size_t at = 0; at < units; ++at) {
    const uint32_t value = unit(at);
    if (value >> 31 && at > 0) continue;  // a leaf, checked where it is reached; the root is used whatever it is
    const size_t child = at ^ static_cast<size_t>((value >> 10) << ((value & (1u << 9)) >> 6));
    if ((child | 0xFF) >= units) return fail("the table of the normalization rules points outside of itself");
    const bool has_leaf = (value >> 8) & 1;
    if (has_leaf && (unit(child) & 0x7FFFFFFF) >= texts.size()) {
      return fail("the table of the normalization rules points outside of their texts");
    }
  }
}

void read_normalizer(std::string_view bytes, const std::string& where, SentencepieceModel& model) {
  Message message(bytes, where);
  const auto flag = [&](const Field& field) {
    message.require(field, 0);
    return field.number != 0;
  };
  while (const auto field = message.next()) {
    if (field->tag == 2) {
      message.require(*field, 2);
      check_rules(field->bytes, where);
      model.has_rules = !field->bytes.empty();
    }
    if (field->tag == 3) model.dummy_prefix = flag(*field);
    if (field->tag == 4) model.fewer_blanks = flag(*field);
    if (field->tag == 5) model.escaped_blanks = flag(*field);
  }
}

}  // namespace

bool SentencepieceModel::keeps_words_apart() const {
  const bool plain = !has_rules && !fewer_blanks && !blanks_end_words && dummy_prefix && escaped_blanks;
  if (!plain || table.id(kWordSign) == kNoToken) return false;
  for (int64_t id = 0; id < table.limit(); ++id) {
    if (reaches_over_words(table.token(id)) || table.token(id).find(' ') != std::string_view::npos) return false;
  }
  return true;
}

SentencepieceModel read_sentencepiece_model(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) throw Error(Code::data, "the file is empty", name, kHint);
  SentencepieceModel model, unused;
  Message message(bytes, name);
  while (const auto field = message.next()) {
    if (field->tag < 1 || field->tag > 5) continue;
    message.require(*field, 2);
    if (field->tag == 1) read_piece(field->bytes, name, model);
    if (field->tag == 2) read_trainer(field->bytes, name, model);
    if (field->tag == 3) read_normalizer(field->bytes, name + ": normalizer_spec", model);
    if (field->tag == 5) read_normalizer(field->bytes, name + ": denormalizer_spec", unused);
  }
  if (model.types.empty()) throw Error(Code::data, "the model has no pieces", name, kHint);
  return model;
}

}  // namespace etude
