// S slots, T tokens, V vocabulary.

#include "etude/rl/generation.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "etude/base/rng.h"
#include "etude/nn/decoder.h"
#include "etude/nn/testing.h"

namespace etude {
namespace {

constexpr int64_t kLongest = 48;

/// Untrained, with weights large enough for logits that are far apart.
std::shared_ptr<Decoder> writer(uint64_t seed = 3, double deviation = 0.4) {
  DecoderOptions options;
  options.dim = 16;
  options.heads = 4;
  options.kv_heads = 2;
  options.length = kLongest;
  options.init_std = deviation;
  auto net = make_decoder(options);
  net->initialise(seed);
  return net;
}

/// The same net, read anew for each token.
class Uncached : public LanguageModel {
 public:
  explicit Uncached(std::shared_ptr<LanguageModel> net) : net_(std::move(net)) {}
  Tensor logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) override {
    return net_->logits(ids_BT, position_BT, segment_BT, ctx);
  }
  int64_t vocabulary() const override { return net_->vocabulary(); }
  int64_t longest() const override { return net_->longest(); }
  void initialise(uint64_t) override {}

 private:
  std::shared_ptr<LanguageModel> net_;
};

std::vector<int64_t> prompt_of(const std::string& text) {
  const auto ids = byte_tokenizer()->encode(text);
  return {ids.begin(), ids.end()};
}

/// Log-probabilities of what follows these tokens, by one forward of all of them.
std::vector<double> log_probabilities(LanguageModel& net, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  Ctx ctx;
  const Tensor logits_TV = net.logits(torch::tensor(ids, at::kLong).unsqueeze(0), {}, {}, ctx)[0];
  const Tensor log_V = logits_TV[-1].to(at::kDouble).log_softmax(0).contiguous();
  return {log_V.const_data_ptr<double>(), log_V.const_data_ptr<double>() + log_V.numel()};
}

std::vector<Result> generate(LanguageModel& net, const std::vector<Request>& requests, int64_t slots = 4,
                             const Generator::Listener& listener = {}) {
  const auto bytes = byte_tokenizer();
  Generator generator(net, *bytes, slots);
  for (const Request& request : requests) generator.submit(request);
  return generator.run(listener);
}

Request sampled(const std::string& prompt, int64_t number, int64_t tokens = 30) {
  Request request{prompt_of(prompt), {}, number};
  request.sampling.tokens = tokens;
  request.sampling.log_probabilities = true;
  request.sampling.document_end = false;
  return request;
}

Request greedy(const std::string& prompt, int64_t tokens = 30) {
  Request request = sampled(prompt, 0, tokens);
  request.sampling.temperature = 0;
  return request;
}

void expect_same(const Result& a, const Result& b, const std::string& what) {
  EXPECT_EQ(a.ids, b.ids) << what;
  EXPECT_EQ(a.text, b.text) << what;
  ASSERT_EQ(a.log_probabilities.size(), b.log_probabilities.size()) << what;
  for (size_t i = 0; i < a.log_probabilities.size(); ++i)
    EXPECT_NEAR(a.log_probabilities[i], b.log_probabilities[i], 1e-5) << what << " token " << i;
}

/// What a request must give, token by token, each by a forward of all that the net may see.
Result by_hand(LanguageModel& net, const Request& request) {
  Result result;
  std::vector<int64_t> window = request.prompt;
  for (int64_t i = 0; i < request.sampling.tokens; ++i) {
    if (static_cast<int64_t>(window.size()) > net.longest()) window.erase(window.begin(), window.end() - kLongest / 2);
    const std::vector<double> log_V = log_probabilities(net, window);
    std::vector<double> left_V = log_V;
    int64_t id = likeliest(log_V);
    if (request.sampling.temperature > 0) {
      filter(left_V, request.sampling);
      const Key key{static_cast<uint64_t>(request.sampling.seed), Purpose::sample, i, request.number};
      id = draw(left_V, Rng(key).uniform());
    }
    window.push_back(id);
    result.ids.push_back(id);
    result.log_probabilities.push_back(log_V[static_cast<size_t>(id)]);
  }
  result.text = byte_tokenizer()->decode(result.ids);
  return result;
}

TEST(Generation, IsWhatTheNetSaysTokenByToken) {
  const auto net = writer();
  Request filtered = sampled("of many", 4);
  filtered.sampling.temperature = 1.4;
  filtered.sampling.top_k = 9;
  filtered.sampling.top_p = 0.9;
  filtered.sampling.min_p = 0.02;
  filtered.sampling.seed = 8;
  for (const Request& request : {greedy("one"), sampled("other", 2), filtered}) {
    const auto results = generate(*net, {request}, 1);
    ASSERT_EQ(results.size(), 1u);
    expect_same(results.front(), by_hand(*net, request), "request " + std::to_string(request.number));
    EXPECT_EQ(results.front().ending, Ending::length);
    EXPECT_EQ(results.front().slides, request.prompt.size() + 29 > kLongest ? 1 : 0);
  }
}

TEST(Generation, GoesOnFromTheLastHalfOfTheNetsLength) {
  const auto net = writer();
  Uncached uncached(net);
  const Request longer = sampled("a prompt", 1, 150);
  const Request full = greedy(std::string(static_cast<size_t>(kLongest), 'x'), 60);
  const Request beyond = greedy(std::string(200, 'y') + "z", 10);
  for (const Request& request : {longer, full, beyond}) {
    const Result expected = by_hand(*net, request);
    expect_same(generate(*net, {request}, 2).front(), expected, "with a cache");
    expect_same(generate(uncached, {request}, 2).front(), expected, "without");
  }
  EXPECT_EQ(generate(*net, {full}).front().slides, 3);  // with the 1st, the 26th and the 51st drawn token
}

TEST(Generation, NobodyNoticesWhoSharesTheBatch) {
  const auto net = writer();
  const Request request = sampled("the same request", 5, 70);
  const Result alone = generate(*net, {request}, 4).front();
  for (const size_t before : {0, 1, 2, 3, 6}) {
    for (const size_t after : {0, 5}) {
      std::vector<Request> all;
      for (size_t i = 0; i < before; ++i)
        all.push_back(sampled("neighbour " + std::string(3 * i, '.'), 100 + i, 5 + 17 * i));
      all.push_back(request);
      for (size_t i = 0; i < after; ++i) all.push_back(sampled("later", 200 + i, 40));
      const std::vector<Result> results = generate(*net, all, 4);
      ASSERT_EQ(results.size(), all.size());
      expect_same(results[before], alone, std::to_string(before) + " before, " + std::to_string(after) + " after");
    }
  }
  for (const int64_t slots : {1, 2, 7}) expect_same(generate(*net, {request}, slots).front(), alone, "other slots");
}

TEST(Generation, OrderAndCompanyOfManyRequestsDoNotMatter) {
  const auto net = writer();
  std::vector<Request> requests;
  for (int64_t i = 0; i < 9; ++i) requests.push_back(sampled("request " + std::to_string(i), i, 3 + (i * 7) % 20));
  const std::vector<Result> forwards = generate(*net, requests, 3);
  std::reverse(requests.begin(), requests.end());
  std::vector<Result> backwards = generate(*net, requests, 3);
  std::reverse(backwards.begin(), backwards.end());
  for (size_t i = 0; i < forwards.size(); ++i) {
    EXPECT_EQ(forwards[i].ticket, static_cast<int64_t>(i));
    expect_same(backwards[i], forwards[i], "request " + std::to_string(i));
  }
  EXPECT_NE(forwards[0].ids, generate(*net, {sampled("request 0", 77, 3)}, 3).front().ids);
}

TEST(Generation, SlotsAreRefilledAtOnce) {
  const auto net = writer();
  std::vector<int64_t> begun;
  std::map<int64_t, int64_t> drawn;
  std::vector<int64_t> when_third_began;
  const auto listener = [&](const Drawn& token) {
    if (++drawn[token.ticket] == 1) begun.push_back(token.ticket);
    if (token.ticket == 2 && drawn[2] == 1) when_third_began = {drawn[0], drawn[1]};
    return true;
  };
  const auto results =
      generate(*net, {sampled("long", 0, 20), sampled("short", 1, 4), sampled("third", 2, 3)}, 2, listener);
  EXPECT_EQ(begun, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(when_third_began, (std::vector<int64_t>{4, 4}));
  EXPECT_EQ(drawn, (std::map<int64_t, int64_t>{{0, 20}, {1, 4}, {2, 3}}));
  EXPECT_EQ(results.size(), 3u);
}

TEST(Generation, StreamedPiecesAreTheText) {
  const auto net = writer();
  std::map<int64_t, std::string> streamed;
  std::map<int64_t, std::vector<int64_t>> ids;
  const auto listener = [&](const Drawn& token) {
    streamed[token.ticket] += token.text;
    ids[token.ticket].push_back(token.id);
    return true;
  };
  Request stopped = sampled("b", 1, 60);
  stopped.sampling.stop = {generate(*net, {stopped}).front().text.substr(20, 3)};
  const auto results = generate(*net, {sampled("a", 0, 50), stopped}, 2, listener);
  for (const Result& result : results) {
    EXPECT_EQ(streamed[result.ticket], result.text);
    EXPECT_EQ(ids[result.ticket], result.ids);
  }
  EXPECT_EQ(results[1].ending, Ending::stop);
}

TEST(Generation, EndsForTheReasonItGives) {
  const auto net = writer();
  const Result plain = generate(*net, {sampled("text", 1, 40)}).front();
  ASSERT_EQ(plain.ids.size(), 40u);

  Request stop = sampled("text", 1, 40);
  stop.sampling.stop = {plain.text.substr(7, 4)};
  const Result stopped = generate(*net, {stop}).front();
  EXPECT_EQ(stopped.ending, Ending::stop);
  const size_t cut = plain.text.find(stop.sampling.stop.front());
  EXPECT_EQ(stopped.text, plain.text.substr(0, cut));
  EXPECT_EQ(stopped.ids, std::vector<int64_t>(plain.ids.begin(), plain.ids.begin() + static_cast<int64_t>(cut) + 4));

  Request end = sampled("text", 1, 40);
  end.sampling.end_ids = {plain.ids[11]};
  const Result ended = generate(*net, {end}).front();
  EXPECT_EQ(ended.ending, Ending::document_end);
  const auto first = std::find(plain.ids.begin(), plain.ids.end(), plain.ids[11]);
  EXPECT_EQ(ended.ids, std::vector<int64_t>(plain.ids.begin(), first + 1));
  EXPECT_EQ(ended.log_probabilities.size(), ended.ids.size());

  Request fixed = sampled("text", 1, 1000);
  fixed.sampling.slide = false;
  const Result room = generate(*net, {fixed}).front();
  EXPECT_EQ(room.ending, Ending::room);
  EXPECT_EQ(room.ids.size(), static_cast<size_t>(kLongest) - 4 + 1);  // the last one is drawn, and has no place itself
  EXPECT_EQ(room.slides, 0);

  Request none = sampled("text", 1, 0);
  none.sampling.prompt_log_probabilities = true;
  const Result scored = generate(*net, {none}).front();
  EXPECT_EQ(scored.ending, Ending::length);
  EXPECT_TRUE(scored.ids.empty());
  EXPECT_EQ(scored.prompt_log_probabilities.size(), 3u);
}

/// Says its one thing, then that the document ends.
class Parrot : public LanguageModel {
 public:
  Tensor logits(const Tensor& ids_BT, const Tensor&, const Tensor&, Ctx&) override {
    const Tensor next_BT = ids_BT.eq('a').to(at::kLong).mul('b' - 256).add(256);
    return at::one_hot(next_BT, 257).to(at::kFloat).mul(20);
  }
  int64_t vocabulary() const override { return 257; }
  int64_t longest() const override { return 8; }
  void initialise(uint64_t) override {}
};

TEST(Generation, TheEndOfADocumentEndsTheText) {
  Parrot parrot;
  const Result result = generate(parrot, {{prompt_of("a")}}).front();
  EXPECT_EQ(result.text, "b");
  EXPECT_EQ(result.ids, (std::vector<int64_t>{'b', 256}));
  EXPECT_EQ(result.ending, Ending::document_end);
  Request on{prompt_of("a")};
  on.sampling.document_end = false;
  on.sampling.tokens = 5;
  EXPECT_EQ(generate(parrot, {on}).front().ids, (std::vector<int64_t>{'b', 256, 256, 256, 256}));
}

TEST(Generation, AListenerEndsItAll) {
  const auto net = writer();
  int64_t heard = 0;
  const auto listener = [&](const Drawn&) { return ++heard < 7; };
  const auto bytes = byte_tokenizer();
  Generator generator(*net, *bytes, 2);
  for (int64_t i = 0; i < 4; ++i) generator.submit(sampled("x", i, 100));
  const std::vector<Result> results = generator.run(listener);
  EXPECT_EQ(heard, 7);
  EXPECT_TRUE(generator.idle());
  ASSERT_EQ(results.size(), 2u);
  size_t tokens = 0;
  for (const Result& result : results) {
    EXPECT_EQ(result.ending, Ending::interrupted);
    tokens += result.ids.size();
  }
  EXPECT_EQ(tokens, 7u);
  // And goes on with what comes next.
  generator.submit(sampled("text", 1, 12));
  expect_same(generator.run().front(), generate(*net, {sampled("text", 1, 12)}, 2).front(), "after an interruption");
}

TEST(Generation, LogProbabilitiesAreTheNetsOwn) {
  const auto net = writer(4, 0.2);
  Uncached uncached(net);
  Request request = sampled("some prompt here", 3, 12);
  request.sampling.temperature = 0.3;
  request.sampling.top_k = 3;
  request.sampling.prompt_log_probabilities = true;
  request.sampling.likeliest = 3;
  for (LanguageModel* model : {static_cast<LanguageModel*>(net.get()), static_cast<LanguageModel*>(&uncached)}) {
    const Result result = generate(*model, {request}).front();
    std::vector<int64_t> ids = {request.prompt.front()};
    ASSERT_EQ(result.prompt_log_probabilities.size(), request.prompt.size() - 1);
    for (size_t i = 1; i < request.prompt.size(); ++i) {
      EXPECT_NEAR(result.prompt_log_probabilities[i - 1],
                  log_probabilities(*net, ids)[static_cast<size_t>(request.prompt[i])], 1e-5);
      ids.push_back(request.prompt[i]);
    }
    ASSERT_EQ(result.likeliest.size(), 12u);
    for (size_t i = 0; i < result.ids.size(); ++i) {
      const std::vector<double> log_V = log_probabilities(*net, ids);
      EXPECT_NEAR(result.log_probabilities[i], log_V[static_cast<size_t>(result.ids[i])], 1e-5);
      const std::vector<int64_t> order = largest(log_V, 3);
      ASSERT_EQ(result.likeliest[i].size(), 3u);
      for (size_t n = 0; n < 3; ++n) {
        EXPECT_EQ(result.likeliest[i][n].id, order[n]);
        EXPECT_NEAR(result.likeliest[i][n].log_probability, log_V[static_cast<size_t>(order[n])], 1e-5);
      }
      EXPECT_TRUE(std::count(order.begin(), order.end(), result.ids[i]));
      ids.push_back(result.ids[i]);
    }
  }
}

TEST(Generation, LongPromptsAreScoredInParts) {
  DecoderOptions options;
  options.vocab = 257;
  options.dim = 8;
  options.heads = 2;
  options.length = 700;
  options.init_std = 0.5;
  const auto net = make_decoder(options);
  net->initialise(1);
  std::string text;
  for (int i = 0; i < 600; ++i) text += static_cast<char>('a' + (i * i) % 23);
  Request request = greedy(text, 5);
  request.sampling.prompt_log_probabilities = true;
  Uncached uncached(net);
  const Result in_parts = generate(*net, {request}).front(), at_once = generate(uncached, {request}).front();
  ASSERT_EQ(in_parts.prompt_log_probabilities.size(), 599u);
  ASSERT_EQ(at_once.prompt_log_probabilities.size(), 599u);
  for (size_t i = 0; i < 599; ++i)
    EXPECT_NEAR(in_parts.prompt_log_probabilities[i], at_once.prompt_log_probabilities[i], 1e-5);
  expect_same(in_parts, at_once, "what follows");
}

TEST(Generation, RefusesWhatItCanNotRead) {
  const auto net = writer();
  const auto bytes = byte_tokenizer();
  Generator generator(*net, *bytes);
  const auto refused = [&](Request request) { return test::error_of([&] { generator.submit(request); }); };
  EXPECT_EQ(refused({}).message(), "the prompt is empty");
  EXPECT_EQ(refused({{5, 257}}).message(), "the prompt holds the token 257, outside 0 to 256");
  EXPECT_EQ(refused({{-1}}).code(), Code::data);
  Request fixed = sampled(std::string(49, 'x'), 0);
  fixed.sampling.slide = false;
  EXPECT_EQ(refused(fixed).message(), "a prompt of 49 tokens is longer than the net's length of 48");
  EXPECT_TRUE(generator.idle());
}

TEST(Generation, DamagedWeightsAreAnError) {
  const auto net = writer();
  {
    const at::NoGradGuard no_grad;
    net->named_parameters()["model.norm.weight"].fill_(NAN);
  }
  const Error error = test::error_of([&] { generate(*net, {sampled("x", 0)}); });
  EXPECT_EQ(error.code(), Code::numeric);
  EXPECT_EQ(error.message(), "the net gives token 0 the logit nan");
}

}  // namespace
}  // namespace etude
