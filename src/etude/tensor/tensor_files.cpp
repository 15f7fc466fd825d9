#include "etude/tensor/tensor_files.h"

#include "etude/base/torch_pch.h"

#include <algorithm>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/json_cursor.h"
#include "etude/tensor/safetensors.h"
#include "etude/tensor/safetensors_index.h"

namespace etude {
namespace {

constexpr size_t kSearched = 100'000;  ///< names among which the nearest is looked for

Error no_tensor(const TensorReader& files, std::string_view name) {
  const std::string hint = std::to_string(files.size()) + " tensors are there; etude inspect lists them";
  return {Code::checkpoint, "there is no tensor '" + shortened(name) + "'", files.path(),
          files.size() <= kSearched ? did_you_mean(name, files.names(), hint) : hint};
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

/// The only .safetensors file of a folder that has neither of the usual names.
std::string only_file(const std::string& folder) {
  std::vector<std::string> found;
  for (const std::string& name : file::list(folder)) {
    if (name.ends_with(".safetensors")) found.push_back(name);
  }
  if (found.size() == 1) return folder + "/" + found.front();
  const std::string hint = "a folder of a model holds " + std::string(kModelFile) + " or " + kModelIndex;
  if (found.empty()) throw Error(Code::io, "there are no tensors in this folder", folder, hint);
  throw Error(Code::io,
              std::to_string(found.size()) + " .safetensors files and no index, the first is " + found.front(), folder,
              hint + "; name one of the files");
}

}  // namespace

std::vector<std::string> TensorReader::names() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < size(); ++i) names.push_back(entry(i).name);
  return names;
}

SafetensorsReader::SafetensorsReader(const std::string& path) : mapped_(path), header_(mapped_.bytes(), path) {
  mapped_.require_whole();
}

SafetensorsEntry SafetensorsReader::entry(std::string_view name) const {
  const std::optional<size_t> i = header_.find(name);
  if (!i) throw no_tensor(*this, name);
  return header_.entry(*i);
}

std::string_view SafetensorsReader::bytes_of(const SafetensorsEntry& entry) const {
  mapped_.will_need(header_.data() + entry.begin, entry.bytes());
  return mapped_.bytes().substr(header_.data() + entry.begin, entry.bytes());
}

std::string_view SafetensorsReader::bytes(std::string_view name) const { return bytes_of(entry(name)); }

Tensor SafetensorsReader::get(std::string_view name) const {
  const SafetensorsEntry found = entry(name);
  Tensor value = stored_tensor(found, bytes_of(found), path());
  mapped_.require_whole();
  return value;
}

ShardedReader::ShardedReader(const std::string& index) : path_(index) {
  const file::Mapped mapped(index, file::Mapped::Access::sequential);
  const SafetensorsIndex map = parse_safetensors_index(mapped.bytes(), index);
  mapped.require_whole();
  for (const std::string& shard : map.shards) {
    const std::string path = folder_of(index) + shard;
    if (!file::exists(path)) {
      throw Error(Code::checkpoint, "the index names " + shortened(shard) + ", which is not there", index,
                  "fetch or copy all files of the checkpoint into one folder");
    }
    shards_.push_back(std::make_unique<SafetensorsReader>(path));
  }
  const std::string hint = "index and files are not of the same checkpoint";
  std::vector<size_t> named(shards_.size());
  for (const auto& [name, shard] : map.tensors) {
    ++named[shard];
    if (!shards_[shard]->has(name)) {
      throw Error(Code::checkpoint, map.shards[shard] + " lacks a tensor that the index says it has",
                  index + ", tensor " + shortened(name), hint);
    }
  }
  const auto known = [&](const std::string& name, uint32_t shard) {
    return std::binary_search(map.tensors.begin(), map.tensors.end(), std::pair(name, shard));
  };
  for (uint32_t shard = 0; shard < shards_.size(); ++shard) {
    firsts_.push_back(shard == 0 ? 0 : firsts_.back() + shards_[shard - 1]->size());
    if (named[shard] == shards_[shard]->size()) continue;
    for (size_t i = 0; i < shards_[shard]->size(); ++i) {
      const std::string name = shards_[shard]->entry(i).name;
      if (!known(name, shard)) {
        throw Error(Code::checkpoint, map.shards[shard] + " has a tensor that the index does not say it has",
                    index + ", tensor " + shortened(name), hint);
      }
    }
  }
  firsts_.push_back(firsts_.back() + shards_.back()->size());
}

SafetensorsEntry ShardedReader::entry(size_t i) const {
  ETUDE_CHECK(i < size(), "no such entry");
  const auto after = std::upper_bound(firsts_.begin(), firsts_.end(), i);
  const auto shard = static_cast<size_t>(after - firsts_.begin()) - 1;
  return shards_[shard]->entry(i - firsts_[shard]);
}

bool ShardedReader::has(std::string_view name) const {
  return std::any_of(shards_.begin(), shards_.end(), [&](const auto& shard) { return shard->has(name); });
}

void ShardedReader::require_whole() const {
  for (const auto& shard : shards_) shard->require_whole();
}

const SafetensorsReader& ShardedReader::holder(std::string_view name) const {
  for (const auto& shard : shards_) {
    if (shard->has(name)) return *shard;
  }
  throw no_tensor(*this, name);
}

std::unique_ptr<TensorReader> open_tensors(const std::string& path) {
  if (!file::is_directory(path)) {
    if (path.ends_with(".json")) return std::make_unique<ShardedReader>(path);
    return std::make_unique<SafetensorsReader>(path);
  }
  if (file::exists(path + "/" + kModelFile)) return std::make_unique<SafetensorsReader>(path + "/" + kModelFile);
  if (file::exists(path + "/" + kModelIndex)) return std::make_unique<ShardedReader>(path + "/" + kModelIndex);
  return std::make_unique<SafetensorsReader>(only_file(path));
}

TensorSource source_of(const std::string& name, const Tensor& value) {
  ETUDE_CHECK(value.defined(), "the tensor '" + name + "' is undefined");
  return {name, safetensors_dtype(value.scalar_type(), name), value.sizes().vec(), [value] { return value; }, nullptr};
}

TensorSource source_of(const TensorReader& from, const std::string& name, const std::string& as) {
  const SafetensorsEntry entry = from.entry(name);
  return {as.empty() ? name : as, entry.dtype, entry.shape, nullptr, [&from, name](const auto& take) {
            take(from.bytes(name));
            from.require_whole();
          }};
}

namespace {

/// A file that is going to be written.
struct Shard {
  std::vector<const TensorSource*> tensors;
  uint64_t bytes = 0;
};

uint64_t bytes_of(const TensorSource& tensor) {
  const std::optional<uint64_t> bytes = safetensors_bytes(tensor.dtype, tensor.shape);
  ETUDE_CHECK(bytes, "'" + tensor.name + "' has no size");
  return *bytes;
}

/// In order, each as full as its tensors allow; at least one.
std::vector<Shard> divided(const std::vector<TensorSource>& tensors, uint64_t shard_bytes) {
  std::vector<Shard> shards(1);
  for (const TensorSource& tensor : tensors) {
    const uint64_t bytes = bytes_of(tensor);
    if (!shards.back().tensors.empty() && shards.back().bytes + bytes > shard_bytes) shards.emplace_back();
    shards.back().tensors.push_back(&tensor);
    shards.back().bytes += bytes;
  }
  return shards;
}

void write_value(file::Writer& out, const TensorSource& tensor) {
  if (tensor.bytes) {
    uint64_t written = 0;
    tensor.bytes([&](std::string_view bytes) {
      out.write(bytes);
      written += bytes.size();
    });
    ETUDE_CHECK(written == bytes_of(tensor), "'" + tensor.name + "' has other bytes than were announced");
    return;
  }
  const Tensor value = as_stored(tensor.value());
  ETUDE_CHECK(safetensors_dtype(value.scalar_type(), tensor.name) == tensor.dtype && value.sizes() == tensor.shape,
              "'" + tensor.name + "' is another tensor than was announced");
  if (value.numel() > 0) out.write(value.const_data_ptr(), value.nbytes());
}

void write_shard(file::Writer& out, const Shard& shard, const Metadata& metadata) {
  std::vector<SafetensorsEntry> entries;
  for (const TensorSource* tensor : shard.tensors) entries.push_back({tensor->name, tensor->dtype, tensor->shape});
  out.write(safetensors_header(entries, metadata));
  for (const TensorSource* tensor : shard.tensors) write_value(out, *tensor);
}

/// Files that are complete but still aside; they go with the object. What a writer that died left is replaced.
class Aside {
 public:
  explicit Aside(const std::string& folder) : path_(folder + "/" + file::kTemporary + "tensors") {
    try {
      file::remove_all(path_);
      file::make_directories(path_);
    } catch (...) {
      remove();
      throw;
    }
  }
  ~Aside() { remove(); }
  Aside(const Aside&) = delete;
  std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  void remove() const {
    try {
      file::remove_all(path_);
    } catch (const Error&) {
      // What stays is a temporary folder that nobody reads.
    }
  }

  std::string path_;
};

/// Removes what an older write left and the new one does not replace.
void remove_stale(const std::string& folder, const std::vector<std::string>& kept) {
  for (const std::string& name : file::list(folder)) {
    const bool ours = is_shard_name(name) || name == kModelFile || name == kModelIndex;
    if (ours && std::find(kept.begin(), kept.end(), name) == kept.end()) file::remove_all(folder + "/" + name);
  }
  file::sync_directory(folder);
}

}  // namespace

std::vector<std::string> write_tensors(const std::string& folder, const std::vector<TensorSource>& tensors,
                                       Metadata metadata, int64_t shard_bytes) {
  ETUDE_CHECK(shard_bytes > 0, "files of no bytes");
  metadata.emplace("format", "pt");
  const std::vector<Shard> shards = divided(tensors, static_cast<uint64_t>(shard_bytes));
  SafetensorsIndex index;
  index.total_size = 0;
  file::make_directories(folder);
  const Aside aside(folder);
  for (const Shard& shard : shards) {
    const auto number = static_cast<uint32_t>(index.shards.size());
    index.shards.push_back(shards.size() == 1 ? kModelFile : shard_name(number + 1, shards.size()));
    for (const TensorSource* tensor : shard.tensors) index.tensors.emplace_back(tensor->name, number);
    *index.total_size += shard.bytes;
    file::Writer out(aside.at(index.shards.back()), file::Writer::Mode::create);
    write_shard(out, shard, metadata);
    out.sync();
  }
  std::vector<std::string> kept = index.shards;
  if (shards.size() > 1) {
    // Between here and the new index there is none, so that no reader takes old and new files for one checkpoint.
    file::remove_all(folder + "/" + kModelIndex);
    file::sync_directory(folder);
  }
  for (const std::string& name : index.shards) file::rename_durably(aside.at(name), folder + "/" + name);
  if (shards.size() > 1) {
    file::write_atomically(folder + "/" + kModelIndex, safetensors_index(index));
    kept.push_back(kModelIndex);
  }
  remove_stale(folder, kept);
  return kept;
}

}  // namespace etude
