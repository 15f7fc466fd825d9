#pragma once
// R's data files without R: .rds (one value), .rda (named values) and the lazy-load pair .rdx + .rdb in which packages
// keep their data sets. Read is R's serialisation in XDR form, versions 2 and 3 ("R Internals", section 1.8).
//
// Nothing is evaluated. Functions, formulas and environments are read over and kept as values without content.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace etude {

struct RObject;
/// A value of R; never a null pointer, R's NULL has a kind of its own.
using RValue = std::shared_ptr<const RObject>;

/// complex: pairs of reals. list: R's lists and pairlists. code: functions, calls, formulas. other: what has no value
/// outside of R (environments, pointers, objects of S4 but for their attributes).
enum class RKind { null, logical, integer, real, complex, text, raw, list, symbol, code, other };
std::string_view kind_name(RKind kind);

inline constexpr int32_t kRMissing = INT32_MIN;  ///< NA among integers and logicals; among reals it is a NaN

struct RObject {
  RKind kind = RKind::null;
  /// logical, integer | real, complex | text, symbol (one) | raw | list
  std::variant<std::monostate, std::vector<int32_t>, std::vector<double>, std::vector<std::string>, std::string,
               std::vector<RValue>>
      data;
  std::vector<uint32_t> missing_texts;  ///< positions of NA among texts, which are "" there; sorted
  std::vector<std::pair<std::string, RValue>> attributes;

  /// What `data` holds. Errors: Code::data where the kind is another.
  const std::vector<int32_t>& integers() const;
  const std::vector<double>& reals() const;
  const std::vector<std::string>& texts() const;
  const std::vector<RValue>& items() const;

  size_t size() const;                                    ///< elements; 0 for NULL, code and other
  const RObject* attribute(std::string_view name) const;  ///< nullptr without it
  std::vector<std::string> names() const;                 ///< of the elements; empty without them
  const RObject* item(std::string_view name) const;       ///< of a list; nullptr without it
  bool is(std::string_view r_class) const;                ///< whether the attribute "class" has it
  std::optional<std::string> text(size_t i) const;        ///< an element as text (a factor's level); none for NA
};

/// Reads a value. The bytes must be unpacked already (unpacked() in archive.h). A value takes up to 16 times the
/// memory of its bytes, when it consists of many lists without elements. Errors: Code::data at "PLACE: byte N".
RValue read_rds(std::string_view bytes, const std::string& place);

/// The same for what R's save() writes.
std::vector<std::pair<std::string, RValue>> read_rda(std::string_view bytes, const std::string& place);

/// The values of a package, each read when asked for.
class RLazyData {
 public:
  /// `rdx`: unpacked; `rdb`: as it is, to outlive this. Errors: Code::data.
  RLazyData(std::string_view rdx, std::string_view rdb, std::string place);
  const std::vector<std::string>& names() const { return names_; }  ///< sorted
  /// Errors: Code::data for an unknown name, with the nearest, and for a damaged value.
  RValue read(const std::string& name) const;

 private:
  std::string_view rdb_;
  std::string place_;
  std::vector<std::string> names_;
  std::vector<std::pair<uint64_t, uint64_t>> parts_;  ///< offset and length in rdb_
  int compression_ = 0;
};

/// A data frame: columns of equal length.
struct RFrame {
  std::vector<std::string> names;
  std::vector<RValue> columns;
  size_t rows = 0;
  const RObject& column(const std::string& name) const;  ///< Errors: Code::data with the nearest name.
};
/// Errors: Code::data at `place` for another kind of value and for columns that don't fit each other.
RFrame data_frame(const RObject& value, const std::string& place);

}  // namespace etude
