#pragma once
// A set of texts, each with a number, that finds those which begin at a place of another text.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace etude {

class ByteTrie {
 public:
  /// Required: text is not empty, value >= 0. A text that is there already keeps the greater value.
  void add(std::string_view text, int32_t value);
  bool empty() const { return nodes_.size() == 1; }
  bool begins(char byte) const { return first_[static_cast<unsigned char>(byte)]; }

  /// Calls f(value, length) for each text of the set that stands at `at`, shortest first.
  template <class F>
  void prefixes(std::string_view text, size_t at, const F& f) const {
    if (at >= text.size() || !begins(text[at])) return;
    int32_t node = 0;
    for (size_t i = at; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node < 0) return;
      if (nodes_[static_cast<size_t>(node)] >= 0) f(nodes_[static_cast<size_t>(node)], i + 1 - at);
    }
  }

 private:
  struct Edge {
    int32_t from = -1, to = -1;
    unsigned char byte = 0;
  };
  size_t slot(int32_t from, unsigned char byte) const;
  int32_t child(int32_t from, unsigned char byte) const { return edges_[slot(from, byte)].to; }
  void grow();

  std::vector<int32_t> nodes_{-1};                   // value of the text that ends there; -1: none does
  std::vector<Edge> edges_ = std::vector<Edge>(64);  // open addressing
  std::array<bool, 256> first_{};
};

}  // namespace etude
