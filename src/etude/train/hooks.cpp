#include "etude/train/hooks.h"

#include "etude/train/step.h"

namespace etude {

std::string_view event_name(Event event) {
  switch (event) {
    case Event::begin:
      return "begin";
    case Event::batch:
      return "batch";
    case Event::follow_before:
      return "follow_before";
    case Event::unscale:
      return "unscale";
    case Event::privatise:
      return "privatise";
    case Event::sync:
      return "sync";
    case Event::project:
      return "project";
    case Event::clip:
      return "clip";
    case Event::guard:
      return "guard";
    case Event::project_parameters:
      return "project_parameters";
    case Event::follow:
      return "follow";
    case Event::quantise:
      return "quantise";
    case Event::step_end:
      return "step_end";
    case Event::end:
      return "end";
  }
  return "?";
}

std::string_view slot_name(Slot slot) {
  switch (slot) {
    case Slot::plan:
      return "plan";
    case Slot::executor:
      return "executor";
    case Slot::sync:
      return "sync";
    case Slot::optimizer:
      return "optimizer";
    case Slot::precision:
      return "precision";
  }
  return "?";
}

std::set<Event> Objective::acts() const {
  std::set<Event> all;
  for (int event = 0; event <= static_cast<int>(Event::end); ++event) all.insert(static_cast<Event>(event));
  return all;
}

double Objective::flops(Step& step, const Batch& batch) const {
  std::set<std::string> trained;
  for (const Learner* learner : step.learners()) trained.insert(learner->nets.begin(), learner->nets.end());
  double all = 0;
  for (const std::string& net : trained) all += 3 * step.net(net).flops(batch);
  return all;
}

void Technique::execute_all(std::vector<Step>& steps) {
  for (Step& step : steps) execute(step, step.batch);
}

std::vector<Parameter> Technique::kept(const std::vector<Parameter>& all, const RankGroup&) { return all; }

Norms Objective::norms(const Batch& batch) const { return {{"items", static_cast<double>(batch.size())}}; }

}  // namespace etude
