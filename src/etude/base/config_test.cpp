#include "etude/base/config.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <clocale>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <locale>
#include <nlohmann/json.hpp>
#include <random>

#include "etude/base/error.h"

namespace etude::config_test {
namespace {

Config parse(std::string_view text) { return parse_toml(text, "my.toml"); }

std::vector<std::string> keys(const Config& table) {
  std::vector<std::string> out;
  for (const auto& [key, value] : table.as_table()) out.push_back(key);
  return out;
}

template <class F>
Error caught(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {Code::internal, ""};
}

TEST(Toml, HasEveryType) {
  const Config c = parse("b = true\ni = -3\nx = 0.5\ns = 'text'\nl = [1, 'two']\n[t]\nk = 1\n");
  EXPECT_TRUE(c.find("b")->as_bool());
  EXPECT_EQ(c.find("i")->as_int(), -3);
  EXPECT_EQ(c.find("x")->as_real(), 0.5);
  EXPECT_EQ(c.find("i")->as_real(), -3.0);
  EXPECT_EQ(c.find("s")->as_string(), "text");
  EXPECT_EQ(c.find("l")->as_list()[1].as_string(), "two");
  EXPECT_EQ(c.find_path("t.k")->as_int(), 1);
  const std::pair<const char*, const char*> types[] = {{"b", "boolean"}, {"i", "integer"}, {"x", "number"},
                                                       {"s", "string"},  {"l", "list"},    {"t", "table"}};
  for (const auto& [key, type] : types) EXPECT_EQ(c.find(key)->type_name(), type);
  EXPECT_EQ(Config().type_name(), "nothing");
}

TEST(Toml, RemembersPlaces) {
  const Config c = parse("seed = 1\n\n[optimizer]\n  lr = 0.1\n  betas = [ 0.9,\n    0.99 ]\n[[passes]]\ntimes = 2\n");
  EXPECT_EQ(c.find("seed")->origin.text(), "my.toml:1:1");
  EXPECT_EQ(c.find_path("optimizer.lr")->origin.text(), "my.toml:4:3");
  EXPECT_EQ(c.find_path("optimizer.betas")->origin.text(), "my.toml:5:3");
  EXPECT_EQ(c.find_path("optimizer.betas.1")->origin.text(), "my.toml:6:5");
  EXPECT_EQ(c.find_path("passes.0.times")->origin.text(), "my.toml:8:1");
  EXPECT_EQ(c.find("optimizer")->origin.line, 3);
}

TEST(Toml, KeepsTheOrderOfKeys) {
  const Config c = parse("zebra = 1\nant = 2\nm.y = 1\nm.b = 2\n[late]\n[early]\nz = 1\na = {q = 1, c = 2}\n");
  EXPECT_EQ(keys(c), (std::vector<std::string>{"zebra", "ant", "m", "late", "early"}));
  EXPECT_EQ(keys(*c.find("m")), (std::vector<std::string>{"y", "b"}));
  EXPECT_EQ(keys(*c.find("early")), (std::vector<std::string>{"z", "a"}));
  EXPECT_EQ(keys(*c.find_path("early.a")), (std::vector<std::string>{"q", "c"}));
}

TEST(Toml, ErrorsHavePlaceAndLine) {
  struct Case {
    const char *text, *why, *where, *hint;
  };
  const Case cases[] = {
      {"a = 1\nb = = 2\n", "", "my.toml:2:5", "the line reads: b = = 2"},
      {"a = 1\na = 2\n", "redefine", "my.toml:2:", "the line reads: a = 2"},
      {"[t]\nx = 1\n[t]\n", "redefine", "my.toml:3:", ""},
      {"a = 99999999999999999999\n", "", "my.toml:1:", "a = 99999999999999999999"},
      {"a = [1, 2\n", "", "my.toml:1:11", "a = [1, 2"},
      {"a = \"x\n", "", "my.toml:1:", ""},
      {"a = 2024-05-01\n", "dates and times", "my.toml:1:5", "quotes"},
      {"l = [1, 07:32:00]\n", "dates and times", "my.toml:1:9", "quotes"},
      {"a = \"f\xFCr\"\n", "", "my.toml:1:", ""},
      {"a = \"\\uD800\"\n", "", "my.toml:1:", ""},
  };
  for (const auto& [text, why, where, hint] : cases) {
    const Error error = caught([&, t = text] { parse(t); });
    EXPECT_EQ(error.code(), Code::config) << text;
    EXPECT_NE(error.message().find(why), std::string::npos) << error.what();
    EXPECT_EQ(error.where().rfind(where, 0), 0u) << error.what();
    EXPECT_NE(error.hint().find(hint), std::string::npos) << error.what();
  }
  EXPECT_EQ(caught([] { parse(std::string("a = \0 1", 7)); }).code(), Code::config);
  EXPECT_EQ(caught([] { parse("a = " + std::string(5000, '[')); }).code(), Code::config);
}

TEST(Toml, DoublesSurviveToTheBit) {
  std::mt19937_64 bits(3);
  Config table = Config::table();
  std::vector<double> xs = {0.0,
                            -0.0,
                            0.1,
                            1.0,
                            1e22,
                            1e23,
                            5e-324,
                            2.2250738585072014e-308,
                            1e-300,
                            123456789012345680.0,
                            std::numeric_limits<double>::max(),
                            std::numeric_limits<double>::infinity(),
                            -std::numeric_limits<double>::infinity()};
  while (xs.size() < 3000) {
    const auto x = std::bit_cast<double>(bits());
    if (std::isfinite(x)) xs.push_back(x);
  }
  for (size_t i = 0; i < xs.size(); ++i) table.set("k" + std::to_string(i), xs[i]);
  const Config back = parse(to_toml(table));
  const auto json = nlohmann::json::parse(to_json(table));
  for (size_t i = 0; i < xs.size(); ++i) {
    const std::string key = "k" + std::to_string(i);
    const Config& value = *back.find(key);
    ASSERT_TRUE(value.is_real()) << key;
    ASSERT_EQ(std::bit_cast<uint64_t>(value.as_real()), std::bit_cast<uint64_t>(xs[i])) << xs[i];
    if (!std::isfinite(xs[i])) continue;
    ASSERT_TRUE(json[key].is_number_float());
    ASSERT_EQ(std::bit_cast<uint64_t>(json[key].get<double>()), std::bit_cast<uint64_t>(xs[i]));
  }
  table = Config::table();
  table.set("n", std::nan(""));
  EXPECT_TRUE(std::isnan(parse(to_toml(table)).find("n")->as_real()));
  EXPECT_EQ(to_json(table), "{\"n\":\"nan\"}");
}

TEST(Toml, IntegersSurvive) {
  Config table = Config::table();
  table.set("most", INT64_MAX);
  table.set("least", INT64_MIN);
  const Config back = parse(to_toml(table));
  EXPECT_EQ(back.find("most")->as_int(), INT64_MAX);
  EXPECT_EQ(back.find("least")->as_int(), INT64_MIN);
}

/// A random value; texts hold everything that needs an escape.
Config random_value(std::mt19937& random, int depth) {
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto word = [&] {
    constexpr const char* kPieces[] = {"a",      "B",      "7",          "_",    "-",    ".",  " ", "\"",
                                       "\\",     "\n",     "\t",         "\x01", "\x7f", "'",  "#", "=",
                                       "\u00fc", "\u6f22", "\U0001F600", "[",    "]",    "]]", "{", ","};
    std::string out;
    for (int n = pick(5); n > 0; --n) out += kPieces[pick(std::size(kPieces))];
    return out;
  };
  switch (pick(depth > 0 ? 8 : 5)) {
    case 0:
      return Config(pick(2) == 0);
    case 1:
      return Config(static_cast<int64_t>(random()) - 1000);
    case 2:
      return Config(std::ldexp(double(pick(1000)) - 500, pick(40) - 20));
    case 3:
    case 4:
      return Config(word());
    case 5: {
      Config list = Config::list();
      for (int n = pick(4); n > 0; --n) list.as_list().push_back(random_value(random, depth - 1));
      return list;
    }
    default: {
      Config table = Config::table();
      for (int n = pick(5); n > 0; --n) table.set(word(), random_value(random, depth - 1));
      return table;
    }
  }
}

/// Equality with the order of keys.
bool same_in_order(const Config& a, const Config& b) { return a == b && to_json(a) == to_json(b); }

TEST(Toml, AnyTreeReadsBackInOrder) {
  std::mt19937 random(5);
  for (int i = 0; i < 3000; ++i) {
    Config tree = Config::table();
    for (int n = 0; n < 4; ++n) tree.set("key" + std::to_string(n), random_value(random, 4));
    const std::string text = to_toml(tree);
    const Config back = parse(text);
    ASSERT_TRUE(same_in_order(back, tree)) << text << "\n" << to_json(tree) << "\n" << to_json(back);
    ASSERT_EQ(to_toml(back), text);
    ASSERT_EQ(nlohmann::ordered_json::parse(to_json(tree)).dump(-1, ' ', false),
              nlohmann::ordered_json::parse(to_json(back)).dump(-1, ' ', false));
  }
}

TEST(Toml, JsonReadsBackElsewhere) {
  const Config c = parse("s = \"q\\\"\\\\\\n\\u0001\\u007f\u00fc\"\ni = 3\nx = 3.0\nl = [true, {a = 1}]\n");
  const auto json = nlohmann::json::parse(to_json(c));
  EXPECT_EQ(json["s"], "q\"\\\n\x01\x7f\u00fc");
  EXPECT_TRUE(json["i"].is_number_integer());
  EXPECT_TRUE(json["x"].is_number_float());
  EXPECT_EQ(json["l"][1]["a"], 1);
  EXPECT_EQ(to_json(parse("b = 1\na = {d = 1, c = 2}")), R"({"b":1,"a":{"d":1,"c":2}})");
  EXPECT_EQ(to_sorted_json(parse("b = 1\na = {d = 1, c = 2}")), R"({"a":{"c":2,"d":1},"b":1})");
}

TEST(Toml, LayoutIsForReading) {
  const char* canonical =
      "seed = 1\n"
      "betas = [0.9, 0.99]\n"
      "mask = {kind = \"span\", length = 3}\n"
      "lr = 0.1\n"
      "\n[data]\n"
      "kind = \"text\"\n"
      "\n[data.split]\n"
      "test = 0.1\n"
      "\n[[passes]]\n"
      "name = \"a b\"\n"
      "\n[[passes]]\n"
      "\"odd key\" = []\n"
      "\n[empty]\n";
  EXPECT_EQ(to_toml(parse(canonical)), canonical);
}

TEST(Toml, NullsAreLeftOut) {
  Config c = Config::table();
  c.set("a", Config());
  c.set("b", 1);
  EXPECT_EQ(to_toml(c), "b = 1\n");
}

TEST(Toml, OtherEncodingsAreRefused) {
  Config c = Config::table();
  c.set("path", "f\xFCr");
  EXPECT_EQ(caught([&] { to_toml(c); }).code(), Code::config);
}

/// 1.234,5 as in German, for streams.
struct GermanNumbers : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(Toml, NumbersAreTheSameInEveryLocale) {
  const std::locale before = std::locale::global(std::locale(std::locale(), new GermanNumbers));
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8"}) {
    if (std::setlocale(LC_NUMERIC, name)) break;  // for C functions, where that locale is installed
  }
  const Config c = parse("x = 1234.5\ni = 1234567\n");
  EXPECT_EQ(to_toml(c), "x = 1234.5\ni = 1234567\n");
  EXPECT_EQ(to_json(c), R"({"x":1234.5,"i":1234567})");
  std::setlocale(LC_NUMERIC, "C");
  std::locale::global(before);
}

class TomlFile : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
    return dir_ + "/" + name;
  }
  std::string dir_ = testing::TempDir() + "etude config \u00fc " + std::to_string(getpid());
};

TEST_F(TomlFile, ReadsAndNamesThePathAsGiven) {
  const std::string path = write("a.toml", "x = 1\n");
  EXPECT_EQ(read_toml(path).find("x")->origin.text(), path + ":1:1");
  EXPECT_EQ(to_toml(read_toml(write("empty.toml", ""))), "");
  EXPECT_EQ(to_toml(read_toml(write("bom.toml", "\xEF\xBB\xBFx = 1\r\n"))), "x = 1\n");
}

TEST_F(TomlFile, RefusesWhatIsNoFile) {
  const std::string fifo = dir_ + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string circle = dir_ + "/circle";
  std::filesystem::create_symlink("circle", circle);
  const std::string large = write("large.toml", "");
  std::filesystem::resize_file(large, (uintmax_t{16} << 20) + 1);
  for (const std::string& path : {dir_ + "/absent.toml", dir_, fifo, circle, large, std::string("/dev/zero")}) {
    const Error error = caught([&] { read_toml(path); });
    EXPECT_EQ(error.code(), Code::config) << path;
    EXPECT_NE(error.message().find(path), std::string::npos) << error.what();
    EXPECT_FALSE(error.hint().empty()) << path;
  }
}

TEST(Config, EqualityForgetsOrderAndOriginButNotType) {
  EXPECT_EQ(parse("a = 1\nb = 2"), parse_toml("b = 2\n\n\na = 1", "other.toml"));
  EXPECT_FALSE(parse("a = 1") == parse("a = 1.0"));
  EXPECT_FALSE(parse("a = 1") == parse("a = 1\nb = 1"));
  EXPECT_FALSE(parse("a = [1, 2]") == parse("a = [2, 1]"));
  EXPECT_FALSE(Config(0.0) == Config(-0.0));
  EXPECT_TRUE(Config(std::nan("")) == Config(std::nan("")));
  EXPECT_EQ(to_sorted_json(parse("a = {x = 1, y = 2}\nb = 2")), to_sorted_json(parse("b = 2\na = {y = 2, x = 1}")));
}

TEST(Config, SetsFindsAndErases) {
  Config c;
  EXPECT_EQ(c.find("a"), nullptr);
  c.set("a", 1);
  c.set("b", 2);
  c.set("a", 3);
  EXPECT_EQ(to_toml(c), "a = 3\nb = 2\n");
  c.erase("a");
  c.erase("zzz");
  EXPECT_EQ(to_toml(c), "b = 2\n");
}

TEST(Config, PathsReachIntoTablesAndLists) {
  Config c = parse("[[p]]\nx = 1\n[t]\n\"a.b\" = 2\n");
  EXPECT_EQ(c.find_path("p.0.x")->as_int(), 1);
  EXPECT_EQ(c.find_path("t.\"a.b\"")->as_int(), 2);
  for (const char* absent : {"p.1", "p.x", "p.0.x.y", "q", "t.a.b"}) EXPECT_EQ(c.find_path(absent), nullptr) << absent;
  c.at_path("new.deep.key") = Config(5);
  c.at_path("p.1.x") = Config(6);
  c.at_path("t.'a.b'") = Config(7);
  EXPECT_EQ(to_json(c), R"({"p":[{"x":1},{"x":6}],"t":{"a.b":7},"new":{"deep":{"key":5}}})");
}

TEST(Config, PathsRefuseWhatIsInTheWay) {
  Config c = parse("n = 1\nl = [1]\n");
  struct Case {
    const char *path, *why;
  };
  for (const auto& [path, why] :
       {Case{"n.x", "'n' is 1 (integer)"}, Case{"l.2", "'2' is no place in list 'l' of 1"},
        Case{"l.x", "'x' is no place"}, Case{"a..b", "a key is empty"}, Case{"", "a key is empty"},
        Case{"a.\"b", "not closed"}, Case{"\"a\"b", "ends within a key"}}) {
    const Error error = caught([&, p = path] { c.at_path(p); });
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_NE(error.message().find(why), std::string::npos) << error.what();
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Config, MergesTablesKeyByKey) {
  Config c = parse("a = 1\nl = [1, 2]\n[t]\nx = 1\ny = 2\n");
  c.merge(parse("l = [3]\nb = 2\nt = {y = 5}\n"));
  EXPECT_EQ(to_json(c), R"({"a":1,"l":[3],"t":{"x":1,"y":5},"b":2})");
  c.merge(parse("t = 1"));
  EXPECT_EQ(c.find("t")->as_int(), 1);
  Config self = parse("t = {t = {a = 1}}");
  self.merge(*self.find("t"));
  EXPECT_EQ(to_json(self), R"({"t":{"t":{"a":1},"a":1}})");
  Config replaced = parse("t = 'a string that is too long to be kept in place'");
  replaced.merge(*replaced.find("t"));
  EXPECT_EQ(replaced.as_string(), "a string that is too long to be kept in place");
}

TEST(Config, MergeReplacesAnotherKind) {
  Config c = parse("mask = {kind = 'span', length = 3}");
  c.merge(parse("mask = {length = 4}"));
  EXPECT_EQ(to_json(c), R"({"mask":{"kind":"span","length":4}})");
  c.merge(parse("mask = {kind = 'block', size = 2}"));
  EXPECT_EQ(to_json(c), R"({"mask":{"kind":"block","size":2}})");
}

TEST(Config, MergeKeepsTheOriginOfWhatWon) {
  Config c = parse_toml("a = 1\nb = 1", "base.toml");
  c.merge(parse_toml("\nb = 2", "over.toml"));
  EXPECT_EQ(c.find("a")->origin.text(), "base.toml:1:1");
  EXPECT_EQ(c.find("b")->origin.text(), "over.toml:2:1");
}

TEST(Override, TakesTomlOrPlainText) {
  const std::pair<const char*, const char*> cases[] = {
      {"a=1", R"({"a":1})"},
      {"a=1e-3", R"({"a":0.001})"},
      {"a=true", R"({"a":true})"},
      {"a=hello", R"({"a":"hello"})"},
      {"a=", R"({"a":""})"},
      {"a=x=y", R"({"a":"x=y"})"},
      {"a=2024-05-01", R"({"a":"2024-05-01"})"},
      {"a=1\nb=2", R"({"a":"1\nb=2"})"},
      {"a=cosine(3e-3 -> 0)", R"_({"a":"cosine(3e-3 -> 0)"})_"},
      {"a=50%", R"({"a":"50%"})"},
      {"a=[0.9, 0.99]", R"({"a":[0.9,0.99]})"},
      {"a.b.c={d = 1}", R"({"a":{"b":{"c":{"d":1}}}})"},
      {"a.\"b.c\"=1", R"({"a":{"b.c":1}})"},
      {" a = 1", R"({"a":1})"},
  };
  for (const auto& [text, json] : cases) {
    Config c = Config::table();
    apply_override(c, text);
    EXPECT_EQ(to_json(c), json) << text;
    EXPECT_EQ(c.find("a")->origin.text(), c.find("a")->is_table() ? "" : "command line");
  }
}

TEST(Override, ChangesAPartThatWasAWord) {
  Config c = parse("mask = 'span'");
  apply_override(c, "mask.length=3");
  EXPECT_EQ(to_json(c), R"({"mask":{"kind":"span","length":3}})");
}

TEST(Override, RefusesAndChangesNothing) {
  Config c = parse("n = 1\n");
  for (const char* bad : {"novalue", "=3", " =3", "n.x=1", "a..b=1", "p=f\xFCr"}) {
    const Error error = caught([&] { apply_override(c, bad); });
    EXPECT_EQ(error.code(), Code::usage) << bad;
    EXPECT_NE(error.message().find(bad), std::string::npos) << error.what();
    EXPECT_FALSE(error.hint().empty()) << bad;
  }
  EXPECT_EQ(to_json(c), R"({"n":1})");
}

std::string shown(const std::vector<Change>& changes) {
  std::string out;
  for (const auto& [key, before, after] : changes) {
    out.append(key).append(": ").append(before).append(" -> ").append(after).append("\n");
  }
  return out;
}

TEST(Difference, ListsLeaves) {
  const Config a =
      parse("x = 1\nbetas = [0.9, 0.99]\nold = {p = 1, q = 2}\n[t]\nsame = 1\ny = 'a'\n[[s]]\nn = 1\n[[s]]\nn = 2\n");
  const Config b = parse(
      "x = 1.0\nbetas = [0.9, 0.95]\nfresh = {}\n[t]\nsame = 1\ny = 'b'\n[[s]]\nn = 1\n[[s]]\nn = 3\n[[s]]\nn = 4\n");
  EXPECT_EQ(shown(difference(a, b)),
            "x: 1 -> 1.0\n"
            "betas: [0.9, 0.99] -> [0.9, 0.95]\n"
            "old.p: 1 -> (absent)\n"
            "old.q: 2 -> (absent)\n"
            "t.y: \"a\" -> \"b\"\n"
            "s.1.n: 2 -> 3\n"
            "s.2.n: (absent) -> 4\n"
            "fresh: (absent) -> {}\n");
  EXPECT_TRUE(difference(a, a).empty());
  EXPECT_EQ(shown(difference(parse("a = {b = 1}"), parse("a = 2"))), "a: {b = 1} -> 2\n");
  EXPECT_EQ(shown(difference(parse("\"a.b\" = 1"), parse(""))), "\"a.b\": 1 -> (absent)\n");
}

TEST(Origin, HasAText) {
  EXPECT_EQ(Origin{}.text(), "");
  EXPECT_EQ((Origin{Origin::Kind::fallback, "", 0, 0}).text(), "default");
  EXPECT_EQ((Origin{Origin::Kind::file, "a.toml", 12, 1}).text(), "a.toml:12:1");
  EXPECT_EQ((Origin{Origin::Kind::file, "a.toml", 0, 0}).text(), "a.toml");
}

}  // namespace
}  // namespace etude::config_test
