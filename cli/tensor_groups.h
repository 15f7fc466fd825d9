#pragma once
// Many tensors in few lines: those of the same place in different layers together.

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace etude::cli {

struct TensorGroup {
  std::string name;   ///< layer numbers as '*'
  std::string dtype;  ///< "" where it is the same for all
  std::vector<int64_t> shape;
  int64_t count = 0, values = 0;
};

class TensorGroups {
 public:
  void add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape);
  const std::vector<TensorGroup>& all() const { return groups_; }  ///< in the order of their first tensors

 private:
  std::vector<TensorGroup> groups_;
  std::map<std::tuple<std::string, std::string, std::vector<int64_t>>, size_t> places_;
};

/// A line for people: name, count and shape, type, values. Without the line's end.
std::string group_line(const TensorGroup& group, int width = 52);

}  // namespace etude::cli
