// What a checkpoint of a stage holds, and how a run goes on from it.

#include <cmath>
#include <nlohmann/json.hpp>

#include "etude/base/log.h"
#include "etude/train/loop.h"

namespace etude {
namespace {

std::string replica_prefix(int index) { return "replica-" + std::to_string(index) + "/"; }

void add_net(NamedTensors& into, const std::string& prefix, const Net& net) {
  for (const auto& p : net.named_parameters()) into.emplace_back(prefix + p.key(), p.value().detach());
  for (const auto& b : net.named_buffers()) into.emplace_back(prefix + b.key(), b.value().detach());
}

nlohmann::json line_to_json(const MetricLine& line) {
  nlohmann::json out = {{"stage", line.stage}, {"kind", line.kind}, {"counters", line.counters.value}, {"values", nlohmann::json::object()}};
  for (const auto& [name, value] : line.values) out["values"][name] = value;
  return out;
}

MetricLine line_from_json(const nlohmann::json& in) {
  MetricLine line;
  line.stage = in.at("stage");
  line.kind = in.at("kind");
  line.counters.value = in.at("counters").get<decltype(line.counters.value)>();
  for (const auto& [name, value] : in.at("values").items()) line.values[name] = value.is_null() ? std::nan("") : value.get<double>();
  return line;
}

}  // namespace

NamedTensors Trainer::tensors() {
  NamedTensors all;
  for (const auto& [name, net] : frozen_) add_net(all, "frozen/" + name + "/", *net);
  for (auto& replica : replicas_) {
    const std::string prefix = replica_prefix(replica->index);
    for (const auto& [name, net] : replica->nets)
      if (!frozen_.count(name)) add_net(all, prefix + "net/" + name + "/", *net);
    for (auto& [name, learner] : replica->learners)
      for (auto& [key, value] : learner.optimizer->state()) all.emplace_back(prefix + "optimizer/" + name + "/" + key, value);
    for (const auto& [name, value] : replica->store.tensors()) all.emplace_back(prefix + "store/" + name, value);
  }
  for (const auto& [name, value] : shared_.tensors()) all.emplace_back("shared/" + name, value);
  return all;
}

void Trainer::save(bool milestone) {
  if (!checkpoints_ || (saved_at_ == counters_.step() && !milestone)) return;
  const double started = now_seconds();
  metrics_->sync();
  Snapshot snapshot;
  snapshot.step = counters_.step();
  snapshot.tensors = tensors();
  snapshot.host = {{"stage", stage_.name},
                   {"counters", counters_.value},
                   {"metrics_bytes", metrics_->position()},
                   {"evaluated_at", evaluated_at_},
                   {"books", books_.host()},
                   {"shared", shared_.host()},
                   {"cost", {{"step_seconds", fit_.cost.step_seconds}, {"evaluate_seconds", fit_.cost.evaluate_seconds}, {"checkpoint_seconds", fit_.cost.checkpoint_seconds}}},
                   {"replicas", nlohmann::json::array()},
                   {"lines", nlohmann::json::array()},
                   {"values", fit_.values},
                   {"rows", nlohmann::json::object()}};
  for (auto& replica : replicas_) {
    snapshot.host["replicas"].push_back(replica->store.host());
    for (const auto& [name, segments] : replica->store.all_segments()) snapshot.segments[replica_prefix(replica->index) + name] = &segments;
  }
  for (const auto& [name, segments] : shared_.all_segments()) snapshot.segments["shared/" + name] = &segments;
  for (const MetricLine& line : fit_.lines) snapshot.host["lines"].push_back(line_to_json(line));
  for (const auto& [name, rows] : fit_.rows)
    for (const Row& row : rows) snapshot.host["rows"][name].push_back({row.id, row.value, row.weight});
  checkpoints_->save(snapshot, stage_.checkpoint.keep, milestone);
  saved_at_ = counters_.step();
  fit_.cost.checkpoint_seconds += now_seconds() - started;
}

bool Trainer::restore() {
  if (!checkpoints_) return false;
  std::vector<std::string> damage;
  std::optional<Snapshot> found = checkpoints_->load_latest(&damage);
  for (const std::string& what : damage) warn("damaged checkpoint left aside: " + what);
  if (!found) return false;
  const nlohmann::json& host = found->host;
  const std::string place = around_.directory + "/checkpoints, step " + std::to_string(found->step);
  if (host.at("replicas").size() != replicas_.size())
    throw Error(Code::checkpoint, "the checkpoint holds " + std::to_string(host.at("replicas").size()) + " replicas, the recipe " + std::to_string(replicas_.size()), place, "use --fresh to begin anew");

  for (auto& [name, segments] : found->loaded_segments) {
    const size_t slash = name.find('/');
    const std::string owner = name.substr(0, slash), rest = name.substr(slash + 1);
    Store& store = owner == "shared" ? shared_ : replicas_.at(std::stoul(owner.substr(8)))->store;
    store.all_segments()[rest] = std::move(segments);
  }
  std::map<std::string, Tensor> stored(found->tensors.begin(), found->tensors.end());
  {
    torch::NoGradGuard no_grad;
    for (auto& [name, value] : tensors()) {
      auto it = stored.find(name);
      if (it == stored.end()) throw Error(Code::checkpoint, "the checkpoint lacks tensor '" + name + "'", place, "use --fresh to begin anew");
      if (it->second.sizes() != value.sizes() || it->second.dtype() != value.dtype())
        throw Error(Code::checkpoint, "tensor '" + name + "' has another shape or type than the recipe's", place, "use --fresh to begin anew");
      value.copy_(it->second);
      stored.erase(it);
    }
  }
  for (auto& [name, value] : stored) {
    if (name.rfind("shared/", 0) == 0) shared_.tensors()[name.substr(7)] = value;
    for (auto& replica : replicas_) {
      const std::string prefix = replica_prefix(replica->index) + "store/";
      if (name.rfind(prefix, 0) == 0) replica->store.tensors()[name.substr(prefix.size())] = value;
    }
  }
  counters_.value = host.at("counters").get<decltype(counters_.value)>();
  evaluated_at_ = host.at("evaluated_at");
  books_.restore_host(host.at("books"));
  shared_.restore_host(host.at("shared"));
  for (size_t r = 0; r < replicas_.size(); ++r) replicas_[r]->store.restore_host(host.at("replicas").at(r));
  for (const auto& line : host.at("lines")) fit_.lines.push_back(line_from_json(line));
  for (const auto& [name, value] : host.at("values").items()) fit_.values[name] = value.is_null() ? std::nan("") : value.get<double>();
  for (const auto& [name, rows] : host.at("rows").items())
    for (const auto& row : rows) fit_.rows[name].push_back({row.at(0), row.at(1), row.at(2)});
  const auto& cost = host.at("cost");
  fit_.cost.step_seconds = cost.at("step_seconds");
  fit_.cost.evaluate_seconds = cost.at("evaluate_seconds");
  fit_.cost.checkpoint_seconds = cost.at("checkpoint_seconds");
  saved_at_ = counters_.step();
  open_metrics(host.at("metrics_bytes"));
  inform("resuming " + around_.directory + " at step " + std::to_string(counters_.step()));
  return true;
}

void Trainer::open_metrics(int64_t keep_bytes) {
  if (around_.directory.empty()) return;
  const std::string path = around_.directory + "/metrics.jsonl";
  if (keep_bytes == 0) {
    metrics_ = std::make_unique<file::Writer>(path, file::Writer::Mode::create);
    return;
  }
  if (!file::exists(path) || file::size(path) < keep_bytes)
    throw Error(Code::checkpoint, "metrics.jsonl is shorter than the " + std::to_string(keep_bytes) + " bytes that the checkpoint counts", path, "use --fresh to begin anew");
  metrics_ = std::make_unique<file::Writer>(path, file::Writer::Mode::append);
  metrics_->truncate(keep_bytes);
}

Artifact Trainer::artifact() const {
  Artifact made;
  for (const auto& replica : replicas_)
    for (const auto& [name, net] : replica->nets) {
      NamedTensors values;
      add_net(values, (replica->index == 0 ? std::string() : replica_prefix(replica->index)) + name + "/", *net);
      for (auto& [key, value] : values) made.tensors.emplace_back(key, value.clone());
    }
  for (const auto& [name, value] : fit_.values) made.values[name] = value;
  return made;
}

}  // namespace etude
