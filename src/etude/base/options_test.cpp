#include "etude/base/options.h"

#include <gtest/gtest.h>

namespace etude::options_test {
namespace {

struct SpanMask {
  static constexpr const char* kName = "span";
  int64_t length = 3;
  template <class V>
  void fields(V& v) {
    v("length", length, at_least(1), "tokens of a span");
  }
};
struct BlockMask {
  static constexpr const char* kName = "block";
  double share = 0.5;
  std::optional<double> jitter = 0.25;
  template <class V>
  void fields(V& v) {
    v("share", share, half_open(0, 1), "share of the tokens");
    v("jitter", jitter, at_least(0), "of the share");
  }
};
using Mask = Kind<SpanMask, BlockMask>;

struct Inner {
  int depth = 2;
  std::string norm = "rms";
  template <class V>
  void fields(V& v) {
    v("depth", depth, at_least(1), "layers");
    v("norm", norm, one_of({"rms", "layer"}), "normalisation");
  }
};

struct Outer {
  bool tied = true;
  int64_t every = 50;
  double beta = 0.7;
  std::string name = "plain";
  Schedule lr = 3e-3;
  Count stop{400};
  std::optional<double> gamma;
  std::optional<double> clip = 1.0;
  std::optional<std::string> note;
  Part objective;
  Part reward{Config::table()};
  Mask mask;
  Inner inner;
  std::optional<Inner> teacher;
  std::vector<double> betas{0.9, 0.99};
  std::vector<bool> flags;
  std::vector<std::string> words;
  std::vector<Schedule> rates;
  std::vector<Inner> layers;
  std::vector<Mask> masks;

  Outer() { reward.config.set("kind", "match"); }
  template <class V>
  void fields(V& v) {
    v("tied", tied, "tie the embedding");
    v("every", every, at_least(1), "inner steps between outer steps (section 3)");
    v("beta", beta, within(0, 2), "outer learning rate");
    v("name", name, "what it is called");
    v("lr", lr, positive(), "learning rate");
    v("stop", stop, at_least(1), "when to stop");
    v("gamma", gamma, at_least(0), "pull towards the mean");
    v("clip", clip, positive(), "largest norm");
    v("note", note, "anything");
    v("objective", objective, "what is learned");
    v("reward", reward, "what is rewarded");
    v("mask", mask, "what is hidden");
    v("inner", inner, "the net");
    v("teacher", teacher, "a second net");
    v("betas", betas, half_open(0, 1), "of Adam");
    v("flags", flags, "switches");
    v("words", words, one_of({"a", "b"}), "letters");
    v("rates", rates, at_least(0), "one for each");
    v("layers", layers, "one table for each");
    v("masks", masks, "several");
  }
};

Outer read(std::string_view toml, const std::string& where = "technique noloco") {
  Outer out;
  read_options(parse_toml(toml, "my.toml"), out, where);
  return out;
}

Error refused(std::string_view toml) {
  try {
    read(toml);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "accepted: " << toml;
  return {Code::internal, ""};
}

TEST(Range, ContainsItsClosedEnds) {
  EXPECT_TRUE(any().contains(-1e300));
  EXPECT_FALSE(any().contains(std::nan("")));
  EXPECT_TRUE(at_least(1).contains(1));
  EXPECT_FALSE(at_least(1).contains(0.999));
  EXPECT_FALSE(positive().contains(0));
  EXPECT_TRUE(positive().contains(5e-324));
  EXPECT_TRUE(within(0, 1).contains(1));
  EXPECT_FALSE(half_open(0, 1).contains(1));
  EXPECT_TRUE(half_open(0, 1).contains(0));
  EXPECT_EQ(any().text(), "");
  EXPECT_EQ(at_least(1).text(), ">= 1");
  EXPECT_EQ(positive().text(), "> 0");
  EXPECT_EQ(within(-1, 1).text(), "in [-1, 1]");
  EXPECT_EQ(half_open(0, 0.5).text(), "in [0, 0.5)");
  EXPECT_EQ((Range{.high = 3}).text(), "<= 3");
}

TEST(Options, ReadsEveryType) {
  const Outer o = read(R"_(
tied = false
every = 7
beta = 1
name = "long"
lr = "cosine(3e-3 -> 3e-4)"
stop = "2 epochs"
gamma = 0.5
note = "none of it"
objective = {kind = "clm", weight = 2}
mask = {kind = "block", share = 0.25}
inner = {depth = 5}
teacher = {norm = "layer"}
betas = [0.8, 0]
flags = [true, false]
words = ["b", "a", "b"]
rates = [0.1, "linear(1 -> 0)"]
layers = [{depth = 1}, {norm = "layer"}]
masks = ["block", {kind = "span", length = 9}]
)_");
  EXPECT_FALSE(o.tied);
  EXPECT_EQ(o.every, 7);
  EXPECT_EQ(o.beta, 1.0);
  EXPECT_EQ(o.lr.text(), "cosine(0.003 -> 0.0003)");
  EXPECT_EQ(o.stop, (Count{2, Unit::epochs}));
  EXPECT_EQ(o.gamma, 0.5);
  EXPECT_EQ(o.clip, 1.0);
  EXPECT_EQ(o.note, "none of it");
  EXPECT_EQ(o.objective.kind(), "clm");
  EXPECT_EQ(o.objective.config.find("weight")->as_int(), 2);
  EXPECT_EQ(o.reward.kind(), "match");
  ASSERT_TRUE(o.mask.is<BlockMask>());
  EXPECT_EQ(o.mask.get<BlockMask>()->share, 0.25);
  EXPECT_EQ(o.mask.get<SpanMask>(), nullptr);
  EXPECT_EQ(o.inner.depth, 5);
  EXPECT_EQ(o.inner.norm, "rms");
  ASSERT_TRUE(o.teacher);
  EXPECT_EQ(o.teacher->norm, "layer");
  EXPECT_EQ(o.betas, (std::vector<double>{0.8, 0}));
  EXPECT_EQ(o.flags, (std::vector<bool>{true, false}));
  EXPECT_EQ(o.words.size(), 3u);
  EXPECT_EQ(o.rates[1].text(), "linear(1 -> 0)");
  EXPECT_EQ(o.layers[0].depth, 1);
  EXPECT_EQ(o.layers[1].norm, "layer");
  EXPECT_EQ(o.masks[0].name(), "block");
  EXPECT_EQ(o.masks[1].get<SpanMask>()->length, 9);
}

TEST(Options, KeepsWhatTheTableDoesNotSay) {
  Outer o;
  o.every = 9;
  o.mask = BlockMask{.share = 0.125};
  read_options(parse_toml("beta = 0.5\nmask = {jitter = 1}", ""), o);
  EXPECT_EQ(o.every, 9);
  EXPECT_EQ(o.beta, 0.5);
  EXPECT_EQ(o.mask.get<BlockMask>()->share, 0.125);
  EXPECT_EQ(o.mask.get<BlockMask>()->jitter, 1);
  read_options(Config(), o);
  EXPECT_EQ(o.every, 9);
}

TEST(Options, NamingAKindStartsFromItsDefaults) {
  Outer o;
  o.mask = BlockMask{.share = 0.125};
  read_options(parse_toml("mask = 'block'", ""), o);
  EXPECT_EQ(o.mask.get<BlockMask>()->share, 0.5);
}

TEST(Options, ErrorChangesNothing) {
  Outer o;
  EXPECT_THROW(read_options(parse_toml("every = 7\nbeta = 3", ""), o), Error);
  EXPECT_EQ(o.every, 50);
}

TEST(Options, NoneUnsets) {
  const Outer o = read("clip = 'none'");
  EXPECT_FALSE(o.clip);
}

TEST(Options, APartWithoutKindTakesItsDefault) {
  const Outer o = read("reward = {weight = 2}");
  EXPECT_EQ(to_json(o.reward.config), R"({"kind":"match","weight":2})");
  EXPECT_EQ(to_json(read("reward = {kind = 'length'}").reward.config), R"({"kind":"length"})");
  EXPECT_EQ(to_json(read("reward = 'length'").reward.config), R"({"kind":"length"})");
}

TEST(Options, KindOfThePartItselfIsSkipped) {
  Inner inner;
  read_options(parse_toml("kind = 'decoder'\ndepth = 4", ""), inner, "net decoder");
  EXPECT_EQ(inner.depth, 4);
}

TEST(Options, RefusalsHaveValuePlaceRangeAndHint) {
  struct Case {
    const char *toml, *message, *where, *hint;
  };
  const Case cases[] = {
      {"evry = 3", "unknown key 'evry' of technique noloco", "my.toml:1:1", "did you mean 'every'?"},
      {"zzz = 3", "unknown key 'zzz'", "my.toml:1:1", "the keys here are 'tied', 'every'"},
      {"inner = {dept = 3}", "unknown key 'inner.dept'", "my.toml:1:10", "did you mean 'depth'?"},
      {"mask = {lenght = 3}", "unknown key 'mask.lenght'", "my.toml:1:9", "did you mean 'length'?"},
      {"mask = {knd = 'block'}", "unknown key 'mask.knd'", "my.toml:1:9", "did you mean 'kind'?"},
      {"\n[[layers]]\n[[layers]]\n  width = 3", "unknown key 'layers.1.width'", "my.toml:4:3", ""},
      {"every = 0", "option 'every' of technique noloco is 0, but must be >= 1", "my.toml:1:1",
       "inner steps between outer steps (section 3)"},
      {"every = 4.0", "'every' of technique noloco is 4.0 (number), but must be an integer", "my.toml:1:1",
       "write 4 without"},
      {"every = 1e3", "is 1000.0 (number), but must be an integer", "", "write 1000 without"},
      {"every = 2.5", "is 2.5 (number), but must be an integer", "", ""},
      {"every = '50'", "is \"50\" (string), but must be an integer", "", "without quotes"},
      {"every = '99999999999999999999'", "must be an integer", "", "go up to 9223372036854775807"},
      {"every = true", "is true (boolean), but must be an integer", "", ""},
      {"every = [1]", "is [1] (list), but must be an integer", "", ""},
      {"inner.depth = 3000000000", "is 3000000000, but must be in [-2147483648, 2147483647]", "", "layers"},
      {"beta = 2.5", "is 2.5, but must be in [0, 2]", "my.toml:1:1", "outer learning rate"},
      {"beta = nan", "is nan, but must be finite and in [0, 2]", "", ""},
      {"beta = inf", "is inf, but must be finite", "", ""},
      {"gamma = 9007199254740993", "is 9007199254740993, an integer that a double can't hold", "", ""},
      {"beta = '1e999'", "must be a number", "", "a number goes up to 1.8e308"},
      {"tied = 1", "is 1 (integer), but must be true or false", "", ""},
      {"name = 5", "is 5 (integer), but must be a string", "", "quotes"},
      {"lr = 0", "is 0, but must be > 0", "", ""},
      {"lr = nan", "is nan, but must be finite and > 0", "", ""},
      {"lr = 'cosin(1 -> 0)'", "option 'lr' of technique noloco: schedule 'cosin(1 -> 0)'", "my.toml:1:1", "'cosine'"},
      {"lr = 'linear(1 -> -1)'", "takes the value -1, but must be > 0 throughout", "my.toml:1:1", ""},
      {"lr = 'linear(0 -> 1)'", "takes the value 0, but must be > 0 throughout", "", ""},
      {"lr = true", "must be a number or a schedule", "", "cosine"},
      {"stop = '5 stps'", "option 'stop' of technique noloco: '5 stps' is no count", "my.toml:1:1", "'steps'"},
      {"stop = 0", "is 0, but must be >= 1", "", ""},
      {"stop = '0 epochs'", "is \"0 epochs\", but must be >= 1", "", ""},
      {"stop = 1.5", "is 1.5 (number), but must be an integer", "", ""},
      {"stop = true", "must be a count", "", "1.5M tokens"},
      {"gamma = -1", "is -1, but must be >= 0", "", ""},
      {"clip = 'nine'", "is \"nine\" (string), but must be a number", "", ""},
      {"objective = {weight = 1}", "option 'objective' of technique noloco has no 'kind'", "my.toml:1:1", "{kind = "},
      {"objective = {knd = 'clm'}", "has no 'kind'", "", "is 'knd' meant to be 'kind'?"},
      {"objective = {kind = 5}", "option 'objective.kind' of technique noloco is 5", "", ""},
      {"objective = ''", "'objective.kind' of technique noloco is empty", "", ""},
      {"objective = 5", "must be a table with a 'kind'", "", ""},
      {"mask = 'blok'", "option 'mask.kind' of technique noloco is \"blok\", but must be one of 'span', 'block'",
       "my.toml:1:1", "did you mean 'block'?"},
      {"mask = {kind = 'block', length = 3}", "unknown key 'mask.length'", "my.toml:1:25", ""},
      {"mask = {kind = 'block', share = 1}", "'mask.share' of technique noloco is 1, but must be in [0, 1)", "", ""},
      {"inner = 'big'", "is \"big\" (string), but must be a table", "", ""},
      {"inner.norm = 'rns'", "is \"rns\", but must be one of 'rms', 'layer'", "my.toml:1:", "did you mean 'rms'?"},
      {"betas = 0.9", "must be a list", "", ""},
      {"betas = [0.9,\n  1]", "option 'betas.1' of technique noloco is 1, but must be in [0, 1)", "my.toml:2:3",
       "of Adam"},
      {"words = ['a', 'c']", "option 'words.1'", "", ""},
      {"rates = [1, 'linear(1 -> -1)']", "option 'rates.1'", "", ""},
      {"layers = [{}, {depth = 0}]", "option 'layers.1.depth' of technique noloco is 0", "my.toml:1:16", ""},
      {"masks = ['span', 'spam']", "option 'masks.1.kind'", "", "'span'"},
      {"teacher = {depth = 0}", "option 'teacher.depth'", "", ""},
  };
  for (const auto& [toml, message, where, hint] : cases) {
    const Error error = refused(toml);
    EXPECT_EQ(error.code(), Code::config) << toml;
    EXPECT_NE(error.message().find(message), std::string::npos) << error.what();
    EXPECT_EQ(error.where().rfind(where, 0), 0u) << error.what();
    EXPECT_FALSE(error.where().empty()) << error.what();
    EXPECT_NE(error.hint().find(hint), std::string::npos) << error.what();
    EXPECT_FALSE(error.hint().empty()) << error.what();
  }
}

TEST(Options, APlaceOnTheCommandLineIsNamed) {
  Config c = parse_toml("every = 3", "my.toml");
  apply_override(c, "beta=7");
  Outer o;
  try {
    read_options(c, o);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "option 'beta' is 7, but must be in [0, 2]");
    EXPECT_EQ(error.where(), "command line");
  }
}

TEST(Options, AScheduleMayApproachAnOpenEnd) {
  EXPECT_EQ(read("lr = 'warmup(40, cosine(3e-3 -> 0))'").lr.text(), "warmup(40, cosine(0.003 -> 0))");
  EXPECT_EQ(read("lr = 'warmup(10%, 1)'").lr.text(), "warmup(10%, 1)");
}

/// Every field away from its default, in several ways.
std::vector<Outer> variants() {
  std::vector<Outer> out(5);
  out[1].tied = false;
  out[1].every = INT64_MAX;
  out[1].beta = 0.1 + 0.2;
  out[1].name = "q\"\\\n\u00fc";
  out[1].lr = Schedule::parse("warmup(10%, cosine(1e-3 -> 1e-5))");
  out[1].stop = Count::parse("1.5M tokens");
  out[1].gamma = 1e-300;
  out[1].clip.reset();
  out[1].note = "";
  out[1].objective.config.set("kind", "clm");
  out[1].objective.config.set("deep", parse_toml("a = [1, {b = 2.0}]", ""));
  out[2].mask = BlockMask{.share = 0, .jitter = {}};
  out[2].teacher = Inner{.depth = 9, .norm = "layer"};
  out[2].betas.clear();
  out[2].flags = {true, false, true};
  out[2].words = {"a"};
  out[2].rates = {1.0, Schedule::parse("linear(1 -> 0)")};
  out[3].layers = {Inner{}, Inner{.depth = 7, .norm = "layer"}};
  out[3].masks = {BlockMask{.share = 0.1, .jitter = {}}, SpanMask{.length = 2}, BlockMask{}};
  out[3].reward.config = Config::table();
  out[3].reward.config.set("kind", "other");
  out[4].inner = {.depth = 1, .norm = "layer"};
  out[4].mask = SpanMask{.length = 11};
  out[4].note = "text";
  return out;
}

TEST(Options, WritingAndReadingIsTheIdentity) {
  for (const Outer& o : variants()) {
    const Config written = write_options(o);
    Outer back;
    read_options(parse_toml(to_toml(written), "resolved.toml"), back);
    EXPECT_EQ(to_toml(write_options(back)), to_toml(written));
    EXPECT_TRUE(same_options(back, o));
    EXPECT_EQ(back.clip, o.clip);
    EXPECT_EQ(back.gamma, o.gamma);
    EXPECT_EQ(back.note, o.note);
    EXPECT_EQ(back.every, o.every);
    EXPECT_EQ(back.lr, o.lr);
    EXPECT_EQ(back.stop, o.stop);
    EXPECT_EQ(back.objective, o.objective);
    EXPECT_EQ(back.betas, o.betas);
    EXPECT_EQ(back.flags, o.flags);
    EXPECT_EQ(back.mask.name(), o.mask.name());
    EXPECT_EQ(back.teacher.has_value(), o.teacher.has_value());
    EXPECT_EQ(back.layers.size(), o.layers.size());
    if (const auto* block = o.mask.get<BlockMask>()) {
      EXPECT_EQ(back.mask.get<BlockMask>()->jitter, block->jitter);
    }
  }
}

TEST(Options, TheVariantsDiffer) {
  const std::vector<Outer> all = variants();
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < all.size(); ++j) EXPECT_EQ(same_options(all[i], all[j]), i == j);
  }
}

TEST(Options, WritesDefaultsInTheOrderOfDeclaration) {
  Outer o;
  o.objective.config.set("kind", "clm");
  EXPECT_EQ(to_toml(write_options(o)), R"(tied = true
every = 50
beta = 0.7
name = "plain"
lr = 0.003
stop = "400 steps"
clip = 1.0
objective = {kind = "clm"}
reward = {kind = "match"}
mask = {kind = "span", length = 3}
inner = {depth = 2, norm = "rms"}
betas = [0.9, 0.99]
flags = []
words = []
rates = []
layers = []
masks = []
)");
}

TEST(Options, UnsetIsAbsentUnlessTheDefaultIsSet) {
  Outer o;
  o.clip.reset();
  o.mask = BlockMask{.jitter = {}};
  const Config c = write_options(o);
  EXPECT_EQ(c.find("gamma"), nullptr);
  EXPECT_EQ(c.find("note"), nullptr);
  EXPECT_EQ(c.find("objective"), nullptr);
  EXPECT_EQ(c.find("clip")->as_string(), "none");
  EXPECT_EQ(c.find_path("mask.jitter")->as_string(), "none");
}

TEST(Options, DescribesEveryField) {
  std::string rows;
  for (const OptionInfo& r : describe_options<Outer>()) {
    rows += r.key + " | " + r.type + " | " + r.fallback + " | " + r.range + " | " + r.help +
            (r.when.empty() ? "" : " | " + r.when) + "\n";
  }
  EXPECT_EQ(rows, R"_(tied | boolean | true |  | tie the embedding
every | integer | 50 | >= 1 | inner steps between outer steps (section 3)
beta | number | 0.7 | in [0, 2] | outer learning rate
name | string | "plain" |  | what it is called
lr | schedule | 0.003 | > 0 | learning rate
stop | count | "400 steps" | >= 1 | when to stop
gamma | number |  | >= 0 | pull towards the mean
clip | number | 1.0 | > 0 | largest norm
note | string |  |  | anything
objective | part |  |  | what is learned
reward | part | {kind = "match"} |  | what is rewarded
mask | kind | span | one of 'span', 'block' | what is hidden
mask.length | integer | 3 | >= 1 | tokens of a span | mask.kind = "span"
mask.share | number | 0.5 | in [0, 1) | share of the tokens | mask.kind = "block"
mask.jitter | number | 0.25 | >= 0 | of the share | mask.kind = "block"
inner | table |  |  | the net
inner.depth | integer | 2 | >= 1 | layers
inner.norm | string | "rms" | one of 'rms', 'layer' | normalisation
teacher | table |  |  | a second net
teacher.depth | integer | 2 | >= 1 | layers
teacher.norm | string | "rms" | one of 'rms', 'layer' | normalisation
betas | list of number | [0.9, 0.99] | in [0, 1) | of Adam
flags | list of boolean | [] |  | switches
words | list of string | [] | one of 'a', 'b' | letters
rates | list of schedule | [] | >= 0 | one for each
layers | list of table | [] |  | one table for each
layers.*.depth | integer | 2 | >= 1 | layers
layers.*.norm | string | "rms" | one of 'rms', 'layer' | normalisation
masks | list of kind | [] |  | several
masks.*.length | integer | 3 | >= 1 | tokens of a span | masks.*.kind = "span"
masks.*.share | number | 0.5 | in [0, 1) | share of the tokens | masks.*.kind = "block"
masks.*.jitter | number | 0.25 | >= 0 | of the share | masks.*.kind = "block"
)_");
}

TEST(Part, NeedsAKind) {
  Part part;
  EXPECT_THROW(part.kind(), Error);
  part.config.set("kind", 3);
  EXPECT_THROW(part.kind(), Error);
}

TEST(Kind, ChoosesByName) {
  Mask mask;
  EXPECT_EQ(mask.name(), "span");
  mask.choose("block");
  EXPECT_TRUE(mask.is<BlockMask>());
  EXPECT_EQ(Mask::kinds(), (std::vector<std::string>{"span", "block"}));
  EXPECT_THROW(mask.choose("other"), Error);
}

}  // namespace
}  // namespace etude::options_test
