#include "etude/base/error.h"

#include <gtest/gtest.h>

#include <functional>

namespace etude::error_test {
namespace {

TEST(Error, HasFourPartsAndAnExitCode) {
  const Error error(Code::config, "unknown key 'lerning_rate'", "my.toml:12:1", "did you mean 'learning_rate'?");
  EXPECT_STREQ(error.what(), "config: unknown key 'lerning_rate' (my.toml:12:1)\nhint: did you mean 'learning_rate'?");
  EXPECT_EQ(error.exit_code(), 3);
  EXPECT_STREQ(Error(Code::io, "disk full").what(), "io: disk full");
}

TEST(Error, CodesAreTheExitCodesOfTheCommandLine) {
  const std::pair<Code, int> codes[] = {
      {Code::usage, 2}, {Code::config, 3}, {Code::data, 4}, {Code::checkpoint, 5}, {Code::numeric, 6},
      {Code::comms, 7}, {Code::device, 8}, {Code::io, 9},   {Code::internal, 70},  {Code::interrupted, 130}};
  for (const auto& [code, value] : codes) EXPECT_EQ(Error(code, "x").exit_code(), value) << code_name(code);
}

TEST(Error, GetsAPlaceOnce) {
  const Error bare(Code::data, "bad");
  EXPECT_EQ(bare.at("a.txt:3").where(), "a.txt:3");
  EXPECT_EQ(bare.at("a.txt:3").at("b.txt:4").where(), "a.txt:3");
}

TEST(Check, NamesConditionAndLine) {
  const int two = 2;
  try {
    ETUDE_CHECK(two == 3, "two is " + std::to_string(two));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::internal);
    EXPECT_EQ(error.message(), "two is 2 [two == 3]");
    EXPECT_NE(error.where().find("error_test.cpp:"), std::string::npos);
  }
}

TEST(Nearest, RanksByEdits) {
  EXPECT_EQ(nearest("beta", {"theta", "bata", "beat", "zeta2"}), (std::vector<std::string>{"bata", "beat"}));
  EXPECT_EQ(nearest("lerning-rate", {"learning_rate", "rate"}), std::vector<std::string>{"learning_rate"});
  EXPECT_TRUE(nearest("gamma", {"momentum", "lr"}).empty());
}

TEST(Nearest, TakesAThirdOfTheLetters) {
  EXPECT_EQ(nearest("abcdef", {"abxyef", "axyzef"}), std::vector<std::string>{"abxyef"});
}

TEST(Nearest, CaseAndDashesDontCount) {
  EXPECT_EQ(nearest("x-y-z", {"x_y_z"}), std::vector<std::string>{"x_y_z"});
  EXPECT_EQ(nearest("LR", {"lr"}), std::vector<std::string>{"lr"});
}

TEST(Nearest, CountsATranspositionAsOneEdit) {
  // Two plain substitutions would be out of reach of a word of three letters.
  EXPECT_EQ(nearest("bta", {"bat"}), std::vector<std::string>{"bat"});
}

TEST(Nearest, OneLetterWordsAreNotNearEachOther) { EXPECT_TRUE(nearest("k", {"n"}).empty()); }

TEST(DidYouMean, FallsBack) {
  EXPECT_EQ(did_you_mean("stpes", {"steps"}), "did you mean 'steps'?");
  EXPECT_EQ(did_you_mean("xyz", {"steps"}, "see --help"), "see --help");
}

/// Every word one edit away: each deletion, transposition, substitution and insertion of a letter.
void for_each_typo(const std::string& word, const std::function<void(const std::string&)>& use) {
  for (size_t i = 0; i <= word.size(); ++i) {
    if (i < word.size()) use(word.substr(0, i) + word.substr(i + 1));
    if (i + 1 < word.size() && word[i] != word[i + 1]) {
      std::string swapped = word;
      std::swap(swapped[i], swapped[i + 1]);
      use(swapped);
    }
    for (char c = 'a'; c <= 'z'; ++c) {
      std::string changed = word;
      if (i < word.size() && word[i] != c) {
        changed[i] = c;
        use(changed);
      }
      use(word.substr(0, i) + c + word.substr(i));
    }
  }
}

TEST(DidYouMean, MendsNearlyEverySingleTypo) {
  const std::vector<std::string> keys = {
      "learning_rate", "lr",      "beta",  "beta1",  "beta2",      "gamma",    "alpha",    "momentum", "nesterov",
      "every",         "seed",    "steps", "batch",  "batch_size", "sequence", "warmup",   "stop",     "clip",
      "weight_decay",  "dropout", "depth", "width",  "heads",      "kv_heads", "replicas", "mask",     "kind",
      "length",        "data",    "with",  "stages", "passes",     "profile",  "optimizer"};
  int mended = 0, all = 0;
  for (const std::string& key : keys) {
    for_each_typo(key, [&](const std::string& typo) {
      if (std::find(keys.begin(), keys.end(), typo) != keys.end()) return;
      ++all;
      mended += did_you_mean(typo, keys) == "did you mean '" + key + "'?";
    });
  }
  EXPECT_GT(all, 10000);
  EXPECT_GE(mended, all * 95 / 100) << mended << " of " << all;
}

}  // namespace
}  // namespace etude::error_test
