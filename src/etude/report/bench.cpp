#include "etude/report/bench.h"

#include <algorithm>
#include <cmath>

#include "etude/base/error.h"
#include "etude/report/format.h"
#include "etude/report/json.h"

namespace etude::report {
namespace {

constexpr int64_t kVersion = 1;
using Json = nlohmann::ordered_json;

double median(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

Json side_json(const BenchSide& side) {
  return {{"name", side.name}, {"seconds", side.seconds}, {"bytes", side.bytes}};
}

BenchSide read_side(const JsonObject& json) {
  BenchSide side{json.string("name"), json.list("seconds"), json.number("bytes")};
  if (side.seconds.empty() || std::any_of(side.seconds.begin(), side.seconds.end(), [](double s) { return !(s > 0); }))
    json.fail("\"seconds\" must be positive, one value a round");
  return side;
}

Json row_json(const BenchRow& row) {
  Json peers = Json::array();
  for (const BenchSide& peer : row.peers) peers.push_back(side_json(peer));
  return {{"name", row.name},
          {"format", row.format},
          {"shape", row.shape},
          {"date", row.date},
          {"commit", row.commit},
          {"parameters", row.parameters},
          {"tokens", row.tokens},
          {"flops", row.flops},
          {"roof", row.roof},
          {"roof_product", row.roof_product},
          {"quiet", row.quiet},
          {"curves", number_or_null(row.curves)},
          {"ours", side_json(row.ours)},
          {"peers", std::move(peers)}};
}

BenchRow read_row(const JsonObject& json) {
  BenchRow row{json.string("name"),
               json.string("format"),
               json.string("shape"),
               json.string("date"),
               json.string("commit"),
               json.integer("parameters"),
               json.integer("tokens"),
               json.number("flops"),
               json.number("roof"),
               json.string("roof_product"),
               json.number("quiet"),
               json.number("curves"),
               read_side(json.object("ours")),
               {}};
  for (const JsonObject& peer : json.objects("peers")) {
    row.peers.push_back(read_side(peer));
    if (row.peers.back().seconds.size() != row.ours.seconds.size())
      peer.fail("\"seconds\" must have as many values as those of \"ours\"");
  }
  if (row.peers.empty()) json.fail("\"peers\" has none");
  return row;
}

std::string times(const Spread& s) {
  return "**" + fixed(s.median, 2) + "x** (" + fixed(s.low, 2) + " to " + fixed(s.high, 2) + ")";
}

/// Tokens per second: "131k", "4.7k".
std::string rate(double tokens, const BenchSide& side) {
  const double thousands = tokens / median(side.seconds) / 1000;
  return (thousands < 100 ? significant(thousands, 2) : fixed(thousands, 0)) + "k";
}

std::string memory(const BenchRow& row) {
  double least = row.peers.front().bytes;
  for (const BenchSide& peer : row.peers) least = std::min(least, peer.bytes);
  const std::string share = least > 0 ? " (" + fixed(row.ours.bytes / least, 2) + "x)" : "";
  return bytes_text(row.ours.bytes) + share;
}

}  // namespace

Spread spread(std::span<const double> values) {
  ETUDE_CHECK(!values.empty(), "a spread needs values");
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {median(values), *low, *high};
}

Spread speedup(const BenchSide& ours, const BenchSide& peer) {
  ETUDE_CHECK(ours.seconds.size() == peer.seconds.size(), "both sides have the same rounds");
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.seconds.size(); ++i) ratios.push_back(peer.seconds[i] / ours.seconds[i]);
  return spread(ratios);
}

const BenchSide& BenchRow::best_peer() const {
  ETUDE_CHECK(!peers.empty(), "a row has a peer");
  return *std::min_element(peers.begin(), peers.end(), [](const BenchSide& a, const BenchSide& b) {
    return median(a.seconds) < median(b.seconds);
  });
}

const BenchSide* BenchRow::peer(std::string_view wanted) const {
  const auto found = std::find_if(peers.begin(), peers.end(), [&](const BenchSide& p) { return p.name == wanted; });
  return found == peers.end() ? nullptr : &*found;
}

BenchResults merged(const BenchResults& older, const BenchResults& newer) {
  if (older.machine != newer.machine || older.peer != newer.peer) return newer;
  BenchResults all = newer;
  all.rows = older.rows;
  for (const BenchRow& row : newer.rows) {
    const auto same = std::find_if(all.rows.begin(), all.rows.end(),
                                   [&](const BenchRow& r) { return r.name == row.name && r.format == row.format; });
    if (same == all.rows.end())
      all.rows.push_back(row);
    else
      *same = row;
  }
  return all;
}

std::string to_json(const BenchResults& results) {
  Json rows = Json::array();
  for (const BenchRow& row : results.rows) rows.push_back(row_json(row));
  const Json json = {{"v", kVersion},
                     {"date", results.date},
                     {"commit", results.commit},
                     {"peer", results.peer},
                     {"machine",
                      {{"processor", results.machine.processor},
                       {"isa", results.machine.isa},
                       {"libtorch", results.machine.libtorch},
                       {"threads", results.machine.threads}}},
                     {"rows", std::move(rows)}};
  return json.dump(1) + "\n";
}

BenchResults parse_bench(std::string_view text, const std::string& name) {
  const nlohmann::json parsed = parse_json(text, name);
  const JsonObject json(parsed, name);
  json.require_version(kVersion);
  const JsonObject machine = json.object("machine");
  BenchResults results{
      json.string("date"),
      json.string("commit"),
      json.string("peer"),
      {machine.string("processor"), machine.string("isa"), machine.string("libtorch"), machine.integer("threads")},
      {}};
  for (const JsonObject& row : json.objects("rows")) results.rows.push_back(read_row(row));
  return results;
}

std::string bench_table(const BenchResults& results) {
  std::string text =
      "| training step | format | tokens/s | against the best of " + results.peer +
      " | against it as installed | of the best product | memory |\n|---|---|---:|---:|---:|---:|---:|\n";
  for (const BenchRow& row : results.rows) {
    const auto tokens = static_cast<double>(row.tokens);
    const BenchSide& best = row.best_peer();
    const BenchSide* const installed = row.peer(kAsInstalled);
    text += "| " + row.name + ": " + row.shape + " | " + row.format + " | " + rate(tokens, row.ours) + " | " +
            times(speedup(row.ours, best)) + ", " + rate(tokens, best) + " " + best.name + " | ";
    text += installed ? times(speedup(row.ours, *installed)) + ", " + rate(tokens, *installed) : "–";
    text += " | " + fixed(100 * row.flops / median(row.ours.seconds) / row.roof, 0) + " % of " +
            fixed(row.roof / 1e9, 0) + " GF/s | " + memory(row) + " |\n";
  }
  double quiet = 1;
  size_t fewest = SIZE_MAX;
  for (const BenchRow& row : results.rows) {
    quiet = std::min(quiet, row.quiet);
    fewest = std::min(fewest, row.ours.seconds.size());
  }
  if (results.rows.empty()) return text;
  text += "\nMedians of " + std::to_string(fewest) + " or more rounds in turn (least to largest), " +
          results.machine.processor + ", " + results.machine.isa + ", " + std::to_string(results.machine.threads) +
          " threads, " + results.date + ", commit " + short_commits(results.commit) +
          ". Memory: peak of the steps above the idle process, and as a share of what the most frugal of the peer's " +
          "modes takes.";
  if (quiet < 0.97)
    text += " Other programs were computing beside: at worst " + fixed(100 * quiet, 0) + " % of the cores were free.";
  return text + "\n";
}

std::string with_bench(std::string_view page, const BenchResults& results, const std::string& name) {
  constexpr std::string_view kBegin = "<!-- bench -->\n", kEnd = "<!-- /bench -->";
  const size_t begin = page.find(kBegin);
  const size_t end = page.find(kEnd, begin == std::string_view::npos ? 0 : begin);
  if (begin == std::string_view::npos || end == std::string_view::npos)
    throw Error(Code::config, "the page has no place for the table of speeds", name,
                "give it the lines <!-- bench --> and <!-- /bench -->");
  return std::string(page.substr(0, begin + kBegin.size())) + bench_table(results) + std::string(page.substr(end));
}

}  // namespace etude::report
