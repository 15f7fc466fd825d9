#include "etude/train/weights.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <map>
#include <set>

#include "etude/base/error.h"

namespace etude {
namespace {

using ByName = std::map<std::string, Tensor>;

/// The first selector that covers a name, or nullptr; selectors that did are noted.
const std::string* match(const std::vector<std::string>& selectors, const std::string& name,
                         std::set<std::string>& met) {
  const auto it = std::find_if(selectors.begin(), selectors.end(), [&](const auto& s) { return covers(s, name); });
  if (it == selectors.end()) return nullptr;
  met.insert(*it);
  return &*it;
}

void refuse_unmet(const std::vector<std::string>& selectors, const std::set<std::string>& met, const std::string& key,
                  const std::string& place) {
  for (const std::string& selector : selectors)
    if (!met.count(selector))
      throw Error(Code::config, key + " '" + selector + "' meets no tensor", place, "remove it, or mend the name");
}

/// The tensors that the artifact offers to the net, under the net's names.
ByName offered(const InitSpec& init, const Artifact& artifact, const std::string& place, WeightMove& report) {
  std::set<std::string> nets, dropping, renaming;
  std::vector<std::string> from;
  for (const auto& [before, after] : init.rename) from.push_back(before);
  ByName all;
  for (const auto& [name, value] : artifact.tensors) {
    const size_t slash = name.find('/');
    nets.insert(name.substr(0, slash));
    if (slash == std::string::npos || name.substr(0, slash) != init.net) continue;
    std::string key = name.substr(slash + 1);
    if (match(init.drop, key, dropping)) {
      report.dropped.push_back(key);
      continue;
    }
    if (const std::string* prefix = match(from, key, renaming)) {
      const auto rule =
          std::find_if(init.rename.begin(), init.rename.end(), [&](const auto& r) { return r.first == *prefix; });
      key = rule->second + key.substr(prefix->size());
    }
    if (!all.emplace(key, value).second)
      throw Error(Code::config, "two tensors of the artifact would become '" + key + "'", place, "drop one of them");
  }
  if (!nets.count(init.net))
    throw Error(Code::config, "the artifact has no net '" + init.net + "'", place,
                did_you_mean(init.net, {nets.begin(), nets.end()}));
  refuse_unmet(init.drop, dropping, "drop", place);
  refuse_unmet(from, renaming, "rename", place);
  return all;
}

std::string counted(const std::vector<std::string>& names, const std::string& what) {
  if (names.empty()) return "none " + what;
  return std::to_string(names.size()) + " " + what + " (" + names.front() + (names.size() > 1 ? ", ..." : "") + ")";
}

}  // namespace

bool covers(const std::string& selector, const std::string& name) {
  if (!name.starts_with(selector)) return false;
  return selector.empty() || selector.back() == '.' || name.size() == selector.size() || name[selector.size()] == '.';
}

bool selects(const std::string& selector, const std::string& name, const std::set<std::string>& tags) {
  const size_t colon = selector.find(':');
  const bool tagged = colon == std::string::npos || tags.contains(selector.substr(colon + 1));
  return tagged && !tags.contains("frozen") && covers(selector.substr(0, colon), name);
}

std::string WeightMove::text() const {
  return std::to_string(moved.size()) + " tensors moved, " + counted(fresh, "fresh") + ", " +
         counted(dropped, "dropped");
}

WeightMove move_weights(const InitSpec& init, const Artifact& artifact, Net& net, const std::string& place) {
  const torch::NoGradGuard no_grad;
  WeightMove report;
  ByName left = offered(init, artifact, place, report);
  std::set<std::string> met;
  const auto take = [&](const std::string& name, Tensor value) {
    if (match(init.fresh, name, met)) {
      report.fresh.push_back(name);
      return;
    }
    const auto it = left.find(name);
    if (it == left.end())
      throw Error(Code::config, "'" + name + "' is not in the artifact", place, "list it under fresh, or rename");
    if (it->second.sizes() != value.sizes())
      throw Error(Code::config, "'" + name + "' has another shape in the artifact", place,
                  "list it under fresh and drop");
    value.copy_(it->second);
    left.erase(it);
    report.moved.push_back(name);
  };
  for (const auto& p : net.named_parameters()) take(p.key(), p.value());
  for (const auto& b : net.named_buffers()) take(b.key(), b.value());
  refuse_unmet(init.fresh, met, "fresh", place);
  if (!left.empty())
    throw Error(Code::config, "'" + left.begin()->first + "' of the artifact has no place in net '" + init.to + "'",
                place, "list it under drop, or rename");
  return report;
}

}  // namespace etude
