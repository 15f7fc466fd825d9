#include "etude/base/schedule.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {

struct Schedule::Node {
  enum class Form { constant, linear, cosine, wsd, steps, warmup } form = Form::constant;
  enum class Decay { linear, exponential, sqrt } decay = Decay::linear;  ///< wsd
  double a = 0, b = 0;                                                   ///< constant: a; linear, cosine, wsd: a -> b
  std::vector<std::pair<Count, double>> places;                          ///< steps
  Count length;                                                          ///< of the warmup, of the decay of wsd
  std::shared_ptr<const Node> inner;                                     ///< warmup
};

namespace {

using Node = Schedule::Node;
using Form = Node::Form;
using Decay = Node::Decay;

constexpr std::array<std::string_view, 3> kDecays = {"linear", "exponential", "sqrt"};

// ---- parsing ------------------------------------------------------------------------------------

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::shared_ptr<const Node> whole() {
    auto node = expression(true);
    skip_blanks();
    if (at_ < text_.size()) refuse("unexpected '" + std::string(text_.substr(at_)) + "'");
    return node;
  }

 private:
  [[noreturn]] void refuse(const std::string& why, std::string hint = {}) const {
    refuse_at(at_, why, std::move(hint));
  }
  [[noreturn]] void refuse_at(size_t offset, const std::string& why, std::string hint = {}) const {
    if (hint.empty()) {
      hint =
          "write a number, linear(0.1 -> 0), cosine(0.1 -> 0.01), wsd(0.1 -> 0.01, 20%), "
          "warmup(40, cosine(0.1 -> 0.01)) or steps(0: 0.1, 50%: 0.01)";
    }
    throw Error(Code::config,
                "schedule '" + std::string(text_) + "': " + why + " at column " + std::to_string(offset + 1), {}, hint);
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  bool accept(std::string_view token) {
    skip_blanks();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  void expect(std::string_view token) {
    if (!accept(token)) refuse("'" + std::string(token) + "' expected");
  }

  double number() {
    skip_blanks();
    if (at_ < text_.size() && text_[at_] == '+') ++at_;
    double value = 0;
    const char* const begin = text_.data() + at_;
    const auto [stop, problem] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (problem == std::errc::result_out_of_range) refuse("a number doesn't fit a double");
    if (problem != std::errc()) refuse("a number expected");
    if (!std::isfinite(value)) refuse("a number must be finite");
    at_ += static_cast<size_t>(stop - begin);
    return value;
  }

  std::string word_here() {
    skip_blanks();
    size_t end = at_;
    while (end < text_.size() && text_[end] >= 'a' && text_[end] <= 'z') ++end;
    return std::string(text_.substr(at_, end - at_));
  }

  /// A count up to the next of `ends`.
  Count place(std::string_view ends) {
    skip_blanks();
    const size_t begin = at_;
    const size_t stop = text_.find_first_of(ends, at_);
    if (stop == std::string_view::npos) refuse("a count and then '" + std::string(ends.substr(0, 1)) + "' expected");
    at_ = stop;
    try {
      return Count::parse(text_.substr(begin, stop - begin));
    } catch (const Error& error) {
      refuse_at(begin, error.message(), error.hint());
    }
  }

  std::shared_ptr<const Node> expression(bool may_warm_up) {
    const std::string word = word_here();
    const size_t begin = at_;
    auto node = std::make_shared<Node>();
    if (word.empty() || word == "nan" || word == "inf") {
      node->a = number();
      return node;
    }
    at_ += word.size();
    if (word == "linear" || word == "cosine") {
      node->form = word == "linear" ? Form::linear : Form::cosine;
      expect("(");
      range(*node);
    } else if (word == "wsd") {
      node->form = Form::wsd;
      expect("(");
      range(*node);
      expect(",");
      decay(*node);
    } else if (word == "steps") {
      node->form = Form::steps;
      expect("(");
      steps(*node);
    } else if (word == "warmup" && may_warm_up) {
      node->form = Form::warmup;
      expect("(");
      const size_t where = at_;
      node->length = place(",");
      if (!(node->length.amount > 0)) refuse_at(where, "a warm-up must be longer than 0");
      expect(",");
      node->inner = expression(false);
    } else if (word == "warmup") {
      refuse_at(begin, "a warm-up within a warm-up");
    } else {
      const std::vector<std::string> words = {"linear", "cosine", "wsd", "warmup", "steps"};
      refuse_at(begin, "unknown form '" + word + "'", did_you_mean(word, words));
    }
    expect(")");
    return node;
  }

  void range(Node& node) {
    node.a = number();
    expect("->");
    node.b = number();
  }

  /// "20%" or "20%, sqrt".
  void decay(Node& node) {
    skip_blanks();
    const size_t where = at_;
    node.length = place(",)");
    if (!(node.length.amount > 0)) refuse_at(where, "a decay must be longer than 0");
    if (node.length.unit == Unit::percent && node.length.amount > 100)
      refuse_at(where, "a decay can't be longer than 100%");
    if (!accept(",")) return;
    const std::string word = word_here();
    const auto known = std::find(kDecays.begin(), kDecays.end(), word);
    if (known == kDecays.end()) {
      const std::vector<std::string> words(kDecays.begin(), kDecays.end());
      refuse("unknown decay '" + word + "'", did_you_mean(word, words, "linear, exponential or sqrt"));
    }
    node.decay = static_cast<Decay>(known - kDecays.begin());
    if (node.decay == Decay::exponential && !(node.a * node.b > 0))
      refuse("an exponential decay keeps its sign and never gets to 0", "write linear or sqrt, or an end beyond 0");
    at_ += word.size();
  }

  void steps(Node& node) {
    do {
      skip_blanks();
      const size_t where = at_;
      const Count count = place(":");
      expect(":");
      if (node.places.empty() && count.amount != 0) refuse_at(where, "the first place must be 0");
      if (!node.places.empty()) {
        const Count& last = node.places.back().first;
        if (count.amount <= 0 || (last.unit == count.unit && count.amount <= last.amount)) {
          refuse_at(where, "the places must ascend");
        }
      }
      node.places.emplace_back(count, number());
    } while (accept(","));
  }

  std::string_view text_;
  size_t at_ = 0;
};

// ---- evaluation ---------------------------------------------------------------------------------

/// An amount of one unit in another, at the mean rate of the run so far.
double converted(const Count& count, Unit unit, const Counters& now) {
  if (count.unit == unit) return count.amount;
  return now[count.unit] > 0 ? count.amount * now[unit] / now[count.unit] : 0;
}

/// The value of a wsd at a progress q of its decay.
double decayed(const Node& node, double q) {
  switch (node.decay) {
    case Decay::linear:
      return node.a + (node.b - node.a) * q;
    case Decay::sqrt:
      return node.b + (node.a - node.b) * (1 - std::sqrt(q));
    case Decay::exponential:
      break;
  }
  const auto [low, high] = std::minmax(node.a, node.b);
  return std::clamp(node.a * std::pow(node.b / node.a, q), low, high);
}

/// The value at the first update after `begin`, an amount in the stop rule's unit.
double value_at(const Node& node, const Position& position, double begin) {
  const Count& stop = position.stop;
  switch (node.form) {
    case Form::constant:
      return node.a;
    case Form::steps: {
      double value = node.places.front().second;
      for (const auto& [place, v] : node.places) {
        if (place.of(stop).reached(position.now)) value = v;
      }
      return value;
    }
    case Form::linear:
    case Form::cosine:
      break;
    case Form::wsd:
      begin = std::max(begin, stop.amount - converted(node.length.of(stop), stop.unit, position.now));
      break;
    case Form::warmup:
      ETUDE_CHECK(false, "a warm-up has no value of its own");
  }
  const double span = stop.amount - begin;
  const double p = span > 0 ? std::clamp((position.now[stop.unit] - begin) / span, 0.0, 1.0) : 0.0;
  if (node.form == Form::wsd) return decayed(node, p);
  if (node.form == Form::linear) return node.a + (node.b - node.a) * p;
  return node.b + (node.a - node.b) * (1 + std::cos(std::numbers::pi * p)) / 2;
}

/// The share of the value that the coming update gets.
double warmup_share(const Count& length, const Counters& now) {
  const double steps = now[Unit::steps], done = now[length.unit];
  const double coming = length.unit == Unit::steps ? 1 : steps > 0 ? done / steps : 0;
  return std::clamp((done + coming) / length.amount, Schedule::kFirstShare, 1.0);
}

double first_value(const Node& node) { return node.form == Form::steps ? node.places.front().second : node.a; }

std::pair<double, double> bounds(const Node& node) {
  if (node.form == Form::constant) return {node.a, node.a};
  if (node.form == Form::linear || node.form == Form::cosine || node.form == Form::wsd)
    return std::minmax({node.a, node.b});
  if (node.form == Form::steps) {
    const auto less = [](const auto& x, const auto& y) { return x.second < y.second; };
    const auto [low, high] = std::minmax_element(node.places.begin(), node.places.end(), less);
    return {low->second, high->second};
  }
  const auto [low, high] = bounds(*node.inner);
  const bool known = node.length.unit == Unit::steps;
  const double share = std::clamp(known ? 1 / node.length.amount : 0.0, Schedule::kFirstShare, 1.0);
  const double start = first_value(*node.inner) * share;
  return {std::min(low, start), std::max(high, start)};
}

bool reached(const Node& node, double extreme) {
  if (node.form == Form::warmup) return reached(*node.inner, extreme);
  if (node.form != Form::steps) return node.a == extreme;
  return std::any_of(node.places.begin(), node.places.end(),
                     [&](const auto& place) { return place.second == extreme; });
}

std::string place_text(const Count& count) {
  return count.unit == Unit::steps ? plain_number(count.amount) : count.text();
}

std::string text_of(const Node& node) {
  const std::string range = plain_number(node.a) + " -> " + plain_number(node.b);
  switch (node.form) {
    case Form::constant:
      return plain_number(node.a);
    case Form::linear:
      return "linear(" + range + ")";
    case Form::cosine:
      return "cosine(" + range + ")";
    case Form::wsd: {
      const std::string course =
          node.decay == Decay::linear ? "" : ", " + std::string(kDecays.at(static_cast<size_t>(node.decay)));
      return "wsd(" + range + ", " + place_text(node.length) + course + ")";
    }
    case Form::warmup:
      return "warmup(" + place_text(node.length) + ", " + text_of(*node.inner) + ")";
    case Form::steps:
      break;
  }
  std::string out;
  for (const auto& [place, value] : node.places) {
    out += (out.empty() ? "steps(" : ", ") + place_text(place) + ": " + plain_number(value);
  }
  return out + ")";
}

}  // namespace

Schedule::Schedule(double constant) {
  auto node = std::make_shared<Node>();
  node->a = constant;
  node_ = std::move(node);
}

Schedule Schedule::parse(std::string_view text) {
  Schedule out;
  out.node_ = Parser(text).whole();
  return out;
}

double Schedule::at(const Position& position) const {
  const Counters& now = position.now;
  const Count& stop = position.stop;
  if (node_->form != Form::warmup) return value_at(*node_, position, 0);
  const Count length = node_->length.of(stop);
  if (!length.reached(now)) return first_value(*node_->inner) * warmup_share(length, now);
  return value_at(*node_->inner, position, converted(length, stop.unit, now));
}

bool Schedule::constant() const { return node_->form == Form::constant; }
double Schedule::lowest() const { return bounds(*node_).first; }
double Schedule::highest() const { return bounds(*node_).second; }
bool Schedule::reaches(double extreme) const { return reached(*node_, extreme); }
std::string Schedule::text() const { return text_of(*node_); }

}  // namespace etude
