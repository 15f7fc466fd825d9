#include "etude/data/batch.h"

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"

namespace etude {
namespace {

template <class Map>
std::vector<std::string> keys(const Map& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

std::string listed(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all.empty() ? "nothing" : all;
}

/// Writes out what an absent position_BT or segment_BT stands for, where another batch has it.
void write_out_implied(std::vector<Batch>& batches, const std::string& name) {
  bool somewhere = false;
  for (const Batch& batch : batches) somewhere = somewhere || batch.x.contains(name);
  if (!somewhere) return;
  for (Batch& batch : batches) {
    const auto ids_BT = batch.x.find("ids_BT");
    if (batch.x.contains(name) || ids_BT == batch.x.end()) continue;
    const Tensor& like = ids_BT->second;
    batch.x[name] = name == "position_BT" ? torch::arange(like.size(1), like.options()).expand_as(like).contiguous()
                                          : torch::zeros_like(like);
  }
}

template <class Map>
void require_same_names(const Map& first, const Map& other, const char* what) {
  if (keys(first) == keys(other)) return;
  throw Error(Code::config, std::string("batches with different ") + what + " can't be put together", "batch",
              "one has " + listed(keys(first)) + "; another has " + listed(keys(other)));
}

}  // namespace

Batch Batch::rows(int64_t begin, int64_t end) const {
  ETUDE_CHECK(0 <= begin && begin <= end && end <= size(), "rows outside the batch");
  Batch cut;
  for (const auto& [name, value] : x) cut.x[name] = value.narrow(0, begin, end - begin);
  if (id_B.defined()) cut.id_B = id_B.narrow(0, begin, end - begin);
  for (const auto& [name, inner] : part) {
    const int64_t each = empty() ? 0 : inner.size() / size();
    if (each * size() != inner.size()) {
      throw Error(Code::config,
                  "the " + std::to_string(inner.size()) + " samples of part '" + name + "' can't be shared out among " +
                      std::to_string(size()),
                  "batch." + name, "let the part hold a multiple of the batch size, or don't accumulate");
    }
    cut.part[name] = inner.rows(each * begin, each * end);
  }
  for (const auto& [name, strings] : text) cut.text[name] = {strings.begin() + begin, strings.begin() + end};
  return cut;
}

const Tensor& Batch::at(const std::string& name) const {
  const auto it = x.find(name);
  if (it != x.end()) return it->second;
  throw Error(Code::config, "the objective needs '" + name + "', which the batch doesn't have", "batch",
              "it has " + listed(keys(x)) + ": choose data that give what the objective needs");
}

Batch concatenate(const std::vector<Batch>& batches) {
  std::vector<Batch> filled;
  for (const Batch& batch : batches) {
    if (batch.id_B.defined() || !batch.x.empty()) filled.push_back(batch);
  }
  if (filled.empty()) return {};
  if (filled.size() == 1) return filled.front();
  write_out_implied(filled, "position_BT");
  write_out_implied(filled, "segment_BT");
  Batch all;
  for (const Batch& batch : filled) {
    require_same_names(filled.front().x, batch.x, "tensors");
    require_same_names(filled.front().part, batch.part, "parts");
    require_same_names(filled.front().text, batch.text, "strings");
    for (const auto& [name, strings] : batch.text) {
      all.text[name].insert(all.text[name].end(), strings.begin(), strings.end());
    }
  }
  std::vector<Tensor> pieces;
  const auto joined = [&](const auto& piece) {
    pieces.clear();
    for (const Batch& batch : filled) pieces.push_back(piece(batch));
    return torch::cat(pieces);
  };
  all.id_B = joined([](const Batch& batch) { return batch.id_B; });
  for (const auto& [name, value] : filled.front().x) {
    all.x[name] = joined([&](const Batch& batch) { return batch.x.at(name); });
  }
  for (const auto& [name, inner] : filled.front().part) {
    std::vector<Batch> inners;
    for (const Batch& batch : filled) inners.push_back(batch.part.at(name));
    all.part[name] = concatenate(inners);
  }
  return all;
}

}  // namespace etude
