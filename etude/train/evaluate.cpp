// Evaluation and the lines of metrics.jsonl.

#include <nlohmann/json.hpp>

#include "etude/base/log.h"
#include "etude/train/loop.h"

namespace etude {

std::string MetricLine::json() const {
  nlohmann::ordered_json line;
  line["v"] = 1;
  line["stage"] = stage;
  line["kind"] = kind;
  line["step"] = counters.step();
  for (Unit unit : {Unit::samples, Unit::tokens, Unit::flops, Unit::bytes, Unit::messages, Unit::rounds,
                    Unit::env_steps, Unit::seconds})
    line[std::string(unit_name(unit))] = counters[unit];
  line["values"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) line["values"][name] = value;
  return line.dump();
}

std::map<std::string, double> Trainer::evaluate_nets(const EvalSpec& spec, Replica& replica,
                                                     std::map<int64_t, Row>* rows) {
  torch::NoGradGuard no_grad;
  std::vector<Batch>& batches = evaluation_batches_[spec.name];
  Norms& norms = evaluation_norms_[spec.name];
  if (batches.empty()) {
    for (int64_t i = 0; i < spec.batches; ++i) {
      batches.push_back(spec.batch(i));
      for (const auto& [name, amount] : spec.objective->norms(batches.back())) norms[name] += amount;
    }
  }
  Step step(*this, replica);
  step.norms_ = norms;
  double total = 0;
  for (const Batch& batch : batches) {
    Ctx ctx = step.context(batch, false);
    Terms aux;
    ctx.aux = &aux;
    for (const Term& term : spec.objective->loss(step, batch, ctx)) {
      const Tensor item = (term.weight.defined() ? term.item * term.weight : term.item).to(torch::kFloat64);
      total += item.sum().item<double>() * term.scale / term.norm;
      if (!rows || item.dim() == 0 || item.size(0) != batch.size()) continue;
      const Tensor sums = item.reshape({batch.size(), -1}).sum(1).contiguous();
      const Tensor weights =
          term.weight.defined()
              ? term.weight.to(torch::kFloat64).expand_as(item).reshape({batch.size(), -1}).sum(1).contiguous()
              : torch::full({batch.size()}, static_cast<double>(item.numel()) / static_cast<double>(batch.size()),
                            torch::kFloat64);
      const Tensor ids = batch.id_B.contiguous();
      for (int64_t b = 0; b < batch.size(); ++b) {
        const int64_t id = ids.data_ptr<int64_t>()[b];
        Row& row = rows->try_emplace(id, Row{id, 0, 0}).first->second;
        row.value += sums.data_ptr<double>()[b] * term.scale;
        row.weight += weights.data_ptr<double>()[b];
      }
    }
  }
  return {{"loss", total}};
}

void Trainer::evaluate() {
  const double started = now_seconds();
  Evaluation evaluation(*this);
  for (const EvalSpec& spec : stage_.evaluations) {
    std::map<std::string, double> mean;
    std::map<int64_t, Row> rows;
    for (auto& replica : replicas_)
      for (const auto& [name, value] : evaluate_nets(spec, *replica, spec.rows ? &rows : nullptr))
        mean[name] += value / static_cast<double>(replicas_.size());
    spec.objective->measure(mean);
    for (const auto& [name, value] : mean) evaluation.log(spec.name + "/" + name, value);
    if (spec.rows) {
      auto& kept = fit_.rows[spec.name];
      kept.clear();
      for (auto& [id, row] : rows)
        kept.push_back(
            {id, row.weight > 0 ? row.value / row.weight : 0.0, row.weight / static_cast<double>(replicas_.size())});
    }
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
    auto found = trainer_.evaluate_nets(spec, *trainer_.replicas_.front(), nullptr);
    spec.objective->measure(found);
    for (const auto& [name, value] : found) all[spec.name + "/" + name] = value;
  }
  for (size_t i = 0; i < own.size(); ++i) own[i].value.copy_(kept[i]);
  return all;
}

}  // namespace etude
