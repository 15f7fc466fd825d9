#include "etude/report/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "etude/base/counters.h"
#include "etude/base/text.h"

namespace etude::report {

/// A node of the tree: an operator, a number, or a call with words and operands.
struct Expression::Node {
  std::string op;  ///< "+", "-", "*", "/", "negate", "number" or the function's name
  double number = 0;
  Count count;  ///< of value() and reach(); the end of the run when absent
  bool at_end = true;
  std::vector<std::string> words;  ///< arm, metric or name
  std::vector<Node> operands;
  size_t first_list = 0;  ///< of slope(): how many operands are x
};

namespace {

using Node = Expression::Node;

/// Arguments of a function, a letter each: a arm, m metric, n name, t time, u unit, x expression,
/// l list, * any number of further expressions; what stands after '?' may be left out.
struct Function {
  std::string_view name, arguments;
};
constexpr Function kFunctions[] = {{"value", "a?mt"}, {"reach", "amxu"}, {"best", "a?m"}, {"peak", "a?m"},
                                   {"mean", "a?m"},   {"cost", "an"},    {"log", "x"},    {"exp", "x"},
                                   {"sqrt", "x"},     {"abs", "x"},      {"max", "x*"},   {"min", "x*"},
                                   {"slope", "ll"}};

std::string_view description(char argument) {
  switch (argument) {
    case 'a':
      return "an arm";
    case 'm':
      return "a metric";
    case 'n':
      return "the name of a cost";
    case 't':
      return "a time such as end, 50% or 400 steps";
    case 'u':
      return "a unit such as steps or bytes";
    case 'l':
      return "a list [x, ...]";
    default:
      return "an expression";
  }
}

}  // namespace

class ExpressionParser {
 public:
  ExpressionParser(std::string_view text, const Expression::Place& place) : text_(text), place_(place) {}

  Expression run() {
    if (text_.size() > kMostText)
      fail_at(kMostText, "an expression of " + std::to_string(text_.size()) + " characters",
              "at most " + std::to_string(kMostText) + " are read; split the claim");
    Expression result;
    result.root_ = std::make_shared<Node>(sum());
    skip_blanks();
    if (at_ < text_.size()) fail("unexpected " + next() + " after the expression", "an operator goes here, or nothing");
    result.mentions_ = std::move(mentions_);
    return result;
  }

 private:
  static constexpr int kMostDepth = 100;
  static constexpr size_t kMostText = 4000;  // bounds the depth of left-leaning trees as well

  [[noreturn]] void fail(const std::string& what, const std::string& hint = {}) const { fail_at(at_, what, hint); }
  [[noreturn]] void fail_at(size_t offset, const std::string& what, const std::string& hint) const {
    throw Error(Code::config, what, place_(offset), hint);
  }

  std::string next() const {
    if (at_ >= text_.size()) return "end";
    return "'" + std::string(text_.substr(at_, 1)) + "'";
  }

  void skip_blanks() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c, const std::string& where) {
    if (!take(c)) fail("expected '" + std::string(1, c) + "' " + where + ", found " + next());
  }

  Node sum() {
    if (++depth_ > kMostDepth) fail("the expression is nested too deeply");
    Node left = product();
    for (;;) {
      const bool plus = take('+');
      if (!plus && !take('-')) break;
      Node right = product();
      left = Node{plus ? "+" : "-", 0, {}, true, {}, {std::move(left), std::move(right)}, 0};
    }
    --depth_;
    return left;
  }

  Node product() {
    Node left = factor();
    for (;;) {
      const bool times = take('*');
      if (!times && !take('/')) return left;
      Node right = factor();
      left = Node{times ? "*" : "/", 0, {}, true, {}, {std::move(left), std::move(right)}, 0};
    }
  }

  Node factor() {
    if (take('-')) {
      if (++depth_ > kMostDepth) fail("the expression is nested too deeply");
      Node operand = factor();
      --depth_;
      return Node{"negate", 0, {}, true, {}, {std::move(operand)}, 0};
    }
    if (take('(')) {
      Node inner = sum();
      expect(')', "to close the parenthesis");
      return inner;
    }
    skip_blanks();
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if ((c >= '0' && c <= '9') || c == '.') return number();
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return call();
    fail("expected a number, a function or '(', found " + next());
  }

  Node number() {
    Node node{"number", 0, {}, true, {}, {}, 0};
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), node.number);
    if (error != std::errc()) fail("not a number that fits");
    at_ += static_cast<size_t>(end - begin);
    return node;
  }

  Node call() {
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) ++at_;
    const std::string name(text_.substr(begin, at_ - begin));
    const auto* function =
        std::find_if(std::begin(kFunctions), std::end(kFunctions), [&](const Function& f) { return f.name == name; });
    if (function == std::end(kFunctions)) {
      std::vector<std::string> names;
      for (const auto& f : kFunctions) names.emplace_back(f.name);
      fail_at(begin, "unknown function '" + name + "'",
              did_you_mean(name, names,
                           "there are value, reach, best, peak, mean, cost, slope, log, exp, sqrt, abs, max, min"));
    }
    expect('(', "after " + name);
    Node node{name, 0, {}, true, {}, {}, 0};
    arguments(*function, node);
    if (name == "slope") {
      const size_t y = node.operands.size() - node.first_list;
      if (node.first_list != y || y < 2)
        fail_at(begin, "slope has " + std::to_string(node.first_list) + " x and " + std::to_string(y) + " y",
                "give two lists of the same length, at least 2");
    }
    return node;
  }

  void arguments(const Function& function, Node& node) {
    bool optional = false, first = true;
    for (const char kind : function.arguments) {
      if (kind == '?') {
        optional = true;
        continue;
      }
      if (kind == '*') {
        while (take(',')) node.operands.push_back(sum());
        continue;
      }
      skip_blanks();
      const bool more = first ? at_ < text_.size() && text_[at_] != ')' : take(',');
      if (!more && optional) break;
      if (!more)
        fail("expected " + std::string(description(kind)) + " in " + std::string(function.name) + "(), found " +
             next());
      argument(kind, node);
      first = false;
    }
    expect(')', "after the arguments of " + std::string(function.name));
  }

  void argument(char kind, Node& node) {
    if (kind == 'x') {
      node.operands.push_back(sum());
      return;
    }
    if (kind == 'l') {
      expect('[', "to begin a list");
      do node.operands.push_back(sum());
      while (take(','));
      expect(']', "to close the list");
      if (node.first_list == 0) node.first_list = node.operands.size();
      return;
    }
    skip_blanks();
    const size_t begin = at_;
    std::string word = read_word(kind);
    if (kind == 't') {
      node.at_end = word == "end";
      if (!node.at_end) node.count = count(word, begin);
    } else if (kind == 'u') {
      node.count = count("1 " + word, begin);
      if (node.count.unit == Unit::percent) fail_at(begin, "percent is no counter", "give steps, bytes, seconds, ...");
    } else {
      if (kind == 'a') mentions_.push_back({word, place_(begin)});
      node.words.push_back(std::move(word));
    }
  }

  Count count(const std::string& text, size_t begin) const {
    try {
      return Count::parse(text);
    } catch (const Error& error) {
      fail_at(begin, error.message(), error.hint());
    }
  }

  std::string read_word(char kind) {
    const size_t begin = at_;
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote == '"' || quote == '\'') {
      const size_t end = text_.find(quote, begin + 1);
      if (end == std::string_view::npos) fail("the quote is not closed");
      at_ = end + 1;
      return std::string(text_.substr(begin + 1, end - begin - 1));
    }
    while (at_ < text_.size() && std::string_view(",()[]\"'").find(text_[at_]) == std::string_view::npos) ++at_;
    const auto word = trim(text_.substr(begin, at_ - begin));
    if (word.empty()) fail("expected " + std::string(description(kind)) + ", found " + next());
    return std::string(word);
  }

  std::string_view text_;
  const Expression::Place& place_;
  size_t at_ = 0;
  int depth_ = 0;
  std::vector<Expression::Mention> mentions_;
};

namespace {

Value missing(std::string why) { return {0, std::move(why)}; }

/// Walks the tree for the runs of one seed.
class Evaluation {
 public:
  explicit Evaluation(const Scene& scene) : scene_(scene) {}

  Value of(const Node& node) const {
    Value result = raw(node);
    if (result.missing.empty() && !std::isfinite(result.number)) return missing("a value is not finite");
    return result;
  }

 private:
  Value raw(const Node& node) const {
    if (node.op == "number") return {node.number, {}};
    if (!node.words.empty()) return measured(node);
    std::vector<double> x;
    for (const auto& operand : node.operands) {
      const Value value = of(operand);
      if (!value.missing.empty()) return value;
      x.push_back(value.number);
    }
    return {arithmetic(node, x), {}};
  }

  static double arithmetic(const Node& node, const std::vector<double>& x) {
    if (node.op == "+") return x[0] + x[1];
    if (node.op == "-") return x[0] - x[1];
    if (node.op == "*") return x[0] * x[1];
    if (node.op == "/") return x[0] / x[1];
    if (node.op == "negate") return -x[0];
    if (node.op == "log") return std::log(x[0]);
    if (node.op == "exp") return std::exp(x[0]);
    if (node.op == "sqrt") return std::sqrt(x[0]);
    if (node.op == "abs") return std::abs(x[0]);
    if (node.op == "max") return *std::max_element(x.begin(), x.end());
    if (node.op == "min") return *std::min_element(x.begin(), x.end());
    return slope(x, node.first_list);
  }

  /// Least squares; the first n of xy are x, the others y.
  static double slope(const std::vector<double>& xy, size_t n) {
    double mean_x = 0, mean_y = 0, xx = 0, covariance = 0;
    for (size_t i = 0; i < n; ++i) mean_x += xy[i], mean_y += xy[n + i];
    mean_x /= static_cast<double>(n);
    mean_y /= static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      xx += (xy[i] - mean_x) * (xy[i] - mean_x);
      covariance += (xy[i] - mean_x) * (xy[n + i] - mean_y);
    }
    return covariance / xx;
  }

  Value measured(const Node& node) const {
    const RunRecord& run = *scene_.runs.at(node.words[0]);
    if (node.op == "cost") {
      const auto found = run.cost.find(node.words[1]);
      return found == run.cost.end() ? missing(run.arm + " has no cost '" + node.words[1] + "'")
                                     : Value{found->second, {}};
    }
    const std::string& metric = node.words.size() > 1 ? node.words[1] : scene_.metric;
    const Series* series = run.find(metric);
    if (!series) {
      const auto last = run.final.find(metric);
      if (node.op == "value" && node.at_end && last != run.final.end()) return {last->second, {}};
      return missing(run.arm + " has no metric '" + metric + "'");
    }
    if (node.op == "value") return value_at(node, run, *series);
    if (node.op == "reach") return reach(node, run, *series);
    return {summary(node.op, *series), {}};
  }

  Value value_at(const Node& node, const RunRecord& run, const Series& series) const {
    if (node.at_end) return {series.value.back(), {}};
    Count until = node.count;
    if (until.unit == Unit::percent)
      until = Count{until.amount / 100 * run.points[series.point.back()][Unit::steps], Unit::steps};
    std::optional<double> found;
    for (size_t i = 0; i < series.value.size() && run.points[series.point[i]][until.unit] <= until.amount; ++i)
      found = series.value[i];
    if (!found) return missing(run.arm + " has no '" + series.metric + "' at or before " + node.count.text());
    return {*found, {}};
  }

  Value reach(const Node& node, const RunRecord& run, const Series& series) const {
    const Value level = of(node.operands[0]);
    if (!level.missing.empty()) return level;
    const bool down = scene_.lower_is_better(series.metric);
    for (size_t i = 0; i < series.value.size(); ++i)
      if (down ? series.value[i] <= level.number : series.value[i] >= level.number)
        return {run.points[series.point[i]][node.count.unit], {}};
    return missing(run.arm + " never got to " + series.metric + " " + plain_number(level.number));
  }

  double summary(const std::string& op, const Series& series) const {
    const auto& x = series.value;
    for (const double v : x)
      if (std::isnan(v)) return v;
    if (op == "mean") {
      double sum = 0;
      for (const double v : x) sum += v;
      return sum / static_cast<double>(x.size());
    }
    const bool lowest = op == "best" && scene_.lower_is_better(series.metric);
    return lowest ? *std::min_element(x.begin(), x.end()) : *std::max_element(x.begin(), x.end());
  }

  const Scene& scene_;
};

}  // namespace

Expression Expression::parse(std::string_view text, const Place& place) { return ExpressionParser(text, place).run(); }

Value Expression::evaluate(const Scene& scene) const { return Evaluation(scene).of(*root_); }

std::vector<std::string> Expression::arms() const {
  std::vector<std::string> names;
  for (const auto& mention : mentions_)
    if (std::find(names.begin(), names.end(), mention.arm) == names.end()) names.push_back(mention.arm);
  return names;
}

void Expression::check_arms(const std::vector<std::string>& known) const {
  for (const auto& [arm, place] : mentions_)
    if (std::find(known.begin(), known.end(), arm) == known.end())
      throw Error(Code::config, "unknown arm '" + arm + "'", place,
                  did_you_mean(arm, known,
                               "arms are the files of the method's arms folder, and ARM@EXPERIMENT those of an "
                               "experiment of this file"));
}

}  // namespace etude::report
