// Evaluation and the lines of metrics.jsonl.

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "etude/base/log.h"
#include "etude/train/device.h"
#include "etude/train/loop.h"
#include "etude/train/variants.h"

namespace etude {

namespace {

/// Batches of an evaluation that are kept in memory; what is beyond is made anew each time.
constexpr int64_t kKeptBytes = int64_t{64} << 20;

int64_t bytes_of(const Batch& batch) {
  int64_t bytes = 0;
  for (const auto& [name, value] : batch.x) bytes += static_cast<int64_t>(value.nbytes());
  for (const auto& [name, part] : batch.part) bytes += bytes_of(part);
  return bytes;
}

Tensor weighted(const Term& term) {
  return (term.weight.defined() ? term.item * term.weight : term.item).to(torch::kFloat64);
}

/// Adds each sample's share of the loss to its row, and its weight: that of the first term with a value a sample.
void add_rows(const Terms& terms, const Batch& batch, std::map<int64_t, Row>& rows) {
  const int64_t B = batch.size();
  const Tensor ids = batch.id_B.contiguous();
  bool weighed = false;
  for (const Term& term : terms) {
    if (term.item.dim() == 0 || term.item.size(0) != B) continue;
    const Tensor ones = torch::ones_like(term.item, torch::kFloat64);
    const Tensor weight = term.weight.defined() ? term.weight.to(torch::kFloat64).expand_as(term.item) : ones;
    const Tensor sum_B = weighted(term).reshape({B, -1}).sum(1).cpu().contiguous();
    const Tensor weight_B = weight.reshape({B, -1}).sum(1).cpu().contiguous();
    for (int64_t b = 0; b < B; ++b) {
      const int64_t id = ids.data_ptr<int64_t>()[b];
      Row& row = rows.try_emplace(id, Row{id, 0, 0}).first->second;
      row.value += sum_B.data_ptr<double>()[b] * term.scale / term.norm;
      if (!weighed) row.weight += weight_B.data_ptr<double>()[b];
    }
    weighed = true;
  }
}

/// [rows, 3]: id as bits, value, weight, in double.
Tensor table_of(const std::map<int64_t, Row>& rows) {
  Tensor table = torch::empty({static_cast<int64_t>(rows.size()), 3}, torch::kFloat64);
  double* out = table.data_ptr<double>();
  for (const auto& [id, row] : rows) {
    *out++ = std::bit_cast<double>(id);
    *out++ = row.value;
    *out++ = row.weight;
  }
  return table;
}

void add_rows(const Tensor& table, std::map<int64_t, Row>& rows) {
  const double* in = table.const_data_ptr<double>();
  for (int64_t i = 0; i < table.size(0); ++i, in += 3) {
    const auto id = std::bit_cast<int64_t>(in[0]);
    Row& row = rows.try_emplace(id, Row{id, 0, 0}).first->second;
    row.value += in[1];
    row.weight += in[2];
  }
}

nlohmann::json json_of(const std::map<int64_t, std::vector<double>>& sums) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [batch, terms] : sums) list.push_back({batch, terms});
  return list;
}

/// In the order of the batches.
double total(const std::map<int64_t, std::vector<double>>& sums) {
  double all = 0;
  for (const auto& [batch, terms] : sums)
    for (const double term : terms) all += term;
  return all;
}

Tensor find_tensor(const NamedTensors& in, const std::string& name) {
  for (const auto& [key, value] : in)
    if (key == name) return value;
  return {};
}

/// "train/loss" of "train/loss/sum".
std::optional<std::string> before_suffix(const std::string& name, std::string_view suffix) {
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  return name.substr(0, name.size() - suffix.size());
}

/// Other values in the place of parameters, as long as this lives.
class InPlace {
 public:
  InPlace(const Parameters& own, const std::vector<Tensor>& other) : own_(own) {
    ETUDE_CHECK(own.size() == other.size(), "as many values as parameters");
    const torch::NoGradGuard no_grad;
    for (const Parameter& p : own) kept_.push_back(p.value.detach().clone());
    for (size_t i = 0; i < own.size(); ++i) own[i].value.copy_(other[i]);
  }
  ~InPlace() {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < own_.size(); ++i) own_[i].value.copy_(kept_[i]);
  }
  InPlace(const InPlace&) = delete;

 private:
  const Parameters own_;
  std::vector<Tensor> kept_;
};

/// Means over replicas, such that the mean of the values under their weights is the loss.
std::vector<Row> finished(const std::map<int64_t, Row>& rows, double replicas) {
  double all = 0;
  for (const auto& [id, row] : rows) all += row.weight;
  std::vector<Row> made;
  for (const auto& [id, row] : rows)
    made.push_back({id, row.weight > 0 ? row.value / replicas * (all / row.weight) : 0.0, row.weight / replicas});
  return made;
}

}  // namespace

static constexpr std::array kShown = {Unit::samples,  Unit::tokens, Unit::epochs,    Unit::flops,  Unit::bytes,
                                      Unit::messages, Unit::rounds, Unit::env_steps, Unit::seconds};

std::string MetricLine::json() const {
  nlohmann::ordered_json line;
  line["v"] = 1;
  line["stage"] = stage;
  line["kind"] = kind;
  line["step"] = counters.step();
  for (Unit unit : kShown) line[std::string(unit_name(unit))] = counters[unit];
  line["values"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) line["values"][name] = value;
  // NaN and infinity become null: JSON has neither.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

MetricLine MetricLine::from_json(const nlohmann::json& in) {
  const auto number = [](const nlohmann::json& value) {
    return value.is_number() ? value.get<double>() : std::nan("");
  };
  MetricLine line{in.value("stage", ""), in.value("kind", ""), {}, {}};
  line.counters[Unit::steps] = number(in.value("step", nlohmann::json()));
  for (Unit unit : kShown) line.counters[unit] = number(in.value(std::string(unit_name(unit)), nlohmann::json()));
  const nlohmann::json values = in.value("values", nlohmann::json::object());
  for (const auto& [name, value] : values.items()) line.values[name] = number(value);
  return line;
}

const Trainer::EvaluationData& Trainer::evaluation_data(const EvalSpec& spec) {
  const auto [it, fresh] = evaluation_data_.try_emplace(spec.name);
  EvaluationData& data = it->second;
  if (!fresh) return data;
  int64_t bytes = 0;
  for (int64_t i = 0; i < spec.batches; ++i) {
    Batch batch = spec.batch(i);
    for (const auto& [name, amount] : spec.objective->norms(batch)) data.norms[name] += amount;
    bytes += bytes_of(batch);
    if (bytes <= kKeptBytes) data.kept.push_back(std::move(batch));
  }
  return data;
}

Trainer::Sums Trainer::evaluate_replica(const EvalSpec& spec, Replica& replica, Rows* rows, int index, int of) {
  torch::NoGradGuard no_grad;
  const EvaluationData& data = evaluation_data(spec);
  Step step(*this, replica);
  step.norms_ = data.norms;
  Sums sums;
  for (int64_t i = index; i < spec.batches; i += of) {
    const Batch batch = i < static_cast<int64_t>(data.kept.size()) ? data.kept[static_cast<size_t>(i)] : spec.batch(i);
    Ctx ctx = step.context(batch, false);
    Terms of_layers;  // they help training and say nothing about how well the net does
    ctx.aux = &of_layers;
    const Terms terms = spec.objective->loss(step, on_device(batch, device_), ctx);
    for (const Term& term : terms) sums[i].push_back(weighted(term).sum().item<double>() * term.scale / term.norm);
    if (rows) add_rows(terms, batch, *rows);
  }
  return sums;
}

void Trainer::evaluate() {
  const double started = now_seconds();
  enter("evaluation");
  const bool gathers =
      std::any_of(contracts_.begin(), contracts_.end(), [](const Contract& contract) { return contract.gathers; });
  announce({.kind = Due::Kind::evaluation}, [&](Replica& replica) {
    Portion part;
    const int index = group_ ? group_->index() : 0, of = group_ ? group_->size() : 1;
    const Parameters own = Step(*this, replica).all_parameters();
    for (const EvalSpec& spec : stage_.evaluations) {
      Rows rows;
      part.host[spec.name] = json_of(evaluate_replica(spec, replica, spec.rows ? &rows : nullptr, index, of));
      if (spec.rows) part.tensors.emplace_back("rows/" + spec.name, table_of(rows));
    }
    for (const std::string& variant : variants()) {
      const InPlace in_place(own, variant_values(replica.store, variant, own));
      for (const EvalSpec& spec : stage_.evaluations)
        part.host[variant + "/" + spec.name] = json_of(evaluate_replica(spec, replica, nullptr, index, of));
    }
    if (gathers && is_head(replica))
      for (const Parameter& p : own) part.tensors.emplace_back("parameter/" + p.name, p.value.detach());
    return part;
  });
  evaluated_at_ = counters_.step();
  fit_.cost.evaluate_seconds += now_seconds() - started;
}

/// The metrics of an evaluation, of which each rank has told its sums under this name.
std::map<std::string, double> Trainer::measured(const Due& due, const std::string& name, const EvalSpec& spec) const {
  std::map<std::string, double> values;
  for (const auto& [replica, by_rank] : due.parts) {
    Sums sums;
    for (const auto& [from, part] : by_rank)
      for (const nlohmann::json& batch : part.host.at(name))
        sums[batch.at(0).get<int64_t>()] = batch.at(1).get<std::vector<double>>();
    values["loss"] += total(sums) / static_cast<double>(due.parts.size());
  }
  // Of the mean over replicas: perplexity is exp(mean loss), not the mean of exp(loss).
  spec.objective->measure(values);
  return values;
}

void Trainer::finish_evaluation(const Due& due) {
  Evaluation evaluation(*this);
  std::vector<std::string> prefixes = {""};
  for (const std::string& variant : variants()) prefixes.push_back(variant + "/");
  for (const EvalSpec& spec : stage_.evaluations) {
    for (const std::string& prefix : prefixes)
      for (const auto& [metric, value] : measured(due, prefix + spec.name, spec))
        evaluation.log(prefix + spec.name + "/" + metric, value);
    if (!spec.rows) continue;
    Rows rows;
    for (const auto& [replica, by_rank] : due.parts)
      for (const auto& [from, part] : by_rank) add_rows(find_tensor(part.tensors, "rows/" + spec.name), rows);
    fit_.rows[spec.name] = finished(rows, static_cast<double>(due.parts.size()));
  }
  const std::vector<Parameter> names = Step(*this, *replicas_.front()).all_parameters();
  for (const auto& [replica, by_rank] : due.parts) {
    std::vector<Parameter>& own = evaluation.parameters_.emplace_back();
    const NamedTensors& values = by_rank.begin()->second.tensors;
    for (const Parameter& p : names)
      if (Tensor value = find_tensor(values, "parameter/" + p.name); value.defined())
        own.push_back({p.name, value, p.tags});
  }
  for (const auto& technique : stage_.with) technique->evaluate(evaluation);
  write_line("eval", counters_of_all(due), evaluation.values);
}

void Trainer::write_training_line() {
  Due due{.kind = Due::Kind::training};
  const Step step(*this, *replicas_.front());
  for (auto& [name, learner] : replicas_.front()->learners)
    due.values["lr/" + name] = learner.optimizer->learning_rate(step.position());
  announce(std::move(due), [&](Replica& replica) {
    Portion part;
    part.host["books"] = replica.books.host();
    replica.books = Store();
    return part;
  });
}

void Trainer::finish_training(const Due& due) {
  std::map<std::string, double> sums, counts;
  for (const auto& [replica, by_rank] : due.parts) {
    Store books = merged_books(by_rank);
    for (const std::string& name : books.number_names())
      if (const auto metric = before_suffix(name, "/sum")) {
        sums[*metric] += books.number(name);
        counts[*metric] += books.number(*metric + "/count");
      }
  }
  std::map<std::string, double> values = due.values;
  for (const auto& [metric, sum] : sums) values[metric] = sum / counts[metric];
  write_line("train", counters_of_all(due), std::move(values));
}

/// The books of one replica: those of its head, with every rank's share in what is a sum over its rows.
Store Trainer::merged_books(const std::map<int, Portion>& by_rank) const {
  Store books;
  books.restore_host(by_rank.begin()->second.host.at("books"));
  for (const auto& [from, part] : by_rank) {
    Store of_rank;
    of_rank.restore_host(part.host.at("books"));
    for (const std::string& name : of_rank.number_names())
      if (const auto metric = before_suffix(name, "/share")) books.number(*metric + "/sum") += of_rank.number(name);
  }
  Store merged;
  for (const std::string& name : books.number_names())
    if (!before_suffix(name, "/share")) merged.number(name) = books.number(name);
  return merged;
}

void Trainer::write_line(const std::string& kind, const Counters& counters, std::map<std::string, double> values) {
  MetricLine line{stage_.name, kind, counters, std::move(values)};
  for (const auto& [name, value] : line.values) fit_.values[name] = value;
  if (events_) events_->write(line.counters.step(), line.values);
  if (metrics_) metrics_->write(line.json() + "\n");
  if (around_.metric) around_.metric(line);
  if (kind == "eval") fit_.lines.push_back(std::move(line));
}

const std::vector<Parameter>& Evaluation::parameters(int replica) const {
  const std::vector<Parameter>& found = parameters_.at(static_cast<size_t>(replica));
  ETUDE_CHECK(!found.empty(), "evaluate() looks at parameters: say so in Contract::gathers");
  return found;
}
void Evaluation::log(const std::string& name, double value) { values[name] = value; }

std::map<std::string, double> Evaluation::measure_with(const std::vector<Tensor>& other) const {
  Replica& here = *trainer_.replicas_.front();
  const InPlace in_place(Step(trainer_, here).all_parameters(), other);
  std::map<std::string, double> all;
  for (const EvalSpec& spec : trainer_.stage_.evaluations) {
    std::map<std::string, double> found = {{"loss", total(trainer_.evaluate_replica(spec, here, nullptr, 0, 1))}};
    spec.objective->measure(found);
    for (const auto& [name, value] : found) all[spec.name + "/" + name] = value;
  }
  return all;
}

}  // namespace etude
