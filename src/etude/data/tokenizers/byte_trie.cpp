#include "etude/data/tokenizers/byte_trie.h"

#include <algorithm>

namespace etude {

void ByteTrie::add(std::string_view text, int32_t value) {
  first_[static_cast<unsigned char>(text.front())] = true;
  int32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (nodes_.size() * 2 > edges_.size()) grow();
    Edge& edge = edges_[slot(node, byte)];
    if (edge.to < 0) {
      edge = {node, static_cast<int32_t>(nodes_.size()), byte};
      nodes_.push_back(-1);
    }
    node = edge.to;
  }
  int32_t& known = nodes_[static_cast<size_t>(node)];
  known = std::max(known, value);
}

size_t ByteTrie::slot(int32_t from, unsigned char byte) const {
  const uint64_t key = static_cast<uint64_t>(from) << 8 | byte;
  const size_t mask = edges_.size() - 1;
  size_t at = (key * 0x9E3779B97F4A7C15 >> 20) & mask;
  while (edges_[at].to >= 0 && (edges_[at].from != from || edges_[at].byte != byte)) at = (at + 1) & mask;
  return at;
}

void ByteTrie::grow() {
  std::vector<Edge> before(edges_.size() * 2);
  before.swap(edges_);
  for (const Edge& edge : before) {
    if (edge.to >= 0) edges_[slot(edge.from, edge.byte)] = edge;
  }
}

}  // namespace etude
