#pragma once
// Characters: reading UTF-8, classes of the Unicode standard, normal forms (UAX #15). ICU stays behind this header.

#include <cstddef>
#include <string>
#include <string_view>

namespace etude::unicode {

/// A character of a text. Bytes that are no UTF-8 are characters of one byte whose code is kIllFormed.
struct Char {
  char32_t code;
  size_t length;  ///< bytes
};
inline constexpr char32_t kIllFormed = 0xFFFD;

Char decode_long(std::string_view text, size_t at);
/// The character at byte `at`. Required: at < text.size().
inline Char decode(std::string_view text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {byte, 1};
  return decode_long(text, at);
}
/// Whether the character at `at` is ill-formed; U+FFFD itself is not.
inline bool ill_formed(const Char& c) { return c.code == kIllFormed && c.length == 1; }
/// Where the character before byte `at` begins. Required: at > 0.
size_t before(std::string_view text, size_t at);
void append(std::string& text, char32_t code);
size_t count(std::string_view text);  ///< characters

/// Bits of what a character is.
enum Class : unsigned char {
  kLetter = 1,       ///< L
  kNumber = 2,       ///< N
  kSpace = 4,        ///< White_Space
  kPunctuation = 8,  ///< P
  kWord = 16,        ///< Alphabetic, M, Nd, Pc, Join_Control: \w of UTS #18
  kMark = 32,        ///< M
  kNonspacing = 64,  ///< Mn
  kOther = 128       ///< Cc, Cf, Co, Cs: assigned, but for no character that is seen
};
unsigned char classes(char32_t code);
inline bool is(char32_t code, int any_of) { return (classes(code) & any_of) != 0; }
/// Punctuation as BERT sees it: every mark and symbol of ASCII, and P.
bool is_bert_punctuation(char32_t code);
/// The blocks of ideographs that BERT takes one by one.
bool is_ideograph(char32_t code);

/// Lower case of a character by itself, appended; two characters for U+0130.
void append_lower(std::string& text, char32_t code);

enum class Form { nfc, nfd, nfkc, nfkd };
/// Whether a normal form can be computed up to this character without looking at what follows it.
bool begins_segment(Form form, char32_t code);
/// Whether a character that stands alone in its segment is its own normal form.
bool stable_alone(Form form, char32_t code);
/// By which the marks of a segment are sorted; 0 for what keeps its place.
int combining_class(char32_t code);
/// The normal form of well-formed UTF-8.
std::string normalized(Form form, std::string_view text);

}  // namespace etude::unicode
