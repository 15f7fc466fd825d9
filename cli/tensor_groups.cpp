#include "cli/tensor_groups.h"

#include "cli/commands.h"
#include "etude/base/json_cursor.h"

namespace etude::cli {
namespace {

std::string without_numbers(const std::string& name) {
  std::string out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    if (begin > 0) out += '.';
    out += digits ? "*" : part;
    begin = end + 1;
  }
  return out;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t n : shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return "[" + text + "]";
}

}  // namespace

void TensorGroups::add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
  const std::string common = without_numbers(name);
  const auto [place, fresh] = places_.try_emplace({common, dtype, shape}, groups_.size());
  if (fresh) groups_.push_back({common, dtype, shape});
  int64_t values = 1;
  for (const int64_t n : shape) values *= n;
  TensorGroup& group = groups_[place->second];
  ++group.count;
  group.values += values;
}

std::string group_line(const TensorGroup& group, int width) {
  const std::string shape = (group.count > 1 ? std::to_string(group.count) + " x " : "") + shape_text(group.shape);
  return padded(shortened(group.name), width) + ' ' + padded(shape, 18) + ' ' +
         (group.dtype.empty() ? "" : padded(group.dtype, 12) + ' ') + human_count(static_cast<double>(group.values));
}

}  // namespace etude::cli
