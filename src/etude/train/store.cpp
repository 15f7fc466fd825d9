#include "etude/train/store.h"

#include <algorithm>
#include <sstream>

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"
#include "etude/train/sealed.h"

namespace etude {
namespace {

/// Why rows of `b` cannot follow rows of `a`; empty if they can.
std::string difference(const Segments::Chunk& a, const Segments::Chunk& b) {
  if (a.size() != b.size()) return std::to_string(b.size()) + " columns instead of " + std::to_string(a.size());
  for (const auto& [name, value] : b) {
    const auto it = a.find(name);
    if (it == a.end()) return "a column '" + name + "' that is new";
    if (it->second.scalar_type() != value.scalar_type() || it->second.sizes().slice(1) != value.sizes().slice(1)) {
      return "another shape or type of column '" + name + "'";
    }
  }
  return {};
}

/// Number of rows; -1 if the columns don't agree on it.
int64_t height(const Segments::Chunk& chunk) {
  if (chunk.empty() || chunk.begin()->second.dim() < 1) return -1;
  const int64_t rows = chunk.begin()->second.size(0);
  for (const auto& [name, value] : chunk) {
    if (value.dim() < 1 || value.size(0) != rows) return -1;
  }
  return rows;
}

std::string description(const Tensor& value) {
  std::ostringstream out;
  out << c10::toString(value.scalar_type()) << value.sizes();
  return out.str();
}

/// Makes `own` equal to `stored`, leaving entries that stay where they are.
template <class Value>
void take_over(std::map<std::string, Value>& own, const std::map<std::string, Value>& stored) {
  std::erase_if(own, [&](const auto& entry) { return !stored.count(entry.first); });
  for (const auto& [name, value] : stored) own[name] = value;
}

}  // namespace

void Segments::append(const std::map<std::string, Tensor>& rows) {
  const int64_t added = height(rows);
  ETUDE_CHECK(added >= 0, "rows need columns with the same first dimension");
  if (!chunks_.empty()) {
    const std::string why = difference(chunks_.front(), rows);
    ETUDE_CHECK(why.empty(), "rows with " + why);
  }
  for (int64_t begin = 0; begin < added;) {
    const int64_t used = size_ % kChunk, count = std::min(added - begin, kChunk - used);
    if (used == 0) {
      chunks_.emplace_back();
      room_.columns.clear();
    }
    append_to_last(rows, begin, count);
    size_ += count;
    begin += count;
  }
}

void Segments::append_to_last(const Chunk& rows, int64_t begin, int64_t count) {
  const torch::NoGradGuard no_grad;
  const int64_t used = size_ % kChunk, needed = used + count;
  for (const auto& [name, value] : rows) {
    Tensor& room = room_.columns[name];
    Tensor& shown = chunks_.back()[name];
    if (!room.defined() || room.size(0) < needed) {
      // Doubling, so that rows appended one by one are copied once on average.
      std::vector<int64_t> shape = value.sizes().vec();
      shape[0] = std::min(kChunk, std::max(needed, 2 * used));
      room = torch::empty(shape, torch::TensorOptions(value.scalar_type()));
      if (used > 0) room.narrow(0, 0, used).copy_(shown);
    }
    room.narrow(0, used, count).copy_(value.narrow(0, begin, count));
    shown = room.narrow(0, 0, needed);
  }
}

std::map<std::string, Tensor> Segments::get(const std::vector<int64_t>& rows) const {
  std::map<int64_t, std::pair<std::vector<int64_t>, std::vector<int64_t>>> places;  ///< by chunk: from, to
  for (size_t i = 0; i < rows.size(); ++i) {
    ETUDE_CHECK(rows[i] >= 0 && rows[i] < size_, "row " + std::to_string(rows[i]) + " of " + std::to_string(size_));
    auto& [from, to] = places[rows[i] / kChunk];
    from.push_back(rows[i] % kChunk);
    to.push_back(static_cast<int64_t>(i));
  }
  std::map<std::string, Tensor> found;
  if (chunks_.empty()) return found;
  for (const auto& [name, first] : chunks_.front()) {
    std::vector<int64_t> shape = first.sizes().vec();
    shape[0] = static_cast<int64_t>(rows.size());
    Tensor& out = found[name] = torch::empty(shape, first.options());
    for (const auto& [chunk, place] : places) {
      const Tensor from = torch::tensor(place.first, torch::kLong), to = torch::tensor(place.second, torch::kLong);
      out.index_copy_(0, to, chunks_[static_cast<size_t>(chunk)].at(name).index_select(0, from));
    }
  }
  return found;
}

void Segments::restore(std::vector<Chunk> chunks) {
  int64_t size = 0;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const int64_t rows = height(chunks[i]);
    const bool is_last = i + 1 == chunks.size();
    if (rows < 1 || rows > kChunk || (!is_last && rows != kChunk) || !difference(chunks.front(), chunks[i]).empty()) {
      throw Error(Code::checkpoint, "the rows of chunk " + std::to_string(i) + " do not follow those before");
    }
    size += rows;
  }
  chunks_ = std::move(chunks);
  room_ = Room();
  size_ = size;
}

Tensor& Store::tensor(const std::string& name, const std::function<Tensor()>& init) {
  const auto it = tensors_.find(name);
  return it != tensors_.end() ? it->second : tensors_.emplace(name, init()).first->second;
}

Tensor& Store::tensor(const std::string& name, const Tensor& init) {
  const auto [it, fresh] = tensors_.try_emplace(name, init);
  Tensor& found = it->second;
  if (!fresh && (found.sizes() != init.sizes() || found.scalar_type() != init.scalar_type())) {
    throw Error(Code::checkpoint,
                "the stored state '" + name + "' is " + description(found) + ", this recipe needs " + description(init),
                name, "use --fresh to begin anew");
  }
  return found;
}

Tensor& Store::tensor(const std::string& name) {
  const auto it = tensors_.find(name);
  ETUDE_CHECK(it != tensors_.end(), "no state is called '" + name + "'");
  return it->second;
}

double& Store::number(const std::string& name, double init) { return numbers_.try_emplace(name, init).first->second; }
int64_t& Store::integer(const std::string& name, int64_t init) {
  return integers_.try_emplace(name, init).first->second;
}
std::string& Store::text(const std::string& name, const std::string& init) {
  return texts_.try_emplace(name, init).first->second;
}
Segments& Store::segments(const std::string& name) { return segments_[name]; }

nlohmann::json Store::host() const {
  nlohmann::json host = {{"numbers", numbers_}, {"integers", integers_}, {"texts", texts_}};
  sealed::make_portable(host);
  return host;
}

void Store::restore_host(const nlohmann::json& host) {
  try {
    nlohmann::json own = host;
    sealed::restore_portable(own);
    const auto numbers = own.at("numbers").get<std::map<std::string, double>>();
    const auto integers = own.at("integers").get<std::map<std::string, int64_t>>();
    const auto texts = own.at("texts").get<std::map<std::string, std::string>>();
    take_over(numbers_, numbers);
    take_over(integers_, integers);
    take_over(texts_, texts);
  } catch (const nlohmann::json::exception& error) {
    throw Error(Code::checkpoint, std::string("the stored state is no run state: ") + error.what(), "",
                "use --fresh to begin anew");
  }
}

}  // namespace etude
