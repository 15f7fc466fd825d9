#include "etude/train/graph.h"

#include <algorithm>

#include "etude/base/file.h"

namespace etude {
namespace {

/// Where the milestone of "stage@50%" begins; an '@' within "probe[base@50%]" belongs to the name.
size_t at_of(const std::string& ref) {
  const size_t at = ref.rfind('@');
  return at == std::string::npos || ref.find(']', at) != std::string::npos ? std::string::npos : at;
}
std::string name_of(const std::string& ref) { return ref.substr(0, at_of(ref)); }
std::string place_of(const std::string& ref) {
  const size_t at = at_of(ref);
  return at == std::string::npos ? std::string() : Count::parse(ref.substr(at + 1)).text();
}

}  // namespace

const Artifact& Inputs::at(const std::string& ref) const {
  auto it = all_.find(ref);
  ETUDE_CHECK(it != all_.end(), "a stage uses '" + ref + "' without listing it under `in`");
  return it->second;
}

Graph::Graph(ArtifactStore& store, uint64_t seed, std::string directory)
    : store_(store), seed_(seed), directory_(std::move(directory)) {}

void Graph::add(GraphStage added) {
  std::vector<std::string> known;
  for (const GraphStage& s : stages_) known.push_back(s.name);
  if (std::count(known.begin(), known.end(), added.name))
    throw Error(Code::config, "two stages are called '" + added.name + "'", "stage graph",
                "give each a name of its own");
  for (const std::string& ref : added.in)
    if (!std::count(known.begin(), known.end(), name_of(ref)))
      throw Error(Code::config, "'" + ref + "' is no earlier stage", "stage " + added.name,
                  did_you_mean(name_of(ref), known, "add it first"));
  stages_.push_back(std::move(added));
}

void Graph::repeat(const std::string& name, int times, const std::function<GraphStage(int, const std::string&)>& make) {
  std::string previous;
  for (int turn = 0; turn < times; ++turn) {
    GraphStage made = make(turn, previous);
    made.name = name + "#" + std::to_string(turn);
    made.spec.set("turn", Config(turn));
    if (turn > 0 && !std::count(made.in.begin(), made.in.end(), previous)) made.in.push_back(previous);
    previous = made.name;
    add(std::move(made));
  }
}

void Graph::foreach (const std::string& name, const std::vector<std::string>& values,
                     const std::function<GraphStage(const std::string&)>& make) {
  for (const std::string& value : values) {
    GraphStage made = make(value);
    made.name = name + "[" + value + "]";
    made.spec.set("value", Config(value));
    add(std::move(made));
  }
}

const GraphStage& Graph::stage(const std::string& ref) const {
  for (const GraphStage& s : stages_)
    if (s.name == name_of(ref)) return s;
  std::vector<std::string> known;
  for (const GraphStage& s : stages_) known.push_back(s.name);
  throw Error(Code::config, "there is no stage '" + name_of(ref) + "'", "stage graph",
              did_you_mean(name_of(ref), known));
}

std::string Graph::key(const std::string& ref) const {
  const GraphStage& s = stage(ref);
  Config content = Config::table();
  content.set("kind", Config(static_cast<int>(s.kind)));
  content.set("spec", s.spec);
  if (s.seeded) content.set("seed", Config(static_cast<int64_t>(seed_)));
  Config::List inputs;
  for (const std::string& in : s.in) inputs.emplace_back(key(in));
  content.set("in", Config(std::move(inputs)));
  const std::string place = place_of(ref);
  if (!place.empty()) content.set("place", Config(place));
  return file::sha256(to_json(content));
}

Artifact Graph::get(const std::string& ref) {
  const std::string wanted = key(ref);
  if (store_.has(wanted)) return store_.get(wanted);
  const GraphStage& s = stage(ref);
  const std::string own = key(s.name);
  const auto making = store_.make(own);
  if (store_.has(wanted)) return store_.get(wanted);
  // Made once, but this milestone of it is gone: what goes on from the end would never come by it again.
  if (store_.has(own) && !directory_.empty()) file::remove_all(directory_of(s));
  std::map<std::string, Artifact> found;
  for (const std::string& in : s.in) found[in] = get(in);
  const Inputs inputs(std::move(found));
  ran_.push_back(s.name);
  store_.put(own, s.kind == GraphStage::Kind::train ? train(s, inputs) : s.make(inputs));
  if (store_.has(wanted)) return store_.get(wanted);
  throw Error(Code::config, "stage '" + s.name + "' keeps no milestone '" + place_of(ref) + "'", "stage graph",
              "list it under the milestones of its checkpoints");
}

std::string Graph::directory_of(const GraphStage& s) const {
  return directory_ + "/" + s.name + "-" + key(s.name).substr(0, 12);
}

Artifact Graph::train(const GraphStage& s, const Inputs& inputs) {
  const TrainStage stage = s.train(inputs);
  Surroundings around;
  if (!directory_.empty()) around.directory = directory_of(s);
  around.recipe = key(s.name);
  around.artifact = [&](const std::string& ref) { return inputs.at(ref); };
  around.milestone = [&](const std::string& place, const Artifact& artifact) {
    store_.put(key(s.name + "@" + place), artifact);
  };
  around.interrupted = interrupted;
  around.progress = progress;
  Fit result = fit(stage, around);
  if (!result.finished) {
    throw Error(Code::interrupted,
                "stage " + s.name + " was interrupted at step " + std::to_string(result.counters.step()),
                around.directory, "the same command goes on from there");
  }
  Artifact artifact = result.artifact;
  fits_[s.name] = std::move(result);
  return artifact;
}

const Fit* Graph::fit_of(const std::string& name) const {
  auto it = fits_.find(name);
  return it == fits_.end() ? nullptr : &it->second;
}

}  // namespace etude
