#include <algorithm>
#include <cmath>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/data/sets/rdata.h"

namespace etude {
namespace {

constexpr const char* kHint = "the data set is another than expected: take the version that `etude data show` names";

template <class Data>
const Data& held(const RObject& object, std::string_view wanted) {
  if (const Data* data = std::get_if<Data>(&object.data)) return *data;
  throw Error(Code::data,
              "a value of R is " + std::string(kind_name(object.kind)) + " where " + std::string(wanted) + " is needed",
              "", kHint);
}

}  // namespace

std::string_view kind_name(RKind kind) {
  switch (kind) {
    case RKind::null:
      return "NULL";
    case RKind::logical:
      return "logical";
    case RKind::integer:
      return "integer";
    case RKind::real:
      return "real";
    case RKind::complex:
      return "complex";
    case RKind::text:
      return "text";
    case RKind::raw:
      return "raw";
    case RKind::list:
      return "list";
    case RKind::symbol:
      return "symbol";
    case RKind::code:
      return "code";
    case RKind::other:
      return "other";
  }
  return "other";
}

const std::vector<int32_t>& RObject::integers() const { return held<std::vector<int32_t>>(*this, "integer"); }
const std::vector<double>& RObject::reals() const { return held<std::vector<double>>(*this, "real"); }
const std::vector<std::string>& RObject::texts() const { return held<std::vector<std::string>>(*this, "text"); }
const std::vector<RValue>& RObject::items() const { return held<std::vector<RValue>>(*this, "list"); }

size_t RObject::size() const {
  if (kind == RKind::complex) return reals().size() / 2;
  return std::visit(
      [](const auto& values) -> size_t {
        if constexpr (requires { values.size(); }) return values.size();
        return 0;
      },
      data);
}

const RObject* RObject::attribute(std::string_view name) const {
  for (const auto& [key, value] : attributes)
    if (key == name) return value.get();
  return nullptr;
}

std::vector<std::string> RObject::names() const {
  const RObject* names = attribute("names");
  return names && names->kind == RKind::text ? names->texts() : std::vector<std::string>();
}

const RObject* RObject::item(std::string_view name) const {
  const std::vector<std::string> all = names();
  const size_t at = static_cast<size_t>(std::find(all.begin(), all.end(), name) - all.begin());
  return kind == RKind::list && at < all.size() && at < size() ? items()[at].get() : nullptr;
}

bool RObject::is(std::string_view r_class) const {
  const RObject* all = attribute("class");
  return all && all->kind == RKind::text && std::count(all->texts().begin(), all->texts().end(), r_class) > 0;
}

std::optional<std::string> RObject::text(size_t i) const {
  if (i >= size()) return std::nullopt;
  switch (kind) {
    case RKind::text:
      if (std::binary_search(missing_texts.begin(), missing_texts.end(), i)) return std::nullopt;
      return texts()[i];
    case RKind::real:
      if (std::isnan(reals()[i])) return std::nullopt;
      return plain_number(reals()[i]);
    case RKind::logical:
      if (integers()[i] == kRMissing) return std::nullopt;
      return integers()[i] ? "TRUE" : "FALSE";
    case RKind::integer: {
      const int32_t value = integers()[i];
      if (value == kRMissing) return std::nullopt;
      if (!is("factor")) return std::to_string(value);
      const RObject* levels = attribute("levels");
      return levels && levels->kind == RKind::text && value > 0 ? levels->text(static_cast<size_t>(value) - 1)
                                                                : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

const RObject& RFrame::column(const std::string& name) const {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw Error(Code::data, "there is no column '" + printable(name) + "'", "", did_you_mean(name, names, kHint));
  }
  return *columns[static_cast<size_t>(found - names.begin())];
}

RFrame data_frame(const RObject& value, const std::string& place) {
  const auto refuse = [&](const std::string& what) { throw Error(Code::data, what, place, kHint); };
  if (value.kind != RKind::list || !value.is("data.frame")) {
    refuse("a value is " + std::string(kind_name(value.kind)) + ", no data frame");
  }
  RFrame frame;
  frame.names = value.names();
  frame.columns = value.items();
  if (frame.names.size() != frame.columns.size()) {
    refuse("a data frame has " + std::to_string(frame.columns.size()) + " columns and " +
           std::to_string(frame.names.size()) + " names");
  }
  for (size_t i = 0; i < frame.columns.size(); ++i) {
    const size_t rows = frame.columns[i]->size();
    if (i == 0) frame.rows = rows;
    if (rows != frame.rows) {
      refuse("column '" + printable(frame.names[i]) + "' has " + std::to_string(rows) + " rows, the first " +
             std::to_string(frame.rows));
    }
  }
  return frame;
}

}  // namespace etude
