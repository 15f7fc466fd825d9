#pragma once
// JSON that is checked once and then read where it stands: vocabularies of a hundred thousand tokens without a tree
// of them. A view is a value of the text; the text must outlive it.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "etude/base/error.h"

namespace etude {

class JsonView {
 public:
  /// Checks all of `text`: RFC 8259, UTF-8, at most 64 values deep. `name` is the file in messages.
  /// Errors: Code::data with "name:line:column".
  static JsonView parse(std::string_view text, const std::string& name);

  bool is_null() const { return raw_.front() == 'n'; }
  bool is_bool() const { return raw_.front() == 't' || raw_.front() == 'f'; }
  bool is_string() const { return raw_.front() == '"'; }
  bool is_number() const { return raw_.front() == '-' || (raw_.front() >= '0' && raw_.front() <= '9'); }
  bool is_list() const { return raw_.front() == '['; }
  bool is_table() const { return raw_.front() == '{'; }
  std::string_view type_name() const;  ///< "a number", "an object", ...

  /// Each with the error "'added_tokens' must be a list, not a number", where `what` is the name of the value.
  bool as_bool(std::string_view what) const;
  int64_t as_int(std::string_view what) const;  ///< a whole number that fits
  double as_real(std::string_view what) const;
  std::string as_string(std::string_view what) const;
  /// Without a copy where the text has no escapes; else in `buffer`.
  std::string_view as_string(std::string_view what, std::string& buffer) const;

  /// Calls f(key, value) for each member of an object, f(value) for each element of a list, in order. A key is valid
  /// during the call. Errors: Code::data if it is no object, no list.
  void each_member(std::string_view what, const std::function<void(std::string_view, JsonView)>& f) const;
  void each_element(std::string_view what, const std::function<void(JsonView)>& f) const;
  /// The member of that name if there is one that is not null. Errors: Code::data if it stands twice.
  std::optional<JsonView> find(std::string_view key) const;
  /// The member of that name. Errors: Code::data if it is missing.
  JsonView at(std::string_view key) const;

  size_t count_elements(std::string_view what) const;  ///< of a list
  std::string_view raw() const { return raw_; }        ///< the value as it was written
  std::string where() const;                           ///< "tokenizer.json:12:3"
  [[noreturn]] void fail(std::string what, std::string hint = {}) const;

 private:
  struct Source;
  JsonView(std::string_view raw, std::shared_ptr<const Source> source) : raw_(raw), source_(std::move(source)) {}
  std::string_view raw_;
  std::shared_ptr<const Source> source_;
};

/// A string as JSON writes it, quotes included. Required: UTF-8.
std::string json_quoted(std::string_view text);

}  // namespace etude
