// What a checkpoint of a stage holds, and how a run goes on from it.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "etude/base/log.h"
#include "etude/train/loop.h"
#include "etude/train/variants.h"

namespace etude {
namespace {

constexpr const char* kHint = "use --fresh to begin anew";
constexpr const char* kStart = "broadcast/start";

/// The replica that a tensor of a checkpoint belongs to.
std::optional<int> replica_of(const std::string& name) {
  int replica = 0;
  return std::sscanf(name.c_str(), "replica-%d/", &replica) == 1 ? std::optional(replica) : std::nullopt;
}

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

/// What this rank holds of the run state, under its names in a checkpoint.
NamedTensors Trainer::tensors() {
  NamedTensors all;
  for (const auto& [name, net] : frozen_) add_net(all, "frozen/" + name + "/", *net);
  for (auto& replica : replicas_)
    for (auto& [name, value] : state_of(*replica, true).tensors)
      all.emplace_back(replica_prefix(replica->index) + name, value);
  for (const auto& [name, value] : shared_.tensors()) all.emplace_back("shared/" + name, value);
  return all;
}

Trainer::Portion Trainer::nets_of(const Replica& replica) const {
  Portion part;
  for (const auto& [name, net] : replica.nets)
    if (!frozen_.count(name)) add_net(part.tensors, "net/" + name + "/", *net);
  return part;
}

/// Of a replica what becomes nets of the artifact.
Trainer::Portion Trainer::published_of(const Replica& replica) const {
  Portion part = nets_of(replica);
  for (const auto& [name, value] : replica.store.tensors())
    if (name.starts_with(kVariants)) part.tensors.emplace_back("store/" + name, value);
  return part;
}

/// `whole`: the nets and the store too, which are the same on all ranks that share the replica.
Trainer::Portion Trainer::state_of(Replica& replica, bool whole) const {
  Portion part = whole ? nets_of(replica) : Portion();
  for (auto& [name, learner] : replica.learners)
    for (auto& [key, value] : learner.optimizer->state())
      part.tensors.emplace_back("optimizer/" + name + "/" + key, value);
  if (whole)
    for (const auto& [name, value] : replica.store.tensors()) part.tensors.emplace_back("store/" + name, value);
  part.host["store"] = replica.store.host();
  part.host["books"] = replica.books.host();
  return part;
}

/// All but what belongs to a replica, and what has been written by the time the checkpoint is.
Snapshot Trainer::common_state() {
  Snapshot made;
  made.step = counters_.step();
  for (const auto& [name, net] : frozen_) add_net(made.tensors, "frozen/" + name + "/", *net);
  for (const auto& [name, value] : shared_.tensors()) made.tensors.emplace_back("shared/" + name, value);
  if (links_)
    for (auto& [name, value] : made.tensors) value = value.clone();
  made.host = {{"stage", stage_.name},
               {"recipe", around_.recipe},
               {"evaluated_at", evaluated_at_},
               {"shared", shared_.host()},
               {"cost",
                {{"step_seconds", fit_.cost.step_seconds},
                 {"evaluate_seconds", fit_.cost.evaluate_seconds},
                 {"checkpoint_seconds", fit_.cost.checkpoint_seconds}}}};
  for (const auto& replica : replicas_)
    for (const auto& [name, rows] : replica->store.all_segments())
      made.segments[replica_prefix(replica->index) + name] = &rows;
  for (const auto& [name, rows] : shared_.all_segments()) made.segments["shared/" + name] = &rows;
  if (links_ && !made.segments.empty())
    throw Error(Code::config, "the memory '" + made.segments.begin()->first + "' grows, and can't be kept over ranks",
                "stage " + stage_.name, "train this recipe in one process");
  return made;
}

void Trainer::save(Saving why, const std::string& milestone) {
  if (around_.directory.empty() && why != Saving::milestone) return;
  if (saved_at_ == counters_.step() && why != Saving::milestone) return;
  const double started = now_seconds();
  enter("save");
  saved_at_ = counters_.step();
  announce({.kind = Due::Kind::saving, .saving = why, .milestone = milestone, .snapshot = common_state()},
           [&](Replica& replica) {
             const bool shards = std::any_of(replica.learners.begin(), replica.learners.end(), [](const auto& entry) {
               return entry.second.optimizer->parameters().size() < entry.second.parameters.size();
             });
             return is_head(replica) || shards ? state_of(replica, is_head(replica)) : books_of(replica);
           });
  fit_.cost.checkpoint_seconds += now_seconds() - started;
}

Trainer::Portion Trainer::books_of(Replica& replica) const {
  Portion part;
  part.host["books"] = replica.books.host();
  return part;
}

void Trainer::finish_saving(Due& due) {
  // Published first: a run that dies in between takes the step again rather than go on from behind it.
  if (due.saving == Saving::milestone && around_.milestone) around_.milestone(due.milestone, artifact_of(due.parts));
  if (!checkpoints_) return;
  Snapshot& made = due.snapshot;
  NamedTensors ordered;
  const auto take = [&](const std::string& prefix) {
    for (const auto& entry : made.tensors)
      if (entry.first.starts_with(prefix)) ordered.push_back(entry);
  };
  take("frozen/");
  nlohmann::json replicas = nlohmann::json::array();
  for (int r = 0; r < layout_.replicas(); ++r) {
    const auto found = due.parts.find(r);
    if (found == due.parts.end() || !found->second.begin()->second.host.contains("store")) {
      replicas.push_back(nullptr);  // its ranks have died
      continue;
    }
    for (const auto& [from, part] : found->second)
      for (const auto& [name, value] : part.tensors) ordered.emplace_back(replica_prefix(r) + name, value);
    replicas.push_back(
        {{"store", found->second.begin()->second.host.at("store")}, {"books", merged_books(found->second).host()}});
  }
  take("shared/");
  made.tensors = std::move(ordered);
  made.host["counters"] = counters_of_all(due).value;
  made.host["replicas"] = std::move(replicas);
  made.host["metrics_bytes"] = metrics_->position();
  made.host["values"] = fit_.values;
  made.host["lines"] = nlohmann::json::array();
  for (const MetricLine& line : fit_.lines) made.host["lines"].push_back(line_to_json(line));
  made.host["rows"] = nlohmann::json::object();
  for (const auto& [name, rows] : fit_.rows) {
    nlohmann::json& list = made.host["rows"][name] = nlohmann::json::array();
    for (const Row& row : rows) list.push_back({row.id, row.value, row.weight});
  }
  metrics_->sync();
  try {
    checkpoints_->save(made, stage_.checkpoint.keep, due.saving == Saving::milestone);
  } catch (const Error& error) {
    // The older checkpoints are as they were, so nothing is lost yet but the work since then.
    if (due.saving != Saving::periodic || error.code() != Code::io) throw;
    warn("step " + std::to_string(made.step) + " is not saved, training goes on: " + error.message() +
         (error.hint().empty() ? "" : "; " + error.hint()));
  }
}

std::optional<Snapshot> Trainer::load() {
  if (!checkpoints_) return std::nullopt;
  std::vector<std::string> damage;
  std::optional<Snapshot> found = checkpoints_->load_latest(&damage);
  for (const std::string& what : damage) warn("damaged checkpoint left aside: " + what);
  return found;
}

bool Trainer::restore() {
  std::optional<Snapshot> found;
  if (links_ && links_->returned(rank()) > 0) return rejoin();
  while (links_ && !leads() && !receive_begin(found, kStart)) follow_the_lead();
  if (leads()) found = load();
  const std::string place = around_.directory + "/checkpoints" + (found ? ", step " + std::to_string(found->step) : "");
  try {
    if (found) check_origin(*found);
    if (found) revive(*found);
    if (links_ && leads())
      for (int other = 0; other < layout_.ranks(); ++other)
        if (other != rank()) send_begin(other, found, kStart);
    if (!found) return false;
    take_over(*found);
  } catch (const nlohmann::json::exception& error) {
    throw Error(Code::checkpoint, std::string("its state is not one that a stage keeps: ") + error.what(), place,
                kHint);
  } catch (const Error& error) {
    if (error.code() == Code::comms) throw;
    throw Error(error.code(), error.message(), error.where().empty() ? place : error.where(),
                error.hint().empty() ? kHint : error.hint());
  }
  saved_at_ = counters_.step();
  if (leads()) inform("resuming " + around_.directory + " at step " + std::to_string(counters_.step()));
  return true;
}

/// Replicas whose ranks had died when the checkpoint was made begin as copies of the next one that had not.
void Trainer::revive(Snapshot& found) const {
  nlohmann::json& replicas = found.host.at("replicas");
  const int count = static_cast<int>(replicas.size());
  for (int r = 0; r < count; ++r) {
    if (!replicas[static_cast<size_t>(r)].is_null()) continue;
    int donor = r;
    for (int k = 1; k < count && donor == r; ++k)
      if (!replicas[static_cast<size_t>((r + k) % count)].is_null()) donor = (r + k) % count;
    if (donor == r) throw Error(Code::checkpoint, "the checkpoint holds no replica");
    NamedTensors copies;
    for (const auto& [name, value] : found.tensors)
      if (const auto own = behind(replica_prefix(donor), name))
        copies.emplace_back(replica_prefix(r) + *own, value.clone());
    found.tensors.insert(found.tensors.end(), copies.begin(), copies.end());
    replicas[static_cast<size_t>(r)] = replicas[static_cast<size_t>(donor)];
    warn("replica " + std::to_string(r) + " died before step " + std::to_string(found.step) +
         " was saved: it goes on as a copy of replica " + std::to_string(donor));
  }
}

/// What another rank needs to begin; it finds out whether it trains the same.
void Trainer::send_begin(int other, const std::optional<Snapshot>& found, const std::string& tag) const {
  if (found && !found->loaded_segments.empty())
    throw Error(Code::config, "the checkpoint holds a memory that grows, which can't be kept over ranks", "",
                "go on in one process");
  nlohmann::json head = {{"recipe", identity()}, {"host", nullptr}, {"names", nlohmann::json::array()}};
  std::vector<Tensor> message = {Tensor()};
  if (found) {
    head["step"] = found->step;
    head["host"] = found->host;
    const auto [first, last] = layout_.hosted(other);
    for (const auto& [name, value] : found->tensors) {
      const std::optional<int> replica = replica_of(name);
      if (replica && (*replica < first || *replica >= last)) continue;
      head["names"].push_back(name);
      message.push_back(value);
    }
  }
  message.front() = as_tensor(head);
  links_->send(other, tag, message);
}

/// False when the leading rank has died before it could tell. Errors: Code::comms when it does not answer,
/// Code::config when it trains something else.
bool Trainer::receive_begin(std::optional<Snapshot>& found, const std::string& tag) const {
  const auto message = links_->receive_patiently(lead_, tag);
  if (!message && !links_->present(lead_)) return false;
  if (!message || message->empty()) throw links_->missing(lead_);
  const nlohmann::json head = from_tensor(message->front(), lead_);
  const std::string theirs = head.at("recipe");
  if (theirs != identity())
    throw Error(Code::config, "rank " + std::to_string(lead_) + " trains " + theirs + ", this one " + identity(),
                "rank " + std::to_string(rank()), "start all ranks with the same command and version");
  if (head.at("host").is_null()) return true;
  found.emplace();
  found->step = head.at("step").get<int64_t>();
  found->host = head.at("host");
  size_t next = 1;
  for (const nlohmann::json& name : head.at("names"))
    found->tensors.emplace_back(name.get<std::string>(), message->at(next++));
  return true;
}

/// This rank has died and was started again while the others are at work: it goes on where the leading one stands.
bool Trainer::rejoin() {
  const std::string place = std::to_string(rank()) + "." + std::to_string(links_->returned(rank()));
  std::optional<Snapshot> found;
  do {
    lead_ = first_in_line();
    if (leads())
      throw Error(Code::comms, "there is nobody left to return to", "rank " + std::to_string(rank()),
                  "start all ranks again: the same command goes on from the last checkpoint");
    links_->send(lead_, "rejoin/" + place, {});
  } while (!receive_begin(found, "rejoin/welcome-" + place));
  take_over(*found);
  announced_ = found->host.at("announced").get<int64_t>();
  saved_at_ = counters_.step();
  return true;
}

std::string Trainer::identity() const { return "recipe " + around_.recipe + " with LibTorch " + TORCH_VERSION; }

void Trainer::check_origin(const Snapshot& found) const {
  const std::string stage = found.host.at("stage"), recipe = found.host.at("recipe");
  if (stage != stage_.name) {
    throw Error(Code::checkpoint, "the checkpoint is of stage '" + stage + "', this is '" + stage_.name + "'");
  }
  if (!recipe.empty() && !around_.recipe.empty() && recipe != around_.recipe) {
    throw Error(Code::checkpoint, "the checkpoint is of recipe " + recipe + ", this is " + around_.recipe);
  }
  const size_t replicas = found.host.at("replicas").size();
  if (replicas != static_cast<size_t>(stage_.replicas)) {
    throw Error(Code::checkpoint, "the checkpoint holds " + std::to_string(replicas) + " replicas, the recipe " +
                                      std::to_string(stage_.replicas));
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
  shared_.restore_host(host.at("shared"));
  for (auto& replica : replicas_) {
    const nlohmann::json& own = host.at("replicas").at(static_cast<size_t>(replica->index));
    replica->store.restore_host(own.at("store"));
    if (is_head(*replica)) replica->books.restore_host(own.at("books"));
  }
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
  if (leads()) open_metrics(whole_number(host.at("metrics_bytes")));
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
    if (is_of_others(name)) continue;
    const auto [store, own] = owner_of(name, "store/");
    if (!store) throw Error(Code::checkpoint, "this recipe has no place for tensor '" + name + "'");
    store->tensors()[own] = value.to(device_);
  }
  for (auto& [name, rows] : found.loaded_segments) {
    const auto [store, own] = owner_of(name, "");
    if (!store) throw Error(Code::checkpoint, "this recipe has no place for the memory '" + name + "'");
    store->all_segments()[own] = std::move(rows);
  }
}

std::pair<Store*, std::string> Trainer::owner_of(const std::string& name, const std::string& middle) {
  if (const auto own = behind("shared/", name)) return {&shared_, *own};
  for (auto& replica : replicas_) {
    if (const auto own = behind(replica_prefix(replica->index) + middle, name)) return {&replica->store, *own};
  }
  return {nullptr, ""};
}

/// Whether a tensor of a checkpoint is kept by other ranks: their replicas, their shards of an optimizer's state.
bool Trainer::is_of_others(const std::string& name) const {
  const std::optional<int> replica = replica_of(name);
  if (!replica || *replica >= layout_.replicas()) return false;
  const auto [first, last] = layout_.hosted(rank());
  if (*replica < first || *replica >= last) return true;
  return group_ && behind(replica_prefix(*replica) + "optimizer/", name);
}

void Trainer::open_metrics(int64_t keep_bytes) {
  if (around_.directory.empty()) return;
  const std::string path = around_.directory + "/metrics.jsonl";
  if (keep_bytes == 0) {
    metrics_ = std::make_unique<file::Writer>(path, file::Writer::Mode::create);
    events_ = std::make_unique<EventFile>(around_.directory, 0);
    return;
  }
  if (keep_bytes < 0 || !file::exists(path) || file::size(path) < keep_bytes) {
    throw Error(Code::checkpoint,
                "metrics.jsonl is shorter than the " + std::to_string(keep_bytes) + " bytes that the checkpoint counts",
                path, kHint);
  }
  metrics_ = std::make_unique<file::Writer>(path, file::Writer::Mode::append);
  metrics_->truncate(keep_bytes);
  events_ = std::make_unique<EventFile>(around_.directory, counters_.step() + 1);
}

/// The nets of the first replica as "net/parameter", those of replica r under "replica-r/".
Artifact Trainer::artifact_of(const std::map<int, std::map<int, Portion>>& parts) const {
  Artifact made;
  for (const auto& [r, by_rank] : parts) {
    const std::string prefix = r == parts.begin()->first ? std::string() : replica_prefix(r);
    const NamedTensors& own = by_rank.begin()->second.tensors;
    NamedTensors nets, kept;
    for (const auto& [net, module] : replicas_.front()->nets) {
      if (const auto frozen = frozen_.find(net); frozen != frozen_.end()) add_net(nets, net + "/", *frozen->second);
      for (const auto& [name, value] : own)
        if (const auto key = behind("net/" + net + "/", name)) nets.emplace_back(net + "/" + *key, value);
    }
    for (const auto& [name, value] : own)
      if (const auto key = behind("store/", name); key && key->starts_with(kVariants)) kept.emplace_back(*key, value);
    add_variants(nets, kept);
    for (const auto& [name, value] : nets)
      made.tensors.emplace_back(prefix + name, value.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true));
  }
  for (const auto& [name, value] : fit_.values) made.values[name] = value;
  return made;
}

}  // namespace etude
