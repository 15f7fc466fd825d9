#include "etude/train/store.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "etude/base/error.h"

namespace etude {

void Segments::append(const std::map<std::string, Tensor>& rows) {
  ETUDE_CHECK(!rows.empty() && rows.begin()->second.dim() >= 1, "rows need a first dimension");
  const int64_t n = rows.begin()->second.size(0);
  for (const auto& [name, value] : rows) ETUDE_CHECK(value.dim() >= 1 && value.size(0) == n, "all columns need the same number of rows: " + name);
  for (int64_t begin = 0; begin < n;) {
    const int64_t used = size_ % kChunk;
    const int64_t take = std::min(n - begin, kChunk - used);
    if (used == 0) {
      Chunk fresh;
      for (const auto& [name, value] : rows) fresh[name] = value.narrow(0, begin, take).detach().clone();
      chunks_.push_back(std::move(fresh));
    } else {
      Chunk& last = chunks_.back();
      ETUDE_CHECK(last.size() == rows.size(), "rows with other columns than before");
      for (const auto& [name, value] : rows) {
        auto it = last.find(name);
        ETUDE_CHECK(it != last.end() && it->second.scalar_type() == value.scalar_type() && it->second.sizes().slice(1) == value.sizes().slice(1), "rows with another shape or type than before: " + name);
        it->second = torch::cat({it->second, value.narrow(0, begin, take).detach()});
      }
    }
    size_ += take;
    begin += take;
  }
}

std::map<std::string, Tensor> Segments::get(const std::vector<int64_t>& rows) const {
  std::map<std::string, std::vector<Tensor>> parts;
  for (int64_t row : rows) {
    ETUDE_CHECK(row >= 0 && row < size_, "row " + std::to_string(row) + " of " + std::to_string(size_));
    for (const auto& [name, value] : chunks_[static_cast<size_t>(row / kChunk)]) parts[name].push_back(value[row % kChunk]);
  }
  std::map<std::string, Tensor> found;
  for (const auto& [name, values] : parts) found[name] = torch::stack(values);
  return found;
}

void Segments::restore(std::vector<Chunk> chunks) {
  chunks_ = std::move(chunks);
  size_ = 0;
  for (const Chunk& chunk : chunks_) size_ += chunk.begin()->second.size(0);
}

Tensor& Store::tensor(const std::string& name, const std::function<Tensor()>& init) {
  auto it = tensors_.find(name);
  return it != tensors_.end() ? it->second : tensors_.emplace(name, init()).first->second;
}

Tensor& Store::tensor(const std::string& name, const Tensor& init) {
  auto [it, fresh] = tensors_.try_emplace(name, init);
  if (!fresh && (it->second.sizes() != init.sizes() || it->second.scalar_type() != init.scalar_type()))
    throw Error(Code::checkpoint, "the stored '" + name + "' has another shape or type than this recipe's", "", "use --fresh to begin anew");
  return it->second;
}

Tensor& Store::tensor(const std::string& name) {
  auto it = tensors_.find(name);
  ETUDE_CHECK(it != tensors_.end(), "no state is called '" + name + "'");
  return it->second;
}

double& Store::number(const std::string& name, double init) { return numbers_.try_emplace(name, init).first->second; }
int64_t& Store::integer(const std::string& name, int64_t init) { return integers_.try_emplace(name, init).first->second; }
std::string& Store::text(const std::string& name, const std::string& init) { return texts_.try_emplace(name, init).first->second; }
Segments& Store::segments(const std::string& name) { return segments_[name]; }

nlohmann::json Store::host() const {
  nlohmann::json numbers = nlohmann::json::object();
  // JSON has no infinities: such numbers travel as words.
  for (const auto& [name, value] : numbers_) {
    if (std::isfinite(value)) numbers[name] = value;
    else numbers[name] = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }
  return {{"numbers", std::move(numbers)}, {"integers", integers_}, {"texts", texts_}};
}

void Store::restore_host(const nlohmann::json& host) {
  numbers_.clear();
  for (const auto& [name, value] : host.at("numbers").items()) {
    if (value.is_number()) numbers_[name] = value.get<double>();
    else if (value == "nan") numbers_[name] = std::numeric_limits<double>::quiet_NaN();
    else numbers_[name] = value == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
  }
  integers_ = host.at("integers").get<std::map<std::string, int64_t>>();
  texts_ = host.at("texts").get<std::map<std::string, std::string>>();
}

}  // namespace etude
