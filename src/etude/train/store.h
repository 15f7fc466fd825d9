#pragma once
// Run state: everything that a resume needs. Whoever wants to remember something across steps asks a
// Store for it by name; what is kept anywhere else is lost at a resume, and conformance notices.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"

namespace etude {

/// An append-only list of rows, for memories that grow (a replay buffer). Kept on the CPU. Full chunks are
/// written once, beside the checkpoints, and only referred to afterwards.
class Segments {
 public:
  static constexpr int64_t kChunk = 4096;  ///< rows in a full chunk

  /// Appends rows: tensors by name, all with the same first dimension. Names, shapes and types are fixed by the
  /// first call. Errors: Code::internal when they differ; nothing is appended then.
  void append(const std::map<std::string, Tensor>& rows);
  int64_t size() const { return size_; }
  /// The rows of these indices, by name, in that order; no columns before the first append.
  /// Errors: Code::internal out of range.
  std::map<std::string, Tensor> get(const std::vector<int64_t>& rows) const;

  using Chunk = std::map<std::string, Tensor>;
  const std::vector<Chunk>& chunks() const { return chunks_; }  ///< all but the last are full; not to be written to
  /// Errors: Code::checkpoint unless these are chunks as chunks() gives them.
  void restore(std::vector<Chunk> chunks);

 private:
  /// Memory in which the last chunk grows. A copy of the list shares the rows but grows in memory of its own.
  struct Room {
    Room() = default;
    Room(Room&&) = default;
    Room& operator=(Room&&) = default;
    Room(const Room&) {}
    Room& operator=(const Room& other) {
      if (this != &other) columns.clear();
      return *this;
    }
    Chunk columns;
  };
  void append_to_last(const Chunk& rows, int64_t begin, int64_t count);

  std::vector<Chunk> chunks_;
  Room room_;
  int64_t size_ = 0;
};

class Store {
 public:
  /// The tensor of that name; made by `init` when it is not there yet. After a resume the stored one is there
  /// already. Errors: Code::checkpoint when the stored one has another shape or type than init would give
  /// (checked when init is cheap to call, that is by the overload with a tensor).
  Tensor& tensor(const std::string& name, const std::function<Tensor()>& init);
  Tensor& tensor(const std::string& name, const Tensor& init);
  /// Errors: Code::internal if it was never made.
  Tensor& tensor(const std::string& name);
  bool has_tensor(const std::string& name) const { return tensors_.count(name) > 0; }
  void drop(const std::string& name) { tensors_.erase(name); }
  double& number(const std::string& name, double init = 0);
  bool has_number(const std::string& name) const { return numbers_.count(name) > 0; }
  int64_t& integer(const std::string& name, int64_t init = 0);
  std::string& text(const std::string& name, const std::string& init = {});
  Segments& segments(const std::string& name);

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  std::map<std::string, Tensor>& tensors() { return tensors_; }
  const std::map<std::string, Segments>& all_segments() const { return segments_; }
  std::map<std::string, Segments>& all_segments() { return segments_; }

  std::vector<std::string> number_names() const {
    std::vector<std::string> names;
    for (const auto& [name, value] : numbers_) names.push_back(name);
    return names;
  }

  /// Numbers, integers and texts, as JSON that survives being written to the bit: also doubles that are not
  /// finite and texts that are not UTF-8.
  nlohmann::json host() const;
  /// Exactly what host() gave, whatever was there. References to names that stay remain valid.
  /// Errors: Code::checkpoint.
  void restore_host(const nlohmann::json& host);

  /// A part of this store under a prefix; names in it stay apart from all others.
  class View;
  View under(const std::string& prefix);

 private:
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, double> numbers_;
  std::map<std::string, int64_t> integers_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, Segments> segments_;
};

/// Names under a prefix, as a method sees its own state.
class Store::View {
 public:
  View(Store& store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {}
  template <class Init>
  Tensor& tensor(const std::string& name, const Init& init) {
    return store_.tensor(prefix_ + name, init);
  }
  Tensor& tensor(const std::string& name) { return store_.tensor(prefix_ + name); }
  bool has_tensor(const std::string& name) const { return store_.has_tensor(prefix_ + name); }
  void drop(const std::string& name) { store_.drop(prefix_ + name); }
  double& number(const std::string& name, double init = 0) { return store_.number(prefix_ + name, init); }
  int64_t& integer(const std::string& name, int64_t init = 0) { return store_.integer(prefix_ + name, init); }
  std::string& text(const std::string& name, const std::string& init = {}) { return store_.text(prefix_ + name, init); }
  Segments& segments(const std::string& name) { return store_.segments(prefix_ + name); }

 private:
  Store& store_;
  std::string prefix_;
};
inline Store::View Store::under(const std::string& prefix) { return View(*this, prefix + "/"); }

}  // namespace etude
