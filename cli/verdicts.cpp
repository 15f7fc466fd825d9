#include "cli/verdicts.h"

#include <cmath>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "etude/base/assets.h"
#include "etude/report/statistics.h"

namespace etude::cli {
namespace {

using report::RunRecord;

/// What stands in a row of the table.
struct Row {
  std::string arm;
  std::vector<double> values, differences;
  double seconds = 0, peak_bytes = 0, flops = 0, bytes = 0;
};

double cost(const RunRecord& run, const std::string& name) {
  const auto it = run.cost.find(name);
  return it == run.cost.end() ? 0 : it->second;
}

std::vector<Row> rows(const Conclusion& c, const std::vector<RunRecord>& runs) {
  std::map<int64_t, double> reference;
  for (const RunRecord& run : runs)
    if (run.arm == c.arms.front()) reference[run.seed] = run.last(c.claims->metric);
  std::vector<Row> all;
  for (const std::string& arm : c.arms) {
    Row row;
    row.arm = arm;
    for (const RunRecord& run : runs) {
      if (run.arm != arm) continue;
      row.values.push_back(run.last(c.claims->metric));
      if (const auto it = reference.find(run.seed); it != reference.end() && arm != c.arms.front())
        row.differences.push_back(row.values.back() - it->second);
      row.seconds += cost(run, "seconds");
      row.flops += cost(run, "flops");
      row.bytes += cost(run, "bytes");
      row.peak_bytes = std::max(row.peak_bytes, cost(run, "peak_bytes"));
    }
    if (row.values.empty()) continue;
    const auto n = static_cast<double>(row.values.size());
    row.seconds /= n;
    row.flops /= n;
    row.bytes /= n;
    all.push_back(std::move(row));
  }
  return all;
}

std::string interval_text(const report::Interval& i) {
  char text[80];
  std::snprintf(text, sizeof text, "%+.4f [%+.4f, %+.4f]", i.mean, i.low, i.high);
  return text;
}

void print_table(const Conclusion& c, const std::vector<Row>& table) {
  std::cout << '\n'
            << padded("arm", 18) << padded(c.claims->metric, 19) << padded("minus " + table.front().arm, 30)
            << padded("time", 14) << padded("memory", 10) << padded("FLOP", 8) << "sent\n";
  for (const Row& row : table) {
    const auto own = report::mean_interval(row.values);
    char value[48];
    std::snprintf(value, sizeof value, "%.4f +- %.4f", own.mean, own.sd);
    const std::string paired = row.differences.size() > 1 ? interval_text(report::mean_interval(row.differences)) : "";
    std::cout << padded(row.arm, 18) << padded(value, 19) << padded(paired, 30) << padded(human_time(row.seconds), 14)
              << padded(human_bytes(row.peak_bytes), 10) << padded(human_count(row.flops), 8) << human_bytes(row.bytes)
              << '\n';
  }
  std::cout << "mean +- standard deviation over seeds; differences paired by seed, with their 95 % interval\n";
}

void print_verdict(const report::Verdict& v) {
  std::cout << padded(std::string(report::outcome_name(v.outcome)), 13) << v.id << ": " << v.text << '\n';
  const std::string indent(13, ' ');
  if (!v.seeds.empty() && std::isfinite(v.interval.low)) {
    char margin[32];
    std::snprintf(margin, sizeof margin, "%g", v.margin);
    std::cout << indent << interval_text(v.interval) << ' ' << v.unit
              << (v.kind == "equivalence" ? " against a band of +-" : " against a margin of ") << margin << '\n';
  }
  if (v.seeds_needed) std::cout << indent << *v.seeds_needed << " seeds would decide at this spread\n";
  for (const std::string& more : {v.reason, v.caution, v.note})
    if (!more.empty()) std::cout << indent << more << '\n';
}

}  // namespace

report::Claims read_claims(const std::string& slug) {
  const std::string path = "methods/" + slug + "/claims.toml";
  const auto text = asset(path);
  return text ? report::parse_claims(*text, path) : report::Claims{};
}

void tell_verdicts(const Conclusion& c, const std::vector<RunRecord>& runs, const Session& session) {
  const std::vector<report::Verdict> verdicts = report::judge_all(*c.claims, runs, c.profile);
  const std::vector<Row> table = rows(c, runs);
  if (session.json) {
    nlohmann::json out = {{"event", "result"},
                          {"method", c.paper.slug},
                          {"profile", c.profile},
                          {"arms", nlohmann::json::object()},
                          {"verdicts", nlohmann::json::array()}};
    for (const Row& row : table)
      out["arms"][row.arm] = {{"values", row.values},
                              {"seconds", row.seconds},
                              {"peak_bytes", row.peak_bytes},
                              {"flops", row.flops},
                              {"bytes", row.bytes}};
    for (const report::Verdict& v : verdicts)
      out["verdicts"].push_back({{"id", v.id},
                                 {"outcome", report::outcome_name(v.outcome)},
                                 {"mean", v.interval.mean},
                                 {"low", v.interval.low},
                                 {"high", v.interval.high},
                                 {"margin", v.margin},
                                 {"reason", v.reason}});
    std::cout << out.dump() << std::endl;
    return;
  }
  print_table(c, table);
  std::cout << '\n';
  for (const report::Verdict& v : verdicts) print_verdict(v);
}

}  // namespace etude::cli
