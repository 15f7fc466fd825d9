// Evaluation and the lines of metrics.jsonl.

#include <nlohmann/json.hpp>

#include "etude/base/log.h"
#include "etude/train/loop.h"

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
    const Tensor sum_B = weighted(term).reshape({B, -1}).sum(1).contiguous();
    const Tensor weight_B = weight.reshape({B, -1}).sum(1).contiguous();
    for (int64_t b = 0; b < B; ++b) {
      const int64_t id = ids.data_ptr<int64_t>()[b];
      Row& row = rows.try_emplace(id, Row{id, 0, 0}).first->second;
      row.value += sum_B.data_ptr<double>()[b] * term.scale / term.norm;
      if (!weighed) row.weight += weight_B.data_ptr<double>()[b];
    }
    weighed = true;
  }
}

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

std::string MetricLine::json() const {
  nlohmann::ordered_json line;
  line["v"] = 1;
  line["stage"] = stage;
  line["kind"] = kind;
  line["step"] = counters.step();
  for (Unit unit : {Unit::samples, Unit::tokens, Unit::epochs, Unit::flops, Unit::bytes, Unit::messages, Unit::rounds,
                    Unit::env_steps, Unit::seconds})
    line[std::string(unit_name(unit))] = counters[unit];
  line["values"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) line["values"][name] = value;
  // NaN and infinity become null: JSON has neither.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
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

double Trainer::evaluate_replica(const EvalSpec& spec, Replica& replica, Rows* rows) {
  torch::NoGradGuard no_grad;
  const EvaluationData& data = evaluation_data(spec);
  Step step(*this, replica);
  step.norms_ = data.norms;
  double total = 0;
  for (int64_t i = 0; i < spec.batches; ++i) {
    const Batch batch = i < static_cast<int64_t>(data.kept.size()) ? data.kept[static_cast<size_t>(i)] : spec.batch(i);
    Ctx ctx = step.context(batch, false);
    Terms of_layers;  // they help training and say nothing about how well the net does
    ctx.aux = &of_layers;
    const Terms terms = spec.objective->loss(step, batch, ctx);
    for (const Term& term : terms) total += weighted(term).sum().item<double>() * term.scale / term.norm;
    if (rows) add_rows(terms, batch, *rows);
  }
  return total;
}

void Trainer::evaluate() {
  const double started = now_seconds();
  Evaluation evaluation(*this);
  for (const EvalSpec& spec : stage_.evaluations) {
    const auto replicas = static_cast<double>(replicas_.size());
    std::map<std::string, double> values;
    Rows rows;
    for (auto& replica : replicas_)
      values["loss"] += evaluate_replica(spec, *replica, spec.rows ? &rows : nullptr) / replicas;
    // Of the mean over replicas: perplexity is exp(mean loss), not the mean of exp(loss).
    spec.objective->measure(values);
    for (const auto& [name, value] : values) evaluation.log(spec.name + "/" + name, value);
    if (spec.rows) fit_.rows[spec.name] = finished(rows, replicas);
  }
  for (const auto& technique : stage_.with) technique->evaluate(evaluation);
  evaluated_at_ = counters_.step();
  fit_.cost.evaluate_seconds += now_seconds() - started;
  write_line("eval", evaluation.values);
}

void Trainer::write_training_line() {
  std::map<std::string, double> values;
  for (const std::string& name : books_.number_names()) {
    const std::string suffix = "/sum";
    if (name.size() <= suffix.size() || name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) continue;
    const std::string metric = name.substr(0, name.size() - suffix.size());
    values[metric] = books_.number(name) / books_.number(metric + "/count");
  }
  Step step(*this, *replicas_.front());
  for (auto& [name, learner] : replicas_.front()->learners)
    values["lr/" + name] = learner.optimizer->learning_rate(step.position());
  books_ = Store();
  write_line("train", std::move(values));
}

void Trainer::write_line(const std::string& kind, std::map<std::string, double> values) {
  MetricLine line{stage_.name, kind, counters_, std::move(values)};
  for (const auto& [name, value] : line.values) fit_.values[name] = value;
  if (metrics_) metrics_->write(line.json() + "\n");
  if (around_.metric) around_.metric(line);
  if (kind == "eval") fit_.lines.push_back(std::move(line));
}

int Evaluation::replicas() const { return static_cast<int>(trainer_.replicas_.size()); }
Step Evaluation::step(int replica) const {
  return Step(trainer_, *trainer_.replicas_.at(static_cast<size_t>(replica)));
}
std::vector<Parameter> Evaluation::parameters(int replica) const { return step(replica).all_parameters(); }
void Evaluation::log(const std::string& name, double value) { values[name] = value; }

std::map<std::string, double> Evaluation::measure_with(const std::vector<Tensor>& other) const {
  torch::NoGradGuard no_grad;
  const std::vector<Parameter> own = parameters(0);
  ETUDE_CHECK(own.size() == other.size(), "as many values as parameters");
  std::vector<Tensor> kept;
  for (size_t i = 0; i < own.size(); ++i) {
    kept.push_back(own[i].value.clone());
    own[i].value.copy_(other[i]);
  }
  std::map<std::string, double> all;
  for (const EvalSpec& spec : trainer_.stage_.evaluations) {
    std::map<std::string, double> found = {
        {"loss", trainer_.evaluate_replica(spec, *trainer_.replicas_.front(), nullptr)}};
    spec.objective->measure(found);
    for (const auto& [name, value] : found) all[spec.name + "/" + name] = value;
  }
  for (size_t i = 0; i < own.size(); ++i) own[i].value.copy_(kept[i]);
  return all;
}

}  // namespace etude
