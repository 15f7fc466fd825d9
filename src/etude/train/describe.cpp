// Checks of a stage before step one, and the plan of it in words.

#include <algorithm>
#include <sstream>

#include "etude/train/trainer.h"
#include "etude/train/weights.h"

namespace etude {
namespace {

std::set<std::string> traits(const TrainStage& stage) {
  std::set<std::string> found;
  if (stage.replicas > 1) found.insert("replicas");
  if (stage.accumulate > 1) found.insert("accumulate");
  for (const Pass& pass : stage.passes) {
    switch (pass.objective->needs().coupling) {
      case Coupling::item:
        found.insert("item_coupled");
        break;
      case Coupling::micro:
        found.insert("micro_coupled");
        break;
      case Coupling::batch:
        found.insert("batch_coupled");
        break;
    }
  }
  for (const auto& [name, source] : stage.sources) {
    if (source->kind() == Source::Kind::stateful) found.insert("stateful_source");
    if (source->kind() == Source::Kind::on_policy) found.insert("on_policy");
  }
  return found;
}

void unique(const std::vector<std::string>& names, const std::string& what, const std::string& place) {
  std::set<std::string> seen;
  for (const std::string& name : names)
    if (!seen.insert(name).second)
      throw Error(Code::config, "two " + what + " are called '" + name + "'", place, "give each a name of its own");
}

void need(const std::string& name, const std::vector<std::string>& known, const std::string& what,
          const std::string& place) {
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw Error(Code::config, "there is no " + what + " '" + name + "'", place,
                did_you_mean(name, known, "declare it"));
}

/// Who acts where in a step: the slots of gradients and parameters in their fixed order (see hooks.h), with those that
/// nobody uses left out.
std::string order(const TrainStage& stage) {
  std::string text;
  const auto add = [&](const std::string& where, const std::string& who) {
    text += (text.empty() ? "" : " -> ") + where + (who.empty() ? "" : " (" + who + ")");
  };
  const auto acting = [&](Event event) {
    std::string who;
    for (const auto& technique : stage.with) {
      const Contract contract = technique->contract();
      if (contract.acts.count(event)) who += (who.empty() ? "" : ", ") + contract.name;
    }
    if (!who.empty()) add(std::string(event_name(event)), who);
  };
  acting(Event::begin);
  acting(Event::batch);
  acting(Event::follow_before);
  add("backward", "");
  for (const Event event : {Event::unscale, Event::privatise, Event::sync, Event::project, Event::clip}) acting(event);
  std::string clipped;
  for (const LearnerSpec& learner : stage.learners)
    if (learner.clip.highest() > 0) clipped += (clipped.empty() ? "" : ", ") + learner.name;
  if (!clipped.empty()) add("clip", clipped);
  acting(Event::guard);
  add("update", "");
  for (const Event event : {Event::project_parameters, Event::follow, Event::quantise, Event::step_end}) acting(event);
  std::string meeting;
  for (const auto& technique : stage.with) {
    const Contract contract = technique->contract();
    if (contract.requires_.count("replicas")) meeting += (meeting.empty() ? "" : ", ") + contract.name;
  }
  if (!meeting.empty()) add("exchange", meeting);
  acting(Event::end);
  return text;
}

void check_numbers(const TrainStage& stage, const std::string& place) {
  if (stage.replicas < 1)
    throw Error(Code::config, "replicas = " + std::to_string(stage.replicas), place, "at least 1");
  if (stage.accumulate < 1)
    throw Error(Code::config, "accumulate = " + std::to_string(stage.accumulate), place, "at least 1");
  if (stage.passes.empty()) throw Error(Code::config, "a training stage needs a pass", place, "add a [[pass]]");
  if (stage.stop.unit == Unit::percent)
    throw Error(Code::config, "stop = \"" + stage.stop.text() + "\" is relative to itself", place,
                "give a count, such as \"400 steps\"");
}

void check_names(const TrainStage& stage, const std::string& place) {
  std::vector<std::string> nets, learners, sources, passes, evaluations;
  for (const auto& net : stage.nets) nets.push_back(net.name);
  for (const auto& learner : stage.learners) learners.push_back(learner.name);
  for (const auto& [name, source] : stage.sources) sources.push_back(name);
  for (const auto& pass : stage.passes) passes.push_back(pass.name);
  for (const auto& evaluation : stage.evaluations) evaluations.push_back(evaluation.name);
  unique(nets, "nets", place);
  unique(learners, "learners", place);
  unique(sources, "sources", place);
  unique(passes, "passes", place);
  unique(evaluations, "evaluations", place);
  for (const EvalSpec& evaluation : stage.evaluations)
    if (evaluation.batches < 1)
      throw Error(Code::config, "the evaluation has no batches", place + ", evaluation " + evaluation.name,
                  "give it data, or leave it out");
  for (const NetSpec& net : stage.nets)
    if (net.name.empty() || net.name.find_first_of("./@:") != std::string::npos)
      throw Error(Code::config, "a net can't be called '" + net.name + "'", place,
                  "'.', ':', '/' and '@' stand between a net, its parameters, their tags and its averages");
  for (const LearnerSpec& learner : stage.learners)
    for (const std::string& selector : learner.params) {
      const std::string net = selector.substr(0, selector.find_first_of(".:"));
      need(net, nets, "net", place + ", learner " + learner.name);
      for (const NetSpec& spec : stage.nets)
        if (spec.name == net && spec.role != "trained")
          throw Error(Code::config,
                      "learner '" + learner.name + "' would move net '" + net + "', whose role is '" + spec.role + "'",
                      place, "leave it out of params, or give it the role 'trained'");
    }
  for (const Pass& pass : stage.passes) {
    const std::string where = place + ", pass " + pass.name;
    need(pass.source, sources, "source", where);
    unique(pass.learners, "learners of a pass", where);
    for (const auto& learner : pass.learners) need(learner, learners, "learner", where);
    if (pass.learners.empty()) throw Error(Code::config, "the pass moves nobody", where, "name its learners");
  }
}

void check_coupling(const TrainStage& stage, const std::string& place) {
  if (stage.accumulate == 1) return;
  for (const Pass& pass : stage.passes)
    if (pass.objective->needs().coupling == Coupling::batch)
      throw Error(Code::config,
                  "accumulate = " + std::to_string(stage.accumulate) + " would cut the batch that the loss of pass '" +
                      pass.name + "' couples",
                  place, "set accumulate = 1, or choose an objective whose items are independent");
}

using Owners = std::map<Slot, std::string>;

/// Who owns which slot. Errors: two owners of one; a trait that is missing or refused.
Owners check_contracts(const TrainStage& stage, const std::string& place) {
  const std::set<std::string> has = traits(stage);
  Owners owners;
  std::map<std::string, std::string> keepers;
  for (const auto& technique : stage.with) {
    const Contract contract = technique->contract();
    for (const std::string& variant : contract.variants)
      if (auto [it, fresh] = keepers.emplace(variant, contract.name); !fresh)
        throw Error(Code::config,
                    "'" + it->second + "' and '" + contract.name + "' both keep other weights called '" + variant + "'",
                    place, "use one of them");
    for (Slot slot : contract.owns)
      if (auto [it, fresh] = owners.emplace(slot, contract.name); !fresh)
        throw Error(
            Code::config,
            "'" + it->second + "' and '" + contract.name + "' both own the slot '" + std::string(slot_name(slot)) + "'",
            place, "use one of them");
    for (const auto& trait : contract.requires_)
      if (!has.count(trait))
        throw Error(Code::config, "'" + contract.name + "' needs a stage that is '" + trait + "'", place, contract.why);
    for (const auto& trait : contract.refuses)
      if (has.count(trait))
        throw Error(Code::config, "'" + contract.name + "' refuses a stage that is '" + trait + "'", place,
                    contract.why);
  }
  return owners;
}

}  // namespace

std::string describe(const TrainStage& stage) {
  const std::string place = "stage " + stage.name;
  check_numbers(stage, place);
  check_names(stage, place);
  check_coupling(stage, place);
  const Owners owners = check_contracts(stage, place);

  std::ostringstream out;
  out << "stage " << stage.name << ": " << stage.replicas << (stage.replicas == 1 ? " replica, " : " replicas, ")
      << "until " << stage.stop.text() << '\n';
  for (const auto& [name, source] : stage.sources) {
    const std::optional<DataCard> card = source->card();
    if (card)
      out << "  source " << name << ": " << card->name << ", " << card->records << " records, " << card->bytes
          << " bytes, " << card->licence << ", sha256 " << card->sha256.substr(0, 8) << '\n';
  }
  for (const Pass& pass : stage.passes) {
    out << "  pass " << pass.name << " on " << pass.source << " moves";
    for (const auto& learner : pass.learners) out << ' ' << learner;
    if (pass.every > 1) out << ", every " << pass.every << " steps";
    if (pass.times > 1) out << ", " << pass.times << " times";
    out << '\n';
  }
  for (const auto& technique : stage.with)
    if (technique->contract().owns.count(Slot::precision) && technique->format() == Format::bfloat16)
      out << "  precision bf16: products of bfloat16; weights, gradients, sums, norms and losses in float32\n";
  if (stage.recompute) out << "  recompute: blocks keep their input only, and compute their inside once more\n";
  out << "  slots:";
  std::string frame;
  for (Slot slot : {Slot::plan, Slot::executor, Slot::sync, Slot::optimizer, Slot::precision})
    if (owners.count(slot))
      out << ' ' << slot_name(slot) << " = " << owners.at(slot) << ',';
    else
      frame += (frame.empty() ? " " : ", ") + std::string(slot_name(slot));
  out << (frame.empty() ? " none are the frame's" : frame + " = the frame") << "\n  order: " << order(stage) << '\n';
  return out.str();
}

std::vector<ParameterShape> parameter_shapes(const TrainStage& stage) {
  std::vector<ParameterShape> shapes;
  for (const NetSpec& spec : stage.nets) {
    const std::shared_ptr<Net> net = spec.make();
    for (const auto& p : net->named_parameters()) {
      ParameterShape shape{spec.name + "." + p.key(), p.value().sizes().vec(), ""};
      for (const LearnerSpec& learner : stage.learners)
        if (std::any_of(learner.params.begin(), learner.params.end(),
                        [&](const auto& s) { return selects(s, shape.name, net->tags(p.key())); }))
          shape.learner = learner.name;
      shapes.push_back(std::move(shape));
    }
  }
  return shapes;
}

}  // namespace etude
