#include "etude/report/claims.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "etude/base/config.h"
#include "etude/base/file.h"
#include "etude/base/options.h"

namespace etude::report {
namespace {

const std::vector<std::string> kKinds = {"superiority", "equivalence", "trend", "not shown"};
const std::vector<std::string> kAxes = {"steps", "samples", "tokens", "flops", "bytes", "messages", "seconds"};

struct ClaimOptions {
  std::string id, text, source, kind = "superiority", expression, unit, note, profile, simulation;
  std::optional<double> margin, band;
  template <class V>
  void fields(V& v) {
    v("id", id, "short name, unique in the file");
    v("text", text, "the claim in one sentence");
    v("source", source, "where the paper makes it");
    v("kind", kind, one_of(kKinds), "how it is judged");
    v("expression", expression, "what is measured, for each seed");
    v("margin", margin, "superiority, trend: the expression should be greater");
    v("band", band, positive(), "equivalence: the expression should be within -band and band");
    v("unit", unit, "of the expression");
    v("note", note, "what to know when reading it; for 'not shown': what stands in");
    v("profile", profile, "the size that has its arms, where it is not the file's");
    v("simulation", simulation, "whose table stands in for a measurement, or beside it");
  }
};

struct ExperimentOptions {
  std::string id, about, inject;
  std::vector<std::string> arms, set;
  int64_t nproc = 2;
  std::optional<int64_t> seeds;
  template <class V>
  void fields(V& v) {
    v("id", id, "short name, unique in the file: its arms are ARM@ID");
    v("about", about, "what is done, in a few words");
    v("arms", arms, "the arms that run under it");
    v("nproc", nproc, within(2, 256), "ranks, as --nproc of etude run");
    v("inject", inject, "what is rehearsed, as --inject");
    v("set", set, "overrides of the recipes, as on the command line");
    v("seeds", seeds, within(1, 1000), "no more than these of the comparison's seeds");
  }
};

struct ShowOptions {
  std::string metric, label, unit;
  bool log = false, lower_is_better = true;
  template <class V>
  void fields(V& v) {
    v("metric", metric, "name in metrics.jsonl");
    v("label", label, "name in tables and plots");
    v("unit", unit, "of its values");
    v("log", log, "draw it on a logarithmic axis");
    v("lower_is_better", lower_is_better, "which way is good");
  }
};

struct ClaimsOptions {
  std::vector<std::string> headline;
  int64_t seeds = 5;
  std::string metric = "valid/loss", label, unit, axis = "steps", reference, profile = "small";
  bool lower_is_better = true;
  std::vector<ShowOptions> show;
  std::vector<ClaimOptions> claim;
  std::vector<ExperimentOptions> experiment;
  template <class V>
  void fields(V& v) {
    v("headline", headline, "arms that the first claims need, in the order of tables");
    v("seeds", seeds, within(1, 1000), "paired seeds of a comparison");
    v("metric", metric, "what arms are compared by");
    v("label", label, "its name in tables and plots");
    v("unit", unit, "of its values");
    v("lower_is_better", lower_is_better, "which way is good");
    v("axis", axis, one_of(kAxes), "what progress is drawn against at first");
    v("reference", reference, "the arm that differences are taken from; default: the first of the headline");
    v("profile", profile, "the size at which margins were calibrated");
    v("show", show, "other metrics: labels and axes");
    v("claim", claim, "the claims");
    v("experiment", experiment, "arms that run as ranks under rehearsed conditions");
  }
};

/// Where byte `offset` of a parsed string value stands: steps over the source from the value's key on,
/// quotes, escapes and line ends included.
class StringPlace {
 public:
  StringPlace(std::string_view source, const Origin& origin) : source_(source), origin_(origin) {
    for (int line = 1; line < origin.line; ++line) begin_ = source.find('\n', begin_) + 1;
    begin_ = std::min(begin_ + static_cast<size_t>(std::max(origin.column - 1, 0)), source.size());
    const size_t key = begin_;
    begin_ = std::min(source.find_first_not_of(" \t", source.find('=', key) + 1), source.size());
    origin_.column += static_cast<int>(begin_ - key);
  }

  std::string operator()(size_t offset) const {
    size_t at = begin_;
    const char quote = at < source_.size() ? source_[at] : '\0';
    const bool multiline = at + 2 < source_.size() && source_[at + 1] == quote && source_[at + 2] == quote;
    at += multiline ? 3 : 1;
    if (multiline && at < source_.size() && source_[at] == '\r') ++at;
    if (multiline && at < source_.size() && source_[at] == '\n') ++at;
    for (; offset > 0 && at < source_.size(); --offset) {
      const bool escape = quote == '"' && source_[at] == '\\' && at + 1 < source_.size();
      const size_t length = !escape ? 1 : source_[at + 1] == 'u' ? 6 : source_[at + 1] == 'U' ? 10 : 2;
      at = std::min(at + length, source_.size());
    }
    Origin place = origin_;
    for (size_t i = begin_; i < at; ++i) {
      place.column = source_[i] == '\n' ? 1 : place.column + 1;
      place.line += source_[i] == '\n';
    }
    return place.text();
  }

 private:
  std::string_view source_;
  Origin origin_;
  size_t begin_ = 0;
};

std::string place_of(const Config& table, std::string_view key) {
  const Config* value = table.find(key);
  return (value ? value : &table)->origin.text();
}

Claim make_claim(const ClaimOptions& options, const Config& table, std::string_view source) {
  const auto require = [&](bool fine, std::string_view key, const std::string& what, const std::string& hint) {
    if (!fine) throw Error(Code::config, what, place_of(table, key), hint);
  };
  const std::string name = "claim '" + options.id + "'";
  require(!options.id.empty(), "id", "a claim has no id", "give it a short name: id = \"beats-baseline\"");
  require(!options.text.empty(), "text", name + " has no text", "say in one sentence what the paper claims");
  const bool shown = options.kind != "not shown", band = options.kind == "equivalence";
  require(shown == !options.expression.empty(), "expression",
          name + (shown ? " has no expression" : " is 'not shown' and has an expression"),
          shown ? "for example: expression = 'value(baseline) - value(method)'" : "say in its note what stands in");
  require(shown || !options.note.empty(), "note", name + " is 'not shown' and has no note",
          "say what stands in: a simulation, a cost model");
  require(options.margin.has_value() == (shown && !band), "margin",
          name + " is of kind '" + options.kind + "' and has " + (options.margin ? "a margin" : "no margin"),
          "superiority and trend have a margin, equivalence has a band");
  require(options.band.has_value() == band, "band",
          name + " is of kind '" + options.kind + "' and has " + (options.band ? "a band" : "no band"),
          "superiority and trend have a margin, equivalence has a band");
  Claim claim{options.id,
              options.text,
              options.source,
              options.kind,
              options.unit,
              options.note,
              options.profile,
              options.simulation,
              options.expression,
              options.margin.value_or(0),
              options.band.value_or(0),
              {}};
  if (shown) claim.parsed = Expression::parse(claim.expression, StringPlace(source, table.find("expression")->origin));
  return claim;
}

Experiment make_experiment(const ExperimentOptions& options, const Config& table) {
  const auto require = [&](bool fine, std::string_view key, const std::string& what, const std::string& hint) {
    if (!fine) throw Error(Code::config, what, place_of(table, key), hint);
  };
  const bool plain = std::all_of(options.id.begin(), options.id.end(),
                                 [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
  require(!options.id.empty() && plain, "id", "an experiment has the id '" + options.id + "'",
          "it stands in names of arms and folders: letters, digits, '-' and '_'");
  require(!options.about.empty(), "about", "experiment '" + options.id + "' says nothing about itself",
          "its table needs a heading: about = \"8 ranks, one of them ten times slower\"");
  require(!options.arms.empty(), "arms", "experiment '" + options.id + "' has no arms", "name those that run under it");
  return {options.id,     options.about, options.arms,  options.nproc,
          options.inject, options.set,   options.seeds, place_of(table, "arms")};
}

using RunsOfSeed = std::map<std::string, const RunRecord*>;

/// Finished runs of the named arms, by seed.
std::map<int64_t, RunsOfSeed> by_seed(const std::vector<RunRecord>& runs, const std::vector<std::string>& arms) {
  std::map<int64_t, RunsOfSeed> result;
  for (const auto& run : runs)
    if (run.finished && std::find(arms.begin(), arms.end(), run.arm) != arms.end()) result[run.seed][run.arm] = &run;
  return result;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
  return text;
}

/// Why no two seeds are paired.
std::string too_few(const std::vector<std::string>& arms, const std::map<int64_t, RunsOfSeed>& seeds,
                    const std::string& profile) {
  std::vector<std::string> absent;
  for (const auto& arm : arms)
    if (std::none_of(seeds.begin(), seeds.end(), [&](const auto& s) { return s.second.count(arm) > 0; }))
      absent.push_back(arm);
  if (absent.empty()) return "at least 2 paired seeds are needed";
  return "no finished run of " + listed(absent) + "; the profile " + profile + " has " +
         (absent.size() == 1 ? "it" : "them");
}

/// Values of the expression over the paired seeds; seeds without a value are described in the reason.
void measure(const Claim& claim, const Claims& claims, const std::vector<RunRecord>& runs, const std::string& profile,
             Verdict& verdict) {
  const auto arms = claim.parsed.arms();
  const auto seeds = by_seed(runs, arms);
  int64_t paired = 0;
  for (const auto& [seed, by_arm] : seeds) {
    if (by_arm.size() != arms.size()) continue;
    ++paired;
    const Scene scene{by_arm, claims.metric, [&](std::string_view m) { return claims.style(m).lower_is_better; }};
    const Value value = claim.parsed.evaluate(scene);
    if (value.missing.empty())
      verdict.seeds.push_back({seed, value.number});
    else if (verdict.reason.empty())
      verdict.reason = "seed " + std::to_string(seed) + ": " + value.missing;
  }
  if (paired < 2 && verdict.reason.empty()) verdict.reason = too_few(arms, seeds, profile);
  std::vector<double> values;
  for (const auto& s : verdict.seeds) values.push_back(s.value);
  verdict.interval = mean_interval(values);
}

}  // namespace

MetricStyle Claims::style(std::string_view name) const {
  const auto found = std::find_if(show.begin(), show.end(), [&](const MetricStyle& s) { return s.metric == name; });
  MetricStyle result = found != show.end() ? *found : MetricStyle{std::string(name), "", "", false, true};
  if (name == metric) {
    result.lower_is_better = lower_is_better;
    if (!label.empty()) result.label = label;
    if (!unit.empty()) result.unit = unit;
  }
  if (result.label.empty()) result.label = result.metric;
  return result;
}

std::string Experiment::folder() const {
  constexpr size_t kDigits = 8;
  return "@" + id + "-" + file::sha256(std::to_string(nproc) + " " + inject).substr(0, kDigits);
}

std::vector<std::string> Claims::arms() const {
  std::vector<std::string> names = headline;
  for (const auto& claim : claims)
    for (const auto& arm : claim.parsed.arms())
      if (experiment_id(arm).empty() && std::find(names.begin(), names.end(), arm) == names.end()) names.push_back(arm);
  return names;
}

std::vector<std::string> Claims::experiment_arms() const {
  std::vector<std::string> names;
  for (const auto& e : experiments)
    for (const auto& arm : e.arms) names.push_back(arm + "@" + e.id);
  return names;
}

const Experiment* Claims::experiment(std::string_view arm) const {
  const auto found = std::find_if(experiments.begin(), experiments.end(),
                                  [&](const Experiment& e) { return e.id == experiment_id(arm); });
  return found == experiments.end() ? nullptr : &*found;
}

void Claims::check_arms(const std::vector<std::string>& known) const {
  std::vector<std::string> named = headline;
  if (!reference.empty()) named.push_back(reference);
  for (const auto& arm : named)
    if (std::find(known.begin(), known.end(), arm) == known.end())
      throw Error(Code::config, "unknown arm '" + arm + "'", headline_place,
                  did_you_mean(arm, known, "arms are the files of the method's arms folder"));
  for (const auto& e : experiments)
    for (const auto& arm : e.arms)
      if (std::find(known.begin(), known.end(), arm) == known.end())
        throw Error(Code::config, "unknown arm '" + arm + "'", e.place,
                    did_you_mean(arm, known, "arms are the files of the method's arms folder"));
  std::vector<std::string> all = known;
  for (const auto& arm : experiment_arms()) all.push_back(arm);
  for (const auto& claim : claims) claim.parsed.check_arms(all);
}

Claims parse_claims(std::string_view text, std::string_view file_name) {
  const Config config = parse_toml(text, file_name);
  ClaimsOptions options;
  read_options(config, options, std::string(file_name));
  Claims claims;
  claims.headline = options.headline;
  claims.seeds = options.seeds;
  claims.metric = options.metric;
  claims.label = options.label;
  claims.unit = options.unit;
  claims.axis = options.axis;
  claims.profile = options.profile;
  claims.lower_is_better = options.lower_is_better;
  claims.reference = !options.reference.empty() || options.headline.empty() ? options.reference : options.headline[0];
  claims.headline_place = place_of(config, "headline");
  claims.sha256 = file::sha256(text);
  for (const auto& s : options.show) claims.show.push_back({s.metric, s.label, s.unit, s.log, s.lower_is_better});
  std::set<std::string> ids;
  for (size_t i = 0; i < options.claim.size(); ++i) {
    const Config& table = config.find("claim")->as_list()[i];
    claims.claims.push_back(make_claim(options.claim[i], table, text));
    if (!ids.insert(options.claim[i].id).second)
      throw Error(Code::config, "two claims have the id '" + options.claim[i].id + "'", place_of(table, "id"),
                  "results are stored by id: rename one");
  }
  ids.clear();
  for (size_t i = 0; i < options.experiment.size(); ++i) {
    const Config& table = config.find("experiment")->as_list()[i];
    claims.experiments.push_back(make_experiment(options.experiment[i], table));
    if (!ids.insert(options.experiment[i].id).second)
      throw Error(Code::config, "two experiments have the id '" + options.experiment[i].id + "'", place_of(table, "id"),
                  "arms are named by it: rename one");
  }
  return claims;
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::holds:
      return "holds";
    case Outcome::fails:
      return "fails";
    case Outcome::not_shown:
      return "not shown";
    case Outcome::inconclusive:
      break;
  }
  return "inconclusive";
}

std::optional<Outcome> outcome_of(std::string_view name) {
  for (const auto outcome : {Outcome::holds, Outcome::inconclusive, Outcome::fails, Outcome::not_shown})
    if (outcome_name(outcome) == name) return outcome;
  return std::nullopt;
}

Verdict judge(const Claim& claim, const Claims& claims, const std::vector<RunRecord>& runs, std::string_view profile) {
  const bool band = claim.kind == "equivalence";
  const std::string& calibrated = claim.profile.empty() ? claims.profile : claim.profile;
  Verdict verdict;
  verdict.id = claim.id;
  verdict.text = claim.text;
  verdict.source = claim.source;
  verdict.kind = claim.kind;
  verdict.expression = claim.expression;
  verdict.unit = claim.unit;
  verdict.note = claim.note;
  verdict.margin = band ? claim.band : claim.margin;
  if (claim.kind == "not shown") {
    verdict.outcome = Outcome::not_shown;
    return verdict;
  }
  measure(claim, claims, runs, calibrated, verdict);
  if (!verdict.reason.empty()) return verdict;
  if (calibrated != profile)
    verdict.caution = "the margin was calibrated for the profile " + calibrated + ", not for " + std::string(profile);
  const auto& [n, mean, sd, low, high] = verdict.interval;
  if (band ? low > -claim.band && high < claim.band : low > claim.margin)
    verdict.outcome = Outcome::holds;
  else if (band ? low > claim.band || high < -claim.band : high < claim.margin)
    verdict.outcome = Outcome::fails;
  else
    verdict.seeds_needed = seeds_needed(sd, std::abs((band ? std::abs(mean) : mean) - verdict.margin));
  return verdict;
}

std::vector<Verdict> judge_all(const Claims& claims, const std::vector<RunRecord>& runs, std::string_view profile) {
  std::vector<Verdict> verdicts;
  for (const auto& claim : claims.claims) verdicts.push_back(judge(claim, claims, runs, profile));
  return verdicts;
}

}  // namespace etude::report
