#include "etude/data/sets/mo.h"

#include "etude/data/sets/byte_reader.h"
#include "etude/data/sets/converters.h"

namespace etude {
namespace {

constexpr const char* kHint = "the catalogue is damaged: fetch the set again";
constexpr uint32_t kMagic = 0x950412DE, kSwapped = 0xDE120495;
constexpr size_t kEntry = 8;  // length and offset of a text

std::vector<std::string> split_at_nul(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = text.find('\0');
    parts.push_back(as_utf8(std::string(text.substr(0, end))));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

class Catalogue {
 public:
  Catalogue(std::string_view bytes, const std::string& place) : in_(bytes, place, kHint), budget_(bytes.size()) {
    const auto magic = in_.little<uint32_t>();
    if (magic != kMagic && magic != kSwapped) in_.fail("it doesn't begin as a catalogue of messages does");
    swapped_ = magic == kSwapped;
    const uint32_t revision = number();
    if (revision >> 16 > 1) in_.fail("its revision is " + std::to_string(revision >> 16) + ", not 0 or 1");
    count_ = number();
    sources_ = number();
    translations_ = number();
  }

  uint32_t count() const { return count_; }
  std::string_view source(uint32_t i) { return text(sources_, i); }
  std::string_view translation(uint32_t i) { return text(translations_, i); }

 private:
  uint32_t number() { return swapped_ ? in_.big<uint32_t>() : in_.little<uint32_t>(); }

  /// A text of a table. Texts don't share bytes, so that all of them together are no longer than the file.
  std::string_view text(uint32_t table, uint32_t i) {
    in_.seek(table + size_t{i} * kEntry);
    const size_t length = number();
    in_.seek(number());
    const std::string_view text = in_.take(length);
    if (length > budget_) in_.fail("its texts overlap");
    budget_ -= length;
    return text;
  }

  ByteReader in_;
  bool swapped_ = false;
  uint32_t count_ = 0, sources_ = 0, translations_ = 0;
  size_t budget_;
};

}  // namespace

std::vector<Message> read_mo(std::string_view bytes, const std::string& place) {
  Catalogue catalogue(bytes, place);
  std::vector<Message> messages;
  for (uint32_t i = 0; i < catalogue.count(); ++i) {
    std::string_view source = catalogue.source(i);
    const std::string_view translation = catalogue.translation(i);
    if (source.empty()) continue;  // the header
    Message message;
    const size_t context = source.find('\4');
    if (context != source.npos) {
      message.context = as_utf8(std::string(source.substr(0, context)));
      source.remove_prefix(context + 1);
    }
    std::vector<std::string> sources = split_at_nul(source);
    message.source = std::move(sources[0]);
    if (sources.size() > 1) message.plural = std::move(sources[1]);
    message.translations = split_at_nul(translation);
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace etude
