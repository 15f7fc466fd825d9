#include "etude/tensor/safetensors_index.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/base/json_cursor.h"

namespace etude {
namespace {

constexpr size_t kLongestIndex = 50'000'000;
constexpr size_t kMostShards = 99'999;  ///< what five digits number
constexpr size_t kLongestName = 255;    ///< bytes of a file's name
constexpr std::string_view kEnding = ".safetensors";
constexpr size_t kShortestTensor = std::string_view(R"("":"a.safetensors",)").size();

class IndexReader {
 public:
  IndexReader(std::string_view text, const std::string& file)
      : cursor_(text, "the index", [this](const std::string& what) { throw bad(what, place_); }), file_(file) {
    if (text.size() > kLongestIndex) {
      throw bad("the index has " + std::to_string(text.size()) + " bytes, at most " + std::to_string(kLongestIndex) +
                " are allowed");
    }
    // Pages that are not used cost nothing; what grows costs up to three times what it holds.
    index_.tensors.reserve(text.size() / kShortestTensor + 1);
    bool had_map = false, had_metadata = false;
    cursor_.table([&](const std::string& key) {
      if (key == "weight_map") {
        once(had_map, key);
        read_map();
      } else if (key == "metadata") {
        once(had_metadata, key);
        read_metadata();
      } else {
        throw bad("an index has no field '" + shortened(key) + "'");
      }
    });
    cursor_.finish();
    if (!had_map) throw bad("an index needs weight_map");
    if (index_.tensors.empty()) throw bad("weight_map names no tensor");
    sort();
  }

  SafetensorsIndex take() { return std::move(index_); }

 private:
  Error bad(const std::string& what, const std::optional<std::string>& tensor = {}) const {
    return {Code::checkpoint, what, file_ + (tensor ? ", tensor " + shortened(*tensor) : ""),
            "the file is damaged or no index of safetensors files"};
  }

  void once(bool& had, const std::string& field) {
    if (had) throw bad("the key '" + field + "' stands twice");
    had = true;
  }

  void read_metadata() {
    if (cursor_.null()) return;
    cursor_.table([&](const std::string& key) {
      if (key == "total_size" && cursor_.at_digits()) {
        index_.total_size = cursor_.count();
      } else {
        cursor_.skip();
      }
    });
  }

  void read_map() {
    cursor_.table([&](std::string name) {
      place_ = name;
      const uint32_t shard = number_of(cursor_.text());
      index_.tensors.emplace_back(std::move(name), shard);
      place_.reset();
    });
  }

  uint32_t number_of(const std::string& shard) {
    const auto known = numbers_.find(shard);
    if (known != numbers_.end()) return known->second;
    if (shard.empty() || shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        shard.front() == '.') {
      throw bad("the shard '" + shortened(shard) + "' is not beside the index", place_);
    }
    if (shard.size() > kLongestName || !shard.ends_with(kEnding)) {
      throw bad("the shard '" + shortened(shard) + "' is no name of a .safetensors file", place_);
    }
    if (numbers_.size() == kMostShards) throw bad("more than " + std::to_string(kMostShards) + " shards", place_);
    return numbers_.emplace(shard, static_cast<uint32_t>(numbers_.size())).first->second;
  }

  /// Shards and tensors by name.
  void sort() {
    std::vector<uint32_t> place(numbers_.size());
    for (const auto& [shard, number] : numbers_) {
      place[number] = static_cast<uint32_t>(index_.shards.size());
      index_.shards.push_back(shard);
    }
    for (auto& [name, shard] : index_.tensors) shard = place[shard];
    std::sort(index_.tensors.begin(), index_.tensors.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    const auto twice = std::adjacent_find(index_.tensors.begin(), index_.tensors.end(),
                                          [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twice != index_.tensors.end()) throw bad("the key stands twice in weight_map", twice->first);
  }

  JsonCursor cursor_;
  const std::string& file_;
  SafetensorsIndex index_;
  std::map<std::string, uint32_t> numbers_;
  std::optional<std::string> place_;  ///< the tensor that is read
};

}  // namespace

SafetensorsIndex parse_safetensors_index(std::string_view text, const std::string& file) {
  return IndexReader(text, file).take();
}

std::string safetensors_index(const SafetensorsIndex& index) {
  nlohmann::json map = nlohmann::json::object();
  for (const auto& [name, shard] : index.tensors) map[name] = index.shards.at(shard);
  nlohmann::json metadata = nlohmann::json::object();
  if (index.total_size) metadata["total_size"] = *index.total_size;
  return nlohmann::json({{"metadata", metadata}, {"weight_map", map}}).dump(2) + "\n";
}

std::string shard_name(size_t number, size_t of) {
  const auto digits = [](size_t n) {
    const std::string text = std::to_string(n);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  return "model-" + digits(number) + "-of-" + digits(of) + std::string(kEnding);
}

bool is_shard_name(std::string_view name) {
  constexpr std::string_view kForm = "model-00000-of-00000.safetensors";
  if (name.size() != kForm.size()) return false;
  for (size_t i = 0; i < kForm.size(); ++i) {
    if (kForm[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != kForm[i]) return false;
  }
  return true;
}

}  // namespace etude
