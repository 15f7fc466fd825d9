#include "etude/data/sets/rdata.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "etude/base/text.h"
#include "etude/data/sets/byte_reader.h"
#include "etude/data/sets/converters.h"

namespace etude {
namespace {

constexpr const char* kHint =
    "the file is damaged, or R wrote it in a way that is not read here: in R, save it again "
    "with save(..., version = 2)";
constexpr int kDeepest = 200;
constexpr double kMostCompact = 1 << 22;  // elements of sequences that are written as their ends

// What R writes in the lowest byte before each value.
enum Type : uint32_t {
  kNull = 0,
  kSymbol = 1,
  kPairList = 2,
  kClosure = 3,
  kEnvironment = 4,
  kPromise = 5,
  kCall = 6,
  kSpecial = 7,
  kBuiltin = 8,
  kChars = 9,
  kLogical = 10,
  kInteger = 13,
  kReal = 14,
  kComplex = 15,
  kText = 16,
  kDots = 17,
  kList = 19,
  kExpression = 20,
  kByteCode = 21,
  kPointer = 22,
  kWeakReference = 23,
  kRaw = 24,
  kS4 = 25,
  kAlternative = 238,
  kAttributePairList = 239,
  kAttributeCall = 240,
  kBaseEnvironment = 241,
  kEmptyEnvironment = 242,
  kPersistent = 247,
  kPackage = 248,
  kNamespace = 249,
  kBaseNamespace = 250,
  kMissingArgument = 251,
  kUnbound = 252,
  kGlobalEnvironment = 253,
  kNullValue = 254,
  kReference = 255,
};
constexpr uint32_t kHasAttributes = 1 << 9, kHasTag = 1 << 10;

RValue share(RObject object) { return std::make_shared<const RObject>(std::move(object)); }

RValue without_content(RKind kind) {
  RObject object;
  object.kind = kind;
  return share(std::move(object));
}

class Unserializer {
 public:
  Unserializer(std::string_view bytes, const std::string& place) : in_(bytes, place, kHint) {}

  RValue document() {
    const std::string_view format = in_.take(2);
    if (format != "X\n") {
      in_.fail(format == "A\n" || format == "B\n" ? "it is written as text or in a processor's own form, not in XDR"
                                                  : "it doesn't begin as R's data do");
    }
    const auto version = in_.big<uint32_t>();
    if (version != 2 && version != 3) in_.fail("its version of R's serialisation is " + std::to_string(version));
    in_.take(8);                                      // the versions of R that wrote it and that can read it
    if (version == 3) in_.take(in_.big<uint32_t>());  // the native encoding, of which as_utf8() needs no telling
    return value();
  }

 private:
  /// One level of nesting.
  struct Level {
    explicit Level(Unserializer& u) : self(u) {
      if (++self.depth_ > kDeepest) self.in_.fail("values are nested more than " + std::to_string(kDeepest) + " deep");
    }
    ~Level() { --self.depth_; }
    Unserializer& self;
  };

  RValue value() { return value(in_.big<uint32_t>()); }

  RValue value(uint32_t flags) {
    const Level level(*this);
    switch (flags & 0xFF) {
      case kNull:
      case kNullValue:
        return null_;
      case kSymbol:
        return remember(symbol());
      case kReference:
        return reference(flags);
      case kPairList:
      case kAttributePairList:
        return pair_list(flags, RKind::list);
      case kClosure:
      case kPromise:
      case kCall:
      case kDots:
      case kAttributeCall:
        return pair_list(flags, RKind::code);
      case kSpecial:
      case kBuiltin:
        in_.take(in_.big<uint32_t>());
        return without_content(RKind::code);
      case kLogical:
        return vector(flags, RKind::logical, integers());
      case kInteger:
        return vector(flags, RKind::integer, integers());
      case kReal:
        return vector(flags, RKind::real, reals(1));
      case kComplex:
        return vector(flags, RKind::complex, reals(2));
      case kText:
        return texts(flags);
      case kRaw:
        return vector(flags, RKind::raw, std::string(in_.take(length(1))));
      case kList:
      case kExpression:
        return vector(flags, RKind::list, values());
      case kS4:
        return vector(flags, RKind::other, std::monostate());
      case kAlternative:
        return alternative();
      case kEnvironment:
        return environment();
      case kPersistent:
      case kPackage:
      case kNamespace:
        named_environment();
        return remember(without_content(RKind::other));
      case kPointer:
      case kWeakReference:
        return pointer(flags);
      case kBaseEnvironment:
      case kEmptyEnvironment:
      case kBaseNamespace:
      case kGlobalEnvironment:
      case kMissingArgument:
      case kUnbound:
        return without_content(RKind::other);
      case kByteCode:
        in_.fail("it holds compiled code, which is no data");
      default:
        in_.fail("there is no value of type " + std::to_string(flags & 0xFF));
    }
  }

  RValue remember(RValue value) {
    references_.push_back(value);
    return value;
  }

  RValue reference(uint32_t flags) {
    const uint32_t index = flags >> 8 ? flags >> 8 : in_.big<uint32_t>();
    if (index == 0 || index > references_.size()) {
      in_.fail("it refers to value " + std::to_string(index) + " of " + std::to_string(references_.size()));
    }
    return references_[index - 1];
  }

  /// The number of elements that follow, of at least so many bytes each.
  size_t length(size_t element) {
    uint64_t count = in_.big<uint32_t>();
    if (count == 0xFFFFFFFF) {
      count = uint64_t{in_.big<uint32_t>()} << 32;
      count |= in_.big<uint32_t>();
    }
    if (count > in_.left() / element) {
      in_.fail("a vector of " + std::to_string(count) + " elements doesn't fit into the " + std::to_string(in_.left()) +
               " bytes that are left");
    }
    return count;
  }

  std::vector<int32_t> integers() {
    const std::string_view bytes = in_.take(4 * length(4));
    ByteReader each(bytes, in_.place(), kHint);
    std::vector<int32_t> all(bytes.size() / 4);
    for (int32_t& value : all) value = static_cast<int32_t>(each.big<uint32_t>());
    return all;
  }

  std::vector<double> reals(size_t parts) {
    const std::string_view bytes = in_.take(8 * parts * length(8 * parts));
    ByteReader each(bytes, in_.place(), kHint);
    std::vector<double> all(bytes.size() / 8);
    for (double& value : all) value = std::bit_cast<double>(each.big<uint64_t>());
    return all;
  }

  std::vector<RValue> values() {
    const size_t count = length(4);
    std::vector<RValue> all;
    all.reserve(count);
    for (size_t i = 0; i < count; ++i) all.push_back(value());
    return all;
  }

  /// None for NA.
  std::optional<std::string> chars() {
    const auto flags = in_.big<uint32_t>();
    if ((flags & 0xFF) != kChars) in_.fail("a text has type " + std::to_string(flags & 0xFF));
    const auto size = in_.big<uint32_t>();
    std::optional<std::string> text;
    if (size != 0xFFFFFFFF) {
      text = as_utf8(std::string(in_.take(size)));
      if (text->find('\0') != text->npos) in_.fail("a text has a NUL byte");
    }
    if (flags & kHasAttributes) value();
    return text;
  }

  RValue texts(uint32_t flags) {
    const size_t count = length(8);
    std::vector<std::string> all(count);
    std::vector<uint32_t> missing;
    for (size_t i = 0; i < count; ++i) {
      if (auto text = chars()) {
        all[i] = std::move(*text);
      } else {
        missing.push_back(static_cast<uint32_t>(i));
      }
    }
    return vector(flags, RKind::text, std::move(all), std::move(missing));
  }

  RValue symbol() {
    RObject object;
    object.kind = RKind::symbol;
    object.data = std::vector<std::string>{chars().value_or("NA")};
    return share(std::move(object));
  }

  template <class Data>
  RValue vector(uint32_t flags, RKind kind, Data data, std::vector<uint32_t> missing = {}) {
    RObject object;
    object.kind = kind;
    object.data = std::move(data);
    object.missing_texts = std::move(missing);
    if (flags & kHasAttributes) object.attributes = attributes();
    return share(std::move(object));
  }

  std::vector<std::pair<std::string, RValue>> attributes() {
    const RValue list = value();
    if (list->kind == RKind::null) return {};
    if (list->kind != RKind::list) in_.fail("attributes are no list");
    std::vector<std::string> names = list->names();
    names.resize(list->size());
    std::vector<std::pair<std::string, RValue>> all;
    for (size_t i = 0; i < names.size(); ++i) all.emplace_back(std::move(names[i]), list->items()[i]);
    return all;
  }

  /// Pairs as a list, the tags as its names. A loop, as data may be lists of a million pairs.
  RValue pair_list(uint32_t flags, RKind kind) {
    RObject list;
    list.kind = kind;
    std::vector<RValue> items;
    std::vector<std::string> tags;
    bool tagged = false;
    while (true) {
      if (flags & kHasAttributes) {
        auto found = attributes();
        if (items.empty()) list.attributes = std::move(found);
      }
      std::string& tag = tags.emplace_back();
      if (flags & kHasTag) {
        const RValue name = value();
        if (name->kind == RKind::symbol) tag = name->texts()[0];
        tagged = true;
      }
      items.push_back(value());
      flags = in_.big<uint32_t>();
      const uint32_t type = flags & 0xFF;
      if (type == kNullValue || type == kNull) break;
      if (type != kPairList && type != kCall && type != kAttributePairList && type != kAttributeCall) {
        items.push_back(value(flags));
        tags.emplace_back();
        break;
      }
    }
    if (kind == RKind::code) return without_content(kind);
    list.data = std::move(items);
    if (tagged) {
      RObject names;
      names.kind = RKind::text;
      names.data = std::move(tags);
      list.attributes.emplace_back("names", share(std::move(names)));
    }
    return share(std::move(list));
  }

  RValue environment() {
    in_.take(4);  // whether it is locked
    const RValue self = remember(without_content(RKind::other));
    for (int part = 0; part < 4; ++part) value();  // the one around it, its frame, its table, its attributes
    return self;
  }

  void named_environment() {
    in_.take(4);  // always 0
    for (size_t count = length(8); count > 0; --count) chars();
  }

  RValue pointer(uint32_t flags) {
    const RValue self = remember(without_content(RKind::other));
    if ((flags & 0xFF) == kPointer) {
      value();
      value();
    }
    if (flags & kHasAttributes) value();
    return self;
  }

  /// Vectors that R keeps in another form: sequences as their ends, numbers that will be texts, wrapped vectors.
  RValue alternative() {
    const RValue info = value(), state = value(), attributes = value();
    if (info->kind != RKind::list || info->items().empty() || info->items()[0]->kind != RKind::symbol) {
      in_.fail("a vector in another form doesn't tell which");
    }
    const std::string name = info->items()[0]->texts()[0];
    RObject object;
    if (name == "compact_intseq" || name == "compact_realseq") {
      object = sequence(*state, name == "compact_intseq");
    } else if (name == "deferred_string") {
      object = deferred_texts(*state);
    } else if (name.starts_with("wrap_")) {
      if (state->kind != RKind::list || state->items().empty()) in_.fail("a wrapped vector is empty");
      object = *state->items()[0];
      object.attributes.clear();
    } else {
      in_.fail("vectors of the form '" + printable(name) + "' are not read");
    }
    if (attributes->kind == RKind::list) {
      std::vector<std::string> names = attributes->names();
      names.resize(attributes->size());
      for (size_t i = 0; i < names.size(); ++i) object.attributes.emplace_back(names[i], attributes->items()[i]);
    }
    return share(std::move(object));
  }

  RObject sequence(const RObject& state, bool whole) {
    if (state.kind != RKind::real || state.size() != 3) in_.fail("a sequence has no three numbers");
    const double count = state.reals()[0], first = state.reals()[1], step = state.reals()[2];
    compact_ += count;
    if (!(count >= 0) || !(compact_ <= kMostCompact) || std::abs(first) > INT32_MAX || !(std::abs(step) <= 1)) {
      in_.fail("a sequence of " + plain_number(count) + " numbers from " + plain_number(first) + " is too long");
    }
    if (std::isnan(first) || std::abs(first) + count > INT32_MAX) in_.fail("a sequence leaves the range of integers");
    RObject object;
    object.kind = whole ? RKind::integer : RKind::real;
    std::vector<double> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = first + step * static_cast<double>(i);
    if (whole) {
      object.data = std::vector<int32_t>(values.begin(), values.end());
    } else {
      object.data = std::move(values);
    }
    return object;
  }

  RObject deferred_texts(const RObject& state) {
    if (state.kind != RKind::list || state.items().empty()) in_.fail("texts of numbers lack the numbers");
    const RObject& numbers = *state.items()[0];
    if (numbers.kind != RKind::integer && numbers.kind != RKind::real) in_.fail("texts of numbers lack the numbers");
    RObject object;
    object.kind = RKind::text;
    std::vector<std::string> all(numbers.size());
    for (size_t i = 0; i < all.size(); ++i) {
      if (auto text = numbers.text(i)) {
        all[i] = std::move(*text);
      } else {
        object.missing_texts.push_back(static_cast<uint32_t>(i));
      }
    }
    object.data = std::move(all);
    return object;
  }

  ByteReader in_;
  std::vector<RValue> references_;
  RValue null_ = without_content(RKind::null);
  int depth_ = 0;
  double compact_ = 0;
};

}  // namespace

RValue read_rds(std::string_view bytes, const std::string& place) { return Unserializer(bytes, place).document(); }

std::vector<std::pair<std::string, RValue>> read_rda(std::string_view bytes, const std::string& place) {
  if (!bytes.starts_with("RDX2\n") && !bytes.starts_with("RDX3\n")) {
    throw Error(Code::data, "it doesn't begin with RDX2 or RDX3 as files of R's save() do", place, kHint);
  }
  const RValue all = read_rds(bytes.substr(5), place);
  if (all->kind == RKind::null) return {};
  if (all->kind != RKind::list || all->names().size() != all->size()) {
    throw Error(Code::data, "it holds no named values", place, kHint);
  }
  std::vector<std::pair<std::string, RValue>> named;
  const std::vector<std::string> names = all->names();
  for (size_t i = 0; i < names.size(); ++i) named.emplace_back(names[i], all->items()[i]);
  return named;
}

}  // namespace etude
