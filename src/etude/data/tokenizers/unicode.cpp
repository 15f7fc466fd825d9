#include "etude/data/tokenizers/unicode.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <array>
#include <memory>

#include "etude/base/error.h"

namespace etude::unicode {
namespace {

constexpr char32_t kBasicPlane = 0x10000;
constexpr char32_t kDottedCapitalI = 0x130;

unsigned char look_up_classes(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  const uint32_t category = U_GET_GC_MASK(c);
  unsigned char found = 0;
  if (category & U_GC_L_MASK) found |= kLetter;
  if (category & U_GC_N_MASK) found |= kNumber;
  if (category & U_GC_P_MASK) found |= kPunctuation;
  if (category & U_GC_M_MASK) found |= kMark;
  if (category & U_GC_MN_MASK) found |= kNonspacing;
  if (category & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK)) found |= kOther;
  if (u_hasBinaryProperty(c, UCHAR_WHITE_SPACE)) found |= kSpace;
  const bool word = (category & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) ||
                    u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
  if (word) found |= kWord;
  return found;
}

const icu::Normalizer2& normalizer(Form form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case Form::nfc:
      found = icu::Normalizer2::getNFCInstance(status);
      break;
    case Form::nfd:
      found = icu::Normalizer2::getNFDInstance(status);
      break;
    case Form::nfkc:
      found = icu::Normalizer2::getNFKCInstance(status);
      break;
    case Form::nfkd:
      found = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  if (U_FAILURE(status) || !found) {
    throw Error(Code::internal, std::string("ICU has no data of normal forms: ") + u_errorName(status), {},
                "install the Debian package libicu72 again");
  }
  return *found;
}

bool look_up_stable(Form form, char32_t code) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::UnicodeString text(static_cast<UChar32>(code));
  return normalizer(form).normalize(text, status) == text && U_SUCCESS(status);
}

/// What is asked of every character of a text, for the basic plane.
struct FormTable {
  std::array<unsigned char, kBasicPlane> flags{};
  explicit FormTable(Form form) {
    for (char32_t code = 0; code < kBasicPlane; ++code) {
      const bool begins = normalizer(form).hasBoundaryBefore(static_cast<UChar32>(code));
      flags[code] = static_cast<unsigned char>((begins ? 1 : 0) | (look_up_stable(form, code) ? 2 : 0));
    }
  }
};

template <Form form>
const FormTable& table_of() {
  static const auto made = std::make_unique<const FormTable>(form);
  return *made;
}

/// Made when a text first asks for the form.
const FormTable& form_table(Form form) {
  switch (form) {
    case Form::nfc:
      return table_of<Form::nfc>();
    case Form::nfd:
      return table_of<Form::nfd>();
    case Form::nfkc:
      return table_of<Form::nfkc>();
    case Form::nfkd:
      return table_of<Form::nfkd>();
  }
  return table_of<Form::nfc>();
}

}  // namespace

Char decode_long(std::string_view text, size_t at) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const size_t left = text.size() - at;
  int32_t next = 0;
  UChar32 code = 0;
  U8_NEXT(bytes + at, next, static_cast<int32_t>(left < 4 ? left : 4), code);
  if (code < 0) return {kIllFormed, 1};
  return {static_cast<char32_t>(code), static_cast<size_t>(next)};
}

size_t before(std::string_view text, size_t at) {
  for (size_t length = 2; length <= 4 && length <= at; ++length) {
    if (decode(text, at - length).length == length) return at - length;
  }
  return at - 1;
}

void append(std::string& text, char32_t code) {
  char bytes[4];
  int32_t length = 0;
  UBool failed = false;
  U8_APPEND(reinterpret_cast<uint8_t*>(bytes), length, 4, static_cast<UChar32>(code), failed);
  if (!failed) text.append(bytes, static_cast<size_t>(length));
}

size_t count(std::string_view text) {
  size_t characters = 0;
  for (size_t at = 0; at < text.size(); at += decode(text, at).length) ++characters;
  return characters;
}

unsigned char classes(char32_t code) {
  static const auto table = [] {
    auto made = std::make_unique<std::array<unsigned char, kBasicPlane>>();
    for (char32_t c = 0; c < kBasicPlane; ++c) (*made)[c] = look_up_classes(c);
    return made;
  }();
  return code < kBasicPlane ? (*table)[code] : look_up_classes(code);
}

bool is_bert_punctuation(char32_t code) {
  const bool ascii = (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
                     (code >= 123 && code <= 126);
  return ascii || is(code, kPunctuation);
}

bool is_ideograph(char32_t code) {
  struct Block {
    char32_t first, last;
  };
  // As the library `tokenizers` has them; BERT's own list begins the one from U+2B920 at U+2B820.
  static constexpr Block kBlocks[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                                      {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  for (const Block& block : kBlocks) {
    if (code >= block.first && code <= block.last) return true;
  }
  return false;
}

void append_lower(std::string& text, char32_t code) {
  if (code == kDottedCapitalI) {
    text += "i\xcc\x87";
  } else {
    append(text, static_cast<char32_t>(u_tolower(static_cast<UChar32>(code))));
  }
}

bool begins_segment(Form form, char32_t code) {
  if (code < kBasicPlane) return form_table(form).flags[code] & 1;
  return normalizer(form).hasBoundaryBefore(static_cast<UChar32>(code));
}

bool stable_alone(Form form, char32_t code) {
  if (code < kBasicPlane) return form_table(form).flags[code] & 2;
  return look_up_stable(form, code);
}

int combining_class(char32_t code) { return u_getCombiningClass(static_cast<UChar32>(code)); }

std::string normalized(Form form, std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const auto source = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  std::string result;
  normalizer(form).normalize(source, status).toUTF8String(result);
  ETUDE_CHECK(U_SUCCESS(status), "normal form of well-formed text");
  return result;
}

}  // namespace etude::unicode
