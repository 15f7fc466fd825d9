#include "methods/noloco/carrier.h"

#include "etude/base/torch_pch.h"

#include <nlohmann/json.hpp>

#include "etude/tensor/bytes.h"

namespace etude::noloco {
namespace {

using Json = nlohmann::json;

/// The names of a batch's tensors as a tree, and the tensors in its order.
Json pack(const Batch& batch, std::vector<Tensor>& tensors) {
  Json tree = {{"x", Json::array()}, {"text", batch.text}, {"part", Json::object()}};
  tensors.push_back(batch.id_B);
  for (const auto& [name, value] : batch.x) {
    tree["x"].push_back(name);
    tensors.push_back(value);
  }
  for (const auto& [name, inner] : batch.part) tree["part"][name] = pack(inner, tensors);
  return tree;
}

Batch unpack(const Json& tree, const std::vector<Tensor>& tensors, size_t& next) {
  Batch batch;
  batch.id_B = tensors.at(next++);
  for (const Json& name : tree.at("x")) batch.x[name.get<std::string>()] = tensors.at(next++);
  for (const auto& [name, inner] : tree.at("part").items()) batch.part[name] = unpack(inner, tensors, next);
  tree.at("text").get_to(batch.text);
  return batch;
}

}  // namespace

std::vector<Tensor> packed(const Parcel& parcel) {
  std::vector<Tensor> tensors = {Tensor(), parcel.x};
  const Json head = {
      {"batch", pack(parcel.batch, tensors)}, {"norms", parcel.of_whole.norms}, {"samples", parcel.of_whole.samples}};
  std::string cbor;
  Json::to_cbor(head, cbor);
  tensors.front() = tensor_of(cbor);
  return tensors;
}

Parcel unpacked(const std::vector<Tensor>& tensors, const std::string& place) {
  Parcel parcel;
  try {
    const Json head = Json::from_cbor(text_of(tensors.at(0)));
    size_t next = 2;
    parcel.x = tensors.at(1);
    parcel.batch = unpack(head.at("batch"), tensors, next);
    parcel.of_whole = {head.at("norms").get<Norms>(), head.at("samples").get<int64_t>()};
    if (next == tensors.size() && parcel.x.dim() >= 1 && parcel.x.size(0) == parcel.batch.size()) return parcel;
  } catch (const std::exception&) {  // of Json, of at(), and of LibTorch for a wrong type
  }
  throw Error(Code::comms, "a message is no micro-batch", place, "all ranks must run the same program and recipe");
}

void Carrier::send(Step& from, int to, const std::string& tag, std::vector<Tensor> tensors) {
  if (to != from.replica()) {
    double bytes = 0;
    for (const Tensor& t : tensors) bytes += static_cast<double>(t.nbytes());
    from.count(Unit::bytes, bytes);
    from.count(Unit::messages, 1);
  }
  if (here(to))
    in_memory_.emplace(tag, std::move(tensors));
  else
    links_->send(layout_.head(to), tag, tensors);
}

std::vector<Tensor> Carrier::receive(int from, const std::string& tag) {
  if (here(from)) {
    auto message = in_memory_.extract(tag);
    ETUDE_CHECK(!message.empty(), "nothing was sent as " + tag);
    return std::move(message.mapped());
  }
  const int rank = layout_.head(from);
  auto message = links_->receive_patiently(rank, tag);
  if (!message) throw links_->missing(rank);
  return std::move(*message);
}

}  // namespace etude::noloco
