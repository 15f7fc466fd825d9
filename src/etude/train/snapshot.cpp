// What a checkpoint of a stage holds, and how a run goes on from it.

#include <nlohmann/json.hpp>

#include "etude/base/log.h"
#include "etude/train/loop.h"

namespace etude {
namespace {

constexpr const char* kHint = "use --fresh to begin anew";

std::string replica_prefix(size_t index) { return "replica-" + std::to_string(index) + "/"; }

void add_net(NamedTensors& into, const std::string& prefix, const Net& net) {
  for (const auto& p : net.named_parameters()) into.emplace_back(prefix + p.key(), p.value().detach());
  for (const auto& b : net.named_buffers()) into.emplace_back(prefix + b.key(), b.value().detach());
}

std::string shape_text(const Tensor& value) {
  std::string text = std::string(c10::toString(value.scalar_type())) + "[";
  for (int64_t d = 0; d < value.dim(); ++d) text += (d > 0 ? ", " : "") + std::to_string(value.size(d));
  return text + "]";
}

/// The part of `name` behind `prefix`, if it begins so.
std::optional<std::string> behind(const std::string& prefix, const std::string& name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  return name.substr(prefix.size());
}

/// Errors: Code::checkpoint; nlohmann would round a real number and wrap around what does not fit.
int64_t whole_number(const nlohmann::json& in) {
  if (!in.is_number_integer()) throw Error(Code::checkpoint, in.dump().substr(0, 80) + " is no whole number");
  return in.get<int64_t>();
}

Counters counters_from_json(const nlohmann::json& in) {
  Counters counters;
  if (in.size() != counters.value.size()) {
    throw Error(Code::checkpoint, "there are " + std::to_string(in.size()) + " counters instead of " +
                                      std::to_string(counters.value.size()));
  }
  for (size_t i = 0; i < counters.value.size(); ++i) counters.value[i] = in.at(i).get<double>();
  return counters;
}

nlohmann::json line_to_json(const MetricLine& line) {
  return {{"stage", line.stage}, {"kind", line.kind}, {"counters", line.counters.value}, {"values", line.values}};
}

MetricLine line_from_json(const nlohmann::json& in) {
  return {in.at("stage").get<std::string>(), in.at("kind").get<std::string>(), counters_from_json(in.at("counters")),
          in.at("values").get<std::map<std::string, double>>()};
}

}  // namespace

NamedTensors Trainer::tensors() {
  NamedTensors all;
  for (const auto& [name, net] : frozen_) add_net(all, "frozen/" + name + "/", *net);
  for (size_t r = 0; r < replicas_.size(); ++r) {
    Replica& replica = *replicas_[r];
    const std::string prefix = replica_prefix(r);
    for (const auto& [name, net] : replica.nets) {
      if (!frozen_.count(name)) add_net(all, prefix + "net/" + name + "/", *net);
    }
    for (auto& [name, learner] : replica.learners) {
      for (auto& [key, value] : learner.optimizer->state()) {
        all.emplace_back(prefix + "optimizer/" + name + "/" + key, value);
      }
    }
    for (const auto& [name, value] : replica.store.tensors()) all.emplace_back(prefix + "store/" + name, value);
  }
  for (const auto& [name, value] : shared_.tensors()) all.emplace_back("shared/" + name, value);
  return all;
}

Snapshot Trainer::snapshot() {
  Snapshot made;
  made.step = counters_.step();
  made.tensors = tensors();
  made.host = {{"stage", stage_.name},
               {"recipe", around_.recipe},
               {"counters", counters_.value},
               {"metrics_bytes", metrics_->position()},
               {"evaluated_at", evaluated_at_},
               {"books", books_.host()},
               {"shared", shared_.host()},
               {"cost",
                {{"step_seconds", fit_.cost.step_seconds},
                 {"evaluate_seconds", fit_.cost.evaluate_seconds},
                 {"checkpoint_seconds", fit_.cost.checkpoint_seconds}}},
               {"replicas", nlohmann::json::array()},
               {"lines", nlohmann::json::array()},
               {"values", fit_.values},
               {"rows", nlohmann::json::object()}};
  for (size_t r = 0; r < replicas_.size(); ++r) {
    made.host["replicas"].push_back(replicas_[r]->store.host());
    for (const auto& [name, rows] : replicas_[r]->store.all_segments()) made.segments[replica_prefix(r) + name] = &rows;
  }
  for (const auto& [name, rows] : shared_.all_segments()) made.segments["shared/" + name] = &rows;
  for (const MetricLine& line : fit_.lines) made.host["lines"].push_back(line_to_json(line));
  for (const auto& [name, rows] : fit_.rows) {
    nlohmann::json& list = made.host["rows"][name] = nlohmann::json::array();
    for (const Row& row : rows) list.push_back({row.id, row.value, row.weight});
  }
  return made;
}

void Trainer::save(Saving why) {
  if (!checkpoints_ || (saved_at_ == counters_.step() && why != Saving::milestone)) return;
  const double started = now_seconds();
  metrics_->sync();
  try {
    checkpoints_->save(snapshot(), stage_.checkpoint.keep, why == Saving::milestone);
    saved_at_ = counters_.step();
  } catch (const Error& error) {
    // The older checkpoints are as they were, so nothing is lost yet but the work since then.
    if (why != Saving::periodic || error.code() != Code::io) throw;
    warn("step " + std::to_string(counters_.step()) + " is not saved, training goes on: " + error.message() +
         (error.hint().empty() ? "" : "; " + error.hint()));
  }
  fit_.cost.checkpoint_seconds += now_seconds() - started;
}

bool Trainer::restore() {
  if (!checkpoints_) return false;
  std::vector<std::string> damage;
  std::optional<Snapshot> found = checkpoints_->load_latest(&damage);
  for (const std::string& what : damage) warn("damaged checkpoint left aside: " + what);
  if (!found) return false;
  const std::string place = around_.directory + "/checkpoints, step " + std::to_string(found->step);
  try {
    check_origin(*found);
    take_over(*found);
  } catch (const nlohmann::json::exception& error) {
    throw Error(Code::checkpoint, std::string("its state is not one that a stage keeps: ") + error.what(), place,
                kHint);
  } catch (const Error& error) {
    throw Error(error.code(), error.message(), error.where().empty() ? place : error.where(),
                error.hint().empty() ? kHint : error.hint());
  }
  saved_at_ = counters_.step();
  inform("resuming " + around_.directory + " at step " + std::to_string(counters_.step()));
  return true;
}

void Trainer::check_origin(const Snapshot& found) const {
  const std::string stage = found.host.at("stage"), recipe = found.host.at("recipe");
  if (stage != stage_.name) {
    throw Error(Code::checkpoint, "the checkpoint is of stage '" + stage + "', this is '" + stage_.name + "'");
  }
  if (!recipe.empty() && !around_.recipe.empty() && recipe != around_.recipe) {
    throw Error(Code::checkpoint, "the checkpoint is of recipe " + recipe + ", this is " + around_.recipe);
  }
  const size_t replicas = found.host.at("replicas").size();
  if (replicas != replicas_.size()) {
    throw Error(Code::checkpoint, "the checkpoint holds " + std::to_string(replicas) + " replicas, the recipe " +
                                      std::to_string(replicas_.size()));
  }
}

void Trainer::take_over(Snapshot& found) {
  take_over_tensors(found);
  const nlohmann::json& host = found.host;
  counters_ = counters_from_json(host.at("counters"));
  if (counters_[Unit::steps] != static_cast<double>(found.step)) {
    throw Error(Code::checkpoint, "its counters are of another step");
  }
  evaluated_at_ = whole_number(host.at("evaluated_at"));
  books_.restore_host(host.at("books"));
  shared_.restore_host(host.at("shared"));
  for (size_t r = 0; r < replicas_.size(); ++r) replicas_[r]->store.restore_host(host.at("replicas").at(r));
  for (const nlohmann::json& line : host.at("lines")) fit_.lines.push_back(line_from_json(line));
  fit_.values = host.at("values").get<std::map<std::string, double>>();
  for (const auto& [name, rows] : host.at("rows").items()) {
    std::vector<Row>& own = fit_.rows[name];
    for (const nlohmann::json& row : rows) {
      own.push_back({whole_number(row.at(0)), row.at(1).get<double>(), row.at(2).get<double>()});
    }
  }
  const nlohmann::json& cost = host.at("cost");
  fit_.cost.step_seconds = cost.at("step_seconds").get<double>();
  fit_.cost.evaluate_seconds = cost.at("evaluate_seconds").get<double>();
  fit_.cost.checkpoint_seconds = cost.at("checkpoint_seconds").get<double>();
  open_metrics(whole_number(host.at("metrics_bytes")));
}

void Trainer::take_over_tensors(Snapshot& found) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, Tensor> stored(found.tensors.begin(), found.tensors.end());
  found.tensors.clear();
  for (const auto& [name, value] : tensors()) {
    const auto it = stored.find(name);
    if (it == stored.end()) throw Error(Code::checkpoint, "the checkpoint lacks tensor '" + name + "'");
    if (it->second.sizes() != value.sizes() || it->second.dtype() != value.dtype()) {
      throw Error(Code::checkpoint, "tensor '" + name + "' is " + shape_text(it->second) + " in the checkpoint, " +
                                        shape_text(value) + " in this recipe");
    }
    value.copy_(it->second);
    stored.erase(it);
  }
  for (const auto& [name, value] : stored) {
    const auto [store, own] = owner_of(name, "store/");
    if (!store) throw Error(Code::checkpoint, "this recipe has no place for tensor '" + name + "'");
    store->tensors()[own] = value;
  }
  for (auto& [name, rows] : found.loaded_segments) {
    const auto [store, own] = owner_of(name, "");
    if (!store) throw Error(Code::checkpoint, "this recipe has no place for the memory '" + name + "'");
    store->all_segments()[own] = std::move(rows);
  }
}

std::pair<Store*, std::string> Trainer::owner_of(const std::string& name, const std::string& middle) {
  if (const auto own = behind("shared/", name)) return {&shared_, *own};
  for (size_t r = 0; r < replicas_.size(); ++r) {
    if (const auto own = behind(replica_prefix(r) + middle, name)) return {&replicas_[r]->store, *own};
  }
  return {nullptr, ""};
}

void Trainer::open_metrics(int64_t keep_bytes) {
  if (around_.directory.empty()) return;
  const std::string path = around_.directory + "/metrics.jsonl";
  if (keep_bytes == 0) {
    metrics_ = std::make_unique<file::Writer>(path, file::Writer::Mode::create);
    return;
  }
  if (keep_bytes < 0 || !file::exists(path) || file::size(path) < keep_bytes) {
    throw Error(Code::checkpoint,
                "metrics.jsonl is shorter than the " + std::to_string(keep_bytes) + " bytes that the checkpoint counts",
                path, kHint);
  }
  metrics_ = std::make_unique<file::Writer>(path, file::Writer::Mode::append);
  metrics_->truncate(keep_bytes);
}

Artifact Trainer::artifact() const {
  Artifact made;
  for (size_t r = 0; r < replicas_.size(); ++r) {
    for (const auto& [name, net] : replicas_[r]->nets) {
      NamedTensors values;
      add_net(values, (r == 0 ? std::string() : replica_prefix(r)) + name + "/", *net);
      for (auto& [key, value] : values) made.tensors.emplace_back(key, value.clone());
    }
  }
  for (const auto& [name, value] : fit_.values) made.values[name] = value;
  return made;
}

}  // namespace etude
