#pragma once
// Checkpoints as others keep them: a .safetensors file, or several with an index beside them,
//   model.safetensors.index.json = {"metadata": {"total_size": bytes}, "weight_map": {"tensor": "shard", ...}}
// Opened at once whatever their size and read a tensor at a time; written a tensor at a time.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/mapped_file.h"
#include "etude/tensor/safetensors_header.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// Where tensors are read from by name.
class TensorReader {
 public:
  virtual ~TensorReader() = default;
  virtual size_t size() const = 0;
  /// 0 .. size() - 1, file by file in the order of the data.
  virtual SafetensorsEntry entry(size_t i) const = 0;
  virtual bool has(std::string_view name) const = 0;
  /// Errors of these: Code::checkpoint with the nearest name if there is no such tensor.
  virtual SafetensorsEntry entry(std::string_view name) const = 0;
  /// A copy with memory of its own. Errors: those of stored_tensor(); Code::io if the file has shrunk.
  virtual Tensor get(std::string_view name) const = 0;
  /// As they lie in the file; valid as long as this lives. What was read of them counts after require_whole().
  virtual std::string_view bytes(std::string_view name) const = 0;
  /// Errors: Code::io when a part that was read is no longer there.
  virtual void require_whole() const = 0;
  virtual const Metadata& metadata() const = 0;
  /// Of what messages speak: the file or the folder.
  virtual const std::string& path() const = 0;

  std::vector<std::string> names() const;  ///< in the order of entries
};

/// One file, mapped; only its header is read when it is opened.
class SafetensorsReader : public TensorReader {
 public:
  /// Errors: Code::io for what is no file; those of SafetensorsHeader.
  explicit SafetensorsReader(const std::string& path);
  size_t size() const override { return header_.size(); }
  SafetensorsEntry entry(size_t i) const override { return header_.entry(i); }
  bool has(std::string_view name) const override { return header_.find(name).has_value(); }
  SafetensorsEntry entry(std::string_view name) const override;
  Tensor get(std::string_view name) const override;
  std::string_view bytes(std::string_view name) const override;
  void require_whole() const override { mapped_.require_whole(); }
  const Metadata& metadata() const override { return header_.metadata(); }
  const std::string& path() const override { return mapped_.path(); }
  uint64_t file_size() const { return mapped_.size(); }  ///< bytes

 private:
  std::string_view bytes_of(const SafetensorsEntry& entry) const;

  file::Mapped mapped_;
  SafetensorsHeader header_;
};

/// Several files with their index.
class ShardedReader : public TensorReader {
 public:
  /// `index`: the path of a model.safetensors.index.json. Errors: Code::checkpoint for an index that is none or does
  /// not fit its files: shards that are not beside it, tensors that are in another shard, in two, in none, or that the
  /// index does not know; those of SafetensorsReader.
  explicit ShardedReader(const std::string& index);
  size_t size() const override { return firsts_.back(); }
  SafetensorsEntry entry(size_t i) const override;
  bool has(std::string_view name) const override;
  SafetensorsEntry entry(std::string_view name) const override { return holder(name).entry(name); }
  Tensor get(std::string_view name) const override { return holder(name).get(name); }
  std::string_view bytes(std::string_view name) const override { return holder(name).bytes(name); }
  void require_whole() const override;
  const Metadata& metadata() const override { return shards_.front()->metadata(); }
  const std::string& path() const override { return path_; }
  const std::vector<std::unique_ptr<SafetensorsReader>>& shards() const { return shards_; }

 private:
  const SafetensorsReader& holder(std::string_view name) const;

  std::string path_;
  std::vector<std::unique_ptr<SafetensorsReader>> shards_;  ///< in the order of their names
  std::vector<size_t> firsts_;                              ///< number of each shard's first entry, and of all
};

/// A .safetensors file, an index (.json), or a folder that holds one of them: model.safetensors, else
/// model.safetensors.index.json, else the only .safetensors file. Errors: those of the readers; Code::io if there is
/// nothing of that kind, with what there is.
std::unique_ptr<TensorReader> open_tensors(const std::string& path);

/// A tensor that is going to be written: its description, and its value when its turn comes.
struct TensorSource {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::function<Tensor()> value;  ///< of that type and shape; or
  /// its bytes, given to the function a piece at a time: as they lie in another file, kept to the bit
  std::function<void(const std::function<void(std::string_view)>&)> bytes;
};
TensorSource source_of(const std::string& name, const Tensor& value);
/// A tensor of another checkpoint, which must outlive the source; under another name if one is given.
TensorSource source_of(const TensorReader& from, const std::string& name, const std::string& as = {});

/// Bytes of the largest file that is written where nothing else is said.
inline constexpr int64_t kShardBytes = 5'000'000'000;

/// Writes model.safetensors, or, if the tensors take more than `shard_bytes`, model-00001-of-0000N.safetensors and so
/// on with model.safetensors.index.json; each tensor is made when it is written, and one at a time is in memory. A
/// tensor larger than that has a file of its own. What such a write left before is replaced: files are written aside
/// first, and whatever happens, what is found is the old checkpoint, the new one, or an error, never a mixture.
/// Metadata gets format = pt, which other readers ask for. Returns the names of the files.
/// Errors: Code::io; those of the sources. Names must be unique.
std::vector<std::string> write_tensors(const std::string& folder, const std::vector<TensorSource>& tensors,
                                       Metadata metadata = {}, int64_t shard_bytes = kShardBytes);

}  // namespace etude
