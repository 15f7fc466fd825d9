#include <algorithm>
#include <cmath>
#include <numeric>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/data/sets/archive.h"
#include "etude/data/sets/byte_reader.h"
#include "etude/data/sets/inflate.h"
#include "etude/data/sets/rdata.h"
#include "etude/data/sets/xz_frame.h"

namespace etude {
namespace {

constexpr const char* kHint = "the package's data are damaged: fetch the set again";
constexpr uint32_t kLargestValue = uint32_t{1} << 30;  // bytes

/// A whole number that isn't negative, from an integer or a real.
uint64_t whole(const RObject& numbers, size_t i, const std::string& place) {
  const double value = numbers.kind == RKind::integer && i < numbers.size() ? numbers.integers()[i]
                       : numbers.kind == RKind::real && i < numbers.size()  ? numbers.reals()[i]
                                                                            : -1;
  if (!(value >= 0 && value < 9e15) || value != std::floor(value)) {
    throw Error(Code::data, "the index has no offset and length of a value", place, kHint);
  }
  return static_cast<uint64_t>(value);
}

}  // namespace

RLazyData::RLazyData(std::string_view rdx, std::string_view rdb, std::string place)
    : rdb_(rdb), place_(std::move(place)) {
  const std::string index_place = place_ + ".rdx";
  const RValue index = read_rds(rdx, index_place);
  const RObject* variables = index->item("variables");
  const RObject* compressed = index->item("compressed");
  if (!variables || variables->kind != RKind::list || variables->names().size() != variables->size()) {
    throw Error(Code::data, "the index has no list 'variables'", index_place, kHint);
  }
  compression_ = compressed && (compressed->kind == RKind::logical || compressed->kind == RKind::integer) &&
                         compressed->size() == 1
                     ? compressed->integers()[0]
                     : 0;
  const std::vector<std::string> names = variables->names();
  std::vector<size_t> order(names.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return names[a] < names[b]; });
  for (const size_t i : order) {
    const RObject& part = *variables->items()[i];
    names_.push_back(names[i]);
    parts_.emplace_back(whole(part, 0, index_place), whole(part, 1, index_place));
  }
}

RValue RLazyData::read(const std::string& name) const {
  const auto found = std::lower_bound(names_.begin(), names_.end(), name);
  if (found == names_.end() || *found != name) {
    throw Error(Code::data, "there is no value '" + printable(name) + "'", place_ + ".rdx",
                did_you_mean(name, names_, kHint));
  }
  const auto [offset, length] = parts_[static_cast<size_t>(found - names_.begin())];
  ByteReader in(rdb_, place_ + ".rdb", kHint);
  in.seek(offset);
  const std::string place = place_ + ".rdb: " + printable(name);
  std::string_view packed = in.take(length);
  if (compression_ == 0) return read_rds(packed, place);

  ByteReader part(packed, place, kHint);
  const auto size = part.big<uint32_t>();
  if (size > kLargestValue) part.fail("a value of " + std::to_string(size) + " bytes is too large");
  packed.remove_prefix(4);
  if (compression_ == 1) return read_rds(inflated(packed, size, place), place);
  const std::string_view method = part.take(1);
  packed.remove_prefix(1);
  if (method == "0") return read_rds(packed, place);
  if (method != "2" && method != "Z")
    part.fail("how it is packed is told by '" + printable(method) + "', not 0, 2 or Z");
  return read_rds(unpacked(method == "Z" ? as_xz(packed, size) : std::string(packed), place, size), place);
}

}  // namespace etude
