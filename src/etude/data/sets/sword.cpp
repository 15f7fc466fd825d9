#include "etude/data/sets/sword.h"

#include <algorithm>
#include <optional>

#include "etude/data/sets/byte_reader.h"
#include "etude/data/sets/converters.h"
#include "etude/data/sets/inflate.h"
#include "etude/data/sets/markup.h"

namespace etude {
namespace {

constexpr const char* kHint = "the module is damaged or of another kind: fetch the set again";
constexpr size_t kBlockEntry = 12, kVerseEntry = 10;
constexpr size_t kLargestBlock = size_t{64} << 20;  // a book; Psalms has 1.5 MB of markup

size_t slots(const std::vector<VerseBook>& books) {
  size_t count = 2;
  for (const VerseBook& book : books) {
    count += 1 + book.verses.size();
    for (const int verses : book.verses) count += static_cast<size_t>(verses);
  }
  return count;
}

class Testament {
 public:
  Testament(const SwordFiles& files, const std::string& place)
      : bzs_(files.bzs, place + ".bzs", kHint),
        bzv_(files.bzv, place + ".bzv", kHint),
        bzz_(files.bzz, place + ".bzz", kHint),
        blocks_(files.bzs.size() / kBlockEntry) {
    if (files.bzs.size() % kBlockEntry != 0) bzs_.fail(uneven(files.bzs, kBlockEntry));
    if (files.bzv.size() % kVerseEntry != 0) bzv_.fail(uneven(files.bzv, kVerseEntry));
  }

  size_t slots() const { return bzv_.left() / kVerseEntry; }
  const ByteReader& index() const { return bzv_; }

  /// The markup of the next slot; valid until the next call.
  std::string_view next() {
    const auto block = bzv_.little<uint32_t>();
    const auto first = bzv_.little<uint32_t>();
    const auto length = bzv_.little<uint16_t>();
    if (length == 0) return {};
    if (block >= blocks_) {
      bzv_.fail("it refers to block " + std::to_string(block) + " of " + std::to_string(blocks_));
    }
    if (block != open_) open(block);
    if (first > text_.size() || length > text_.size() - first) {
      bzv_.fail("bytes " + std::to_string(first) + " to " + std::to_string(uint64_t{first} + length) +
                " lie outside of block " + std::to_string(block) + ", which has " + std::to_string(text_.size()));
    }
    return std::string_view(text_).substr(first, length);
  }

 private:
  static std::string uneven(std::string_view bytes, size_t entry) {
    return "its " + std::to_string(bytes.size()) + " bytes are no whole number of entries of " + std::to_string(entry);
  }

  void open(uint32_t block) {
    bzs_.seek(block * kBlockEntry);
    const auto offset = bzs_.little<uint32_t>();
    const auto packed = bzs_.little<uint32_t>();
    const auto size = bzs_.little<uint32_t>();
    if (size > kLargestBlock) bzs_.fail("a block of " + std::to_string(size) + " bytes is larger than any book");
    bzz_.seek(offset);
    text_ = inflated(bzz_.take(packed), size, bzz_.place() + ": byte " + std::to_string(offset));
    open_ = block;
  }

  ByteReader bzs_, bzv_, bzz_;
  size_t blocks_;
  std::optional<uint32_t> open_;
  std::string text_;
};

/// The value of an attribute of a tag ("w lemma=\"strong:H1\""); "" without it.
std::string_view attribute(std::string_view tag, std::string_view name) {
  const std::string begin = " " + std::string(name) + "=\"";
  const size_t at = tag.find(begin);
  if (at == tag.npos) return {};
  tag.remove_prefix(at + begin.size());
  return tag.substr(0, tag.find('"'));
}

/// "strong:G2424 strong:G5547" and "strong:G2424 G5547" as "G2424 G5547".
std::string strong_numbers(std::string_view lemma) {
  std::string numbers;
  while (!lemma.empty()) {
    std::string_view word = lemma.substr(0, lemma.find(' '));
    lemma.remove_prefix(std::min(lemma.size(), word.size() + 1));
    if (word.starts_with("strong:")) word.remove_prefix(7);
    if (word.size() < 2 || (word[0] != 'H' && word[0] != 'G')) continue;
    if (!numbers.empty()) numbers += ' ';
    numbers += word;
  }
  return numbers;
}

}  // namespace

void read_osis(std::string_view markup, const std::string& place, Verse& verse) {
  const std::string whole = as_utf8(std::string(markup));
  markup = whole;
  std::string text, numbers;
  size_t word_begin = 0;
  int hidden = 0;  // open notes and titles
  while (!markup.empty()) {
    const size_t tag_at = markup.find('<');
    if (hidden == 0) text += without_entities(markup.substr(0, tag_at));
    if (tag_at == markup.npos) break;
    const size_t end = markup.find('>', tag_at);
    if (end == markup.npos) throw Error(Code::data, "a tag of the markup doesn't end", place, kHint);
    std::string_view tag = markup.substr(tag_at + 1, end - tag_at - 1);
    markup.remove_prefix(end + 1);

    const bool closing = tag.starts_with('/');
    if (closing) tag.remove_prefix(1);
    const bool empty = tag.ends_with('/');
    const std::string_view name = tag.substr(0, tag.find_first_of(" /"));
    if (name == "note" || name == "title") {
      if (closing) {
        hidden = std::max(0, hidden - 1);
      } else if (!empty) {
        ++hidden;
      }
    } else if (name == "w" && hidden == 0 && !empty) {
      if (!closing) {
        numbers = strong_numbers(attribute(tag, "lemma"));
        word_begin = text.size();
      } else if (!numbers.empty()) {
        std::string surface = one_line(std::string_view(text).substr(word_begin));
        if (!surface.empty()) verse.words.emplace_back(std::move(surface), numbers);
        numbers.clear();
      }
    }
  }
  verse.text = one_line(text);
}

void read_verses(const SwordFiles& files, const std::vector<VerseBook>& books, const std::string& place,
                 const std::function<void(const Verse&)>& on_verse) {
  Testament testament(files, place);
  if (testament.slots() != slots(books)) {
    testament.index().fail("it has " + std::to_string(testament.slots()) + " slots where this versification has " +
                           std::to_string(slots(books)));
  }
  testament.next();  // of the module
  testament.next();  // of the testament
  for (const VerseBook& book : books) {
    testament.next();
    for (size_t chapter = 0; chapter < book.verses.size(); ++chapter) {
      testament.next();
      for (int number = 1; number <= book.verses[chapter]; ++number) {
        Verse verse;
        verse.book = book.name;
        verse.chapter = static_cast<int>(chapter) + 1;
        verse.verse = number;
        const std::string reference = book.name + " " + std::to_string(verse.chapter) + ":" + std::to_string(number);
        read_osis(testament.next(), place + " " + reference, verse);
        on_verse(verse);
      }
    }
  }
}

}  // namespace etude
