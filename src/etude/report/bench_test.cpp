#include "etude/report/bench.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/base/file.h"

namespace etude::report {
namespace {

BenchRow bench_row(const std::string& name, const std::string& format) {
  BenchRow row;
  row.name = name;
  row.format = format;
  row.shape = "d=256 T=256";
  row.date = "2026-01-02";
  row.commit = "0123456789abcdef";
  row.parameters = 1234567;
  row.tokens = 4096;
  row.flops = 3e10;
  row.roof = 2e11;
  row.roof_product = "own 2048 x 2048 x 2048";
  row.quiet = 0.875;
  row.curves = 1.0 / 3;
  row.ours = {"etude", {0.25, 0.2, 0.5}, 1.5e8};
  row.peers = {{"eager", {0.75, 0.8, 1.0}, 6e8}, {"compile, tcmalloc", {0.5, 0.5, 0.75}, 5e8}};
  return row;
}

BenchResults bench_results() {
  return {"2026-01-02",
          "0123456789abcdef",
          "PyTorch 2.15.0",
          {"a processor", "AVX512", "2.15.0", 2},
          {bench_row("decoder-256", "fp32"), bench_row("decoder-256", "bf16")}};
}

Error bench_error(const std::string& text) {
  try {
    parse_bench(text, "results.json");
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "read: " << text;
  return Error(Code::internal, "");
}

TEST(Bench, SpeedupsArePairedByRound) {
  const BenchRow row = bench_row("a", "fp32");
  // 0.5/0.25, 0.5/0.2, 0.75/0.5
  const Spread s = speedup(row.ours, row.peers[1]);
  EXPECT_DOUBLE_EQ(s.median, 2);
  EXPECT_DOUBLE_EQ(s.low, 1.5);
  EXPECT_DOUBLE_EQ(s.high, 2.5);
  EXPECT_EQ(row.best_peer().name, "compile, tcmalloc");
  EXPECT_EQ(row.peer(kAsInstalled), &row.peers[0]);
  EXPECT_EQ(row.peer("elsewhere"), nullptr);
  const std::vector<double> even = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(spread(even).median, 2.5);
}

TEST(Bench, JsonSurvivesToTheBit) {
  BenchResults results = bench_results();
  results.rows[1].curves = std::nan("");
  const std::string text = to_json(results);
  const BenchResults again = parse_bench(text, "results.json");
  EXPECT_EQ(to_json(again), text);
  EXPECT_EQ(again.rows[0].curves, 1.0 / 3);
  EXPECT_TRUE(std::isnan(again.rows[1].curves));
  EXPECT_EQ(again.machine, results.machine);
  EXPECT_EQ(again.rows[0].ours.seconds, results.rows[0].ours.seconds);
  EXPECT_EQ(again.rows[1].peers[1].bytes, 5e8);
}

TEST(Bench, DamagedJsonIsAnErrorWithItsPlace) {
  const std::string good = to_json(bench_results());
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  EXPECT_EQ(bench_error("[]").code(), Code::checkpoint);
  EXPECT_NE(std::string(bench_error(changed("\"v\": 1", "\"v\": 2")).what()).find("results.json"), std::string::npos);
  EXPECT_NE(std::string(bench_error(changed("\"format\"", "\"from\"")).what()).find("format"), std::string::npos);
  EXPECT_NE(std::string(bench_error(changed("0.25,", "-0.25,")).what()).find("positive"), std::string::npos);
  EXPECT_NE(std::string(bench_error(changed("0.75,", "0.75, 0.5,")).what()).find("as many"), std::string::npos);
}

TEST(Bench, NewRowsTakeThePlaceOfOldOnes) {
  const BenchResults older = bench_results();
  BenchResults newer = bench_results();
  newer.rows = {bench_row("decoder-256", "bf16"), bench_row("decoder-512", "bf16")};
  newer.rows[0].ours.bytes = 7;
  const BenchResults both = merged(older, newer);
  ASSERT_EQ(both.rows.size(), 3u);
  EXPECT_EQ(both.rows[0].format, "fp32");
  EXPECT_EQ(both.rows[1].ours.bytes, 7);
  EXPECT_EQ(both.rows[2].name, "decoder-512");
  newer.machine.threads = 3;
  EXPECT_EQ(merged(older, newer).rows.size(), 2u) << "another machine's rows don't stand beside these";
}

TEST(Bench, TableHasWhatWasMeasured) {
  const std::string table = bench_table(bench_results());
  // 4096 tokens in 0.25 s; 3e10 / 0.25 / 2e11 = 60 %; 1.5e8 / 5e8.
  for (const char* cell :
       {"| decoder-256: d=256 T=256 | fp32 | 16k |", "**2.00x** (1.50 to 2.50), 8.2k compile, tcmalloc",
        "**3.00x** (2.00 to 4.00), 5.1k", "60 % of 200 GF/s", "MB (0.30x)", "best of PyTorch 2.15.0",
        "commit 0123456789ab.", "2 threads", "at worst 88 % of the cores were free"})
    EXPECT_NE(table.find(cell), std::string::npos) << cell << "\n" << table;
  BenchResults results = bench_results();
  for (BenchRow& row : results.rows) row.quiet = 1;
  EXPECT_EQ(bench_table(results).find("Other programs"), std::string::npos);
}

TEST(Bench, PageIsRenewedBetweenItsLines) {
  const std::string before = "# Etude\n\n<!-- bench -->\n", after = "<!-- /bench -->\n\nmore\n";
  const std::string page = with_bench(before + "old\n" + after, bench_results(), "README.md");
  EXPECT_EQ(page, before + bench_table(bench_results()) + after);
  EXPECT_EQ(with_bench(page, bench_results(), "README.md"), page);
  for (const std::string& lacking : {before, after, std::string()}) {
    try {
      with_bench(lacking, bench_results(), "README.md");
      ADD_FAILURE() << lacking;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config);
      EXPECT_EQ(error.where(), "README.md");
    }
  }
}

/// As cards are: the table of the README is that of the results beside it.
TEST(Bench, ReadmeIsFresh) {
  const char* const source = std::getenv("ETUDE_SOURCE");
  if (!source) GTEST_SKIP() << "ETUDE_SOURCE is not set";
  const std::string folder = source, results = folder + "/bench/results.json", readme = folder + "/README.md";
  const std::string page = file::read(readme);
  if (!file::exists(results)) {
    EXPECT_EQ(page.find("<!-- bench -->"), std::string::npos) << "a table without results";
    return;
  }
  EXPECT_EQ(with_bench(page, parse_bench(file::read(results), results), readme), page)
      << "etude bench --table renews it";
}

}  // namespace
}  // namespace etude::report
