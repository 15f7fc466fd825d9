#include "etude/data/corpus/token_file.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "etude/base/text.h"
#include "etude/data/corpus/errors.h"

namespace etude::corpus {
namespace {

static_assert(std::endian::native == std::endian::little, "ids are read as they lie in files");

using Type = TokenRun::Type;

template <class T>
T load(std::string_view bytes, size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

bool ends(std::string_view name, std::string_view end) {
  if (name.size() < end.size()) return false;
  const std::string_view tail = name.substr(name.size() - end.size());
  for (size_t i = 0; i < end.size(); ++i) {
    const char c = tail[i] >= 'A' && tail[i] <= 'Z' ? static_cast<char>(tail[i] | 0x20) : tail[i];
    if (c != end[i]) return false;
  }
  return true;
}

constexpr const char* kToArray = "save it anew: numpy.save(NEW, numpy.load(OLD).reshape(-1).astype('<u2'))";

/// The Python literal of a .npy header: {'descr': '<u2', 'fortran_order': False, 'shape': (10,), }
class ArrayHeader {
 public:
  ArrayHeader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  void read() {
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      const bool twice = (key == "descr" && descr) || (key == "fortran_order" && fortran) || (key == "shape" && shape);
      if (twice) fail("'" + key + "' is there twice");
      if (key == "descr") {
        if (peek() == '[') fail("its elements have several fields");
        descr = string();
      } else if (key == "fortran_order") {
        fortran = truth();
      } else if (key == "shape") {
        shape = tuple();
      } else {
        fail("there is a key '" + printable(key) + "'");
      }
      if (!take(',') && peek() != '}') fail("',' or '}' is missing after '" + key + "'");
    }
    if (peek() != '\0') fail("something follows the header's '}'");
    if (!descr || !fortran || !shape) fail("descr, fortran_order or shape is missing");
  }

  struct Shape {
    int64_t dimensions = 0, first = 0;
    std::string text;
  };
  std::optional<std::string> descr;
  std::optional<bool> fortran;
  std::optional<Shape> shape;

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw refuse("the header of the array can't be read: " + what, name_, kToArray);
  }

  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(std::string("'") + c + "' is missing at byte " + std::to_string(at_));
  }

  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("a string is missing at byte " + std::to_string(at_));
    const size_t end = text_.find(quote, ++at_);
    if (end == std::string_view::npos || end - at_ > 100) fail("a string is not closed");
    const std::string value(text_.substr(at_, end - at_));
    at_ = end + 1;
    return value;
  }

  bool truth() {
    peek();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    fail("fortran_order is neither True nor False");
  }

  Shape tuple() {
    Shape made;
    expect('(');
    const size_t begin = at_ - 1;
    while (!take(')')) {
      peek();
      int64_t n = 0;
      const auto [stop, problem] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), n);
      if (problem != std::errc() || n < 0) fail("the shape has no size at byte " + std::to_string(at_));
      at_ = static_cast<size_t>(stop - text_.data());
      if (made.dimensions++ == 0) made.first = n;
      if (!take(',') && peek() != ')') fail("the shape is not closed");
    }
    made.text = printable(text_.substr(begin, at_ - begin));
    return made;
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

TokenRun npy_run(std::string_view head, int64_t size, const std::string& name) {
  static constexpr std::string_view kMagic = "\x93NUMPY";
  if (!head.starts_with(kMagic) || head.size() < 10) throw refuse("this is no .npy file", name, kToArray);
  const int major = static_cast<unsigned char>(head[6]), minor = static_cast<unsigned char>(head[7]);
  if (major < 1 || major > 3 || minor != 0) {
    throw refuse("the .npy format " + std::to_string(major) + "." + std::to_string(minor) + " is unknown", name,
                 kToArray);
  }
  const size_t begin = major == 1 ? 10 : 12;
  const size_t length = major == 1 ? load<uint16_t>(head, 8) : head.size() >= 12 ? load<uint32_t>(head, 8) : 0;
  if (length == 0 || length > head.size() || begin > head.size() - length) {
    throw refuse("the header of the array says it has " + std::to_string(length) + " bytes, which are not there", name,
                 "copy the file again");
  }
  ArrayHeader header(head.substr(begin, length), name);
  header.read();

  TokenRun run;
  static constexpr std::pair<std::string_view, Type> kTypes[] = {
      {"<u2", Type::u2}, {"<u4", Type::u4}, {"<i4", Type::i4}, {"<i8", Type::i8}};
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return t.first == *header.descr; });
  if (found == std::end(kTypes)) {
    throw refuse("the array's elements are '" + printable(*header.descr) + "', not token ids: <u2, <u4, <i4 or <i8",
                 name, kToArray);
  }
  if (header.shape->dimensions != 1 || *header.fortran) {
    throw refuse("the array has the shape " + header.shape->text + (*header.fortran ? " in Fortran's order" : "") +
                     ", token ids have one dimension",
                 name, kToArray);
  }
  run.type = found->second;
  run.offset = static_cast<int64_t>(begin + length);
  run.count = header.shape->first;
  const int64_t bytes = size - run.offset;
  if (bytes % run.width() != 0 || bytes / run.width() != run.count) {
    throw refuse("the array says it has " + std::to_string(run.count) + " ids of " + std::to_string(run.width()) +
                     " bytes, but " + std::to_string(bytes) + " bytes follow its header",
                 name, "copy the file again");
  }
  return run;
}

TokenRun bin_run(std::string_view head, int64_t size, const std::string& name) {
  TokenRun run;
  constexpr int64_t kHeader = 256 * 4;
  const int32_t magic = head.size() >= 4 ? load<int32_t>(head, 0) : 0;
  if (magic == 20240520 || magic == 20240801) {
    if (size < kHeader) throw refuse("the file ends within its header of 1024 bytes", name, "copy the file again");
    const auto version = load<int32_t>(head, 4), count = load<int32_t>(head, 8);
    const int32_t known = magic == 20240520 ? 1 : 7;
    if (version != known) {
      throw refuse("the header has the version " + std::to_string(version) + "; known is " + std::to_string(known),
                   name, "write the ids without a header, as uint16 (.bin) or uint32 (.u32.bin)");
    }
    run.type = magic == 20240520 ? Type::u2 : Type::u4;
    run.offset = kHeader;
    run.count = count;
    const int64_t bytes = size - kHeader;
    if (bytes % run.width() != 0 || bytes / run.width() != count) {
      throw refuse("the header says there are " + std::to_string(count) + " ids of " + std::to_string(run.width()) +
                       " bytes, but " + std::to_string(bytes) + " bytes follow it",
                   name, "copy the file again");
    }
    return run;
  }
  run.type = ends(name, ".u32.bin") || ends(name, ".uint32.bin") ? Type::u4 : Type::u2;
  if (size % run.width() != 0) {
    throw refuse(
        std::to_string(size) + " bytes are no whole number of ids of " + std::to_string(run.width()) + " bytes", name,
        "a cut file? Ids are uint16, or uint32 where the name ends in .u32.bin");
  }
  run.count = size / run.width();
  return run;
}

template <class T>
void copy_tokens(const char* from, int64_t begin, int64_t count, int64_t limit, const std::string& name, int32_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    T id{};
    std::memcpy(&id, from + i * static_cast<int64_t>(sizeof id), sizeof id);
    if (static_cast<int64_t>(id) < 0 || static_cast<int64_t>(id) >= limit) {
      throw refuse("id " + std::to_string(id) + " at place " + std::to_string(begin + i) +
                       " is not in the vocabulary of " + std::to_string(limit),
                   name, "are these ids of this tokenizer, and of the type that the file's name and header say?");
    }
    out[i] = static_cast<int32_t>(id);
  }
}

}  // namespace

TokenRun token_run(std::string_view head, int64_t size, const std::string& name) {
  ETUDE_CHECK(static_cast<int64_t>(head.size()) <= size, "the head is a part of the file");
  const TokenRun run = ends(name, ".npy") ? npy_run(head, size, name) : bin_run(head, size, name);
  if (run.count == 0) throw refuse("there are no ids in this file", name, "put ids into it, or remove it");
  return run;
}

bool is_token_name(std::string_view name) { return ends(name, ".bin") || ends(name, ".npy"); }

void read_tokens(std::string_view bytes, const TokenRun& run, int64_t begin, int64_t count, int64_t limit,
                 const std::string& name, int32_t* out) {
  ETUDE_CHECK(begin >= 0 && count >= 0 && begin <= run.count - count, "ids of the file");
  const char* const from = bytes.data() + run.offset + begin * run.width();
  switch (run.type) {
    case Type::u2:
      return copy_tokens<uint16_t>(from, begin, count, limit, name, out);
    case Type::u4:
      return copy_tokens<uint32_t>(from, begin, count, limit, name, out);
    case Type::i4:
      return copy_tokens<int32_t>(from, begin, count, limit, name, out);
    case Type::i8:
      return copy_tokens<int64_t>(from, begin, count, limit, name, out);
  }
}

}  // namespace etude::corpus
