// What is written once for all replicas: lines of metrics, evaluations, checkpoints, the result. Every rank announces
// each of them at the same step and sends its part to the leading rank, which writes them in order, when it has all
// parts. In one process that is at once.

#include <algorithm>

#include "etude/base/log.h"
#include "etude/tensor/bytes.h"
#include "etude/train/loop.h"
#include "etude/train/sealed.h"
#include "etude/train/variants.h"

namespace etude {
namespace {

std::string report_tag(int64_t number) { return "report/" + std::to_string(number); }
std::string settled_tag(int64_t number) { return "settled/" + std::to_string(number); }

}  // namespace

Tensor Trainer::as_tensor(const nlohmann::json& value) { return tensor_of(sealed::to_text(value)); }

nlohmann::json Trainer::from_tensor(const Tensor& bytes, int from) const {
  if (bytes.scalar_type() != torch::kUInt8 || bytes.dim() != 1) throw unreadable(from);
  try {
    return sealed::from_text(text_of(bytes), "");
  } catch (const Error&) {
    throw unreadable(from);
  }
}

Error Trainer::unreadable(int from) const {
  return Error(Code::comms, "rank " + std::to_string(from) + " sent what can't be read",
               "rank " + std::to_string(rank()) + ", step " + std::to_string(counters_.step() + 1),
               "all ranks must run the same version and recipe");
}

void Trainer::announce(Due due, const std::function<Portion(Replica&)>& part_of) {
  due.counters = counters_;
  due.number = announced_++;
  due.heard.insert(rank());
  for (Unit unit : kMovedByEach) due.moved[rank()][unit] = counters_[unit] - begun_with_[unit];
  for (auto& replica : replicas_) {
    Portion part = part_of(*replica);
    if (links_)
      for (auto& [name, value] : part.tensors) value = value.detach().clone();
    due.parts[replica->index][rank()] = std::move(part);
  }
  if (!links_) return finish(due);
  if (!leads()) send_parts(due);
  pending_.push_back(std::move(due));
  keep_few();
}

/// Parts are copies of weights, and nobody may wait here for who is slower: a rank that only keeps what it has sent
/// gives the oldest up; the leading one does without checkpoints that newer ones follow.
void Trainer::keep_few() {
  if (!leads() && pending_.size() > kMostKept) pending_.pop_front();
  const auto is_periodic = [](const Due& due) {
    return due.kind == Due::Kind::saving && due.saving == Saving::periodic;
  };
  while (leads() && std::count_if(pending_.begin(), pending_.end(), is_periodic) > kMostCheckpoints) {
    const auto oldest = std::find_if(pending_.begin(), pending_.end(), is_periodic);
    warn("step " + std::to_string(oldest->counters.step()) + " is not saved: a rank is too far behind");
    tell_settled(oldest->number);
    pending_.erase(oldest);
  }
}

void Trainer::send_parts(const Due& due) {
  nlohmann::json parts = nlohmann::json::array();
  std::vector<Tensor> message = {Tensor()};
  for (const auto& [replica, by_rank] : due.parts) {
    const Portion& part = by_rank.at(rank());
    nlohmann::json names = nlohmann::json::array();
    for (const auto& [name, value] : part.tensors) {
      names.push_back(name);
      message.push_back(value);
    }
    parts.push_back({{"replica", replica}, {"host", part.host}, {"names", names}});
  }
  message.front() = as_tensor({{"moved", due.moved.at(rank()).value}, {"parts", parts}});
  links_->send(lead_, report_tag(due.number), message);
}

void Trainer::take_parts(Due& due, int from, const std::vector<Tensor>& message) {
  if (message.empty()) throw unreadable(from);
  try {
    const nlohmann::json head = from_tensor(message.front(), from);
    due.moved[from].value = head.at("moved").get<decltype(Counters::value)>();
    size_t next = 1;
    for (const nlohmann::json& entry : head.at("parts")) {
      Portion& part = due.parts[entry.at("replica").get<int>()][from];
      part.host = entry.at("host");
      for (const nlohmann::json& name : entry.at("names"))
        part.tensors.emplace_back(name.get<std::string>(), message.at(next++));
      if (!fits(part)) throw unreadable(from);
    }
  } catch (const nlohmann::json::exception&) {
    throw unreadable(from);
  } catch (const std::out_of_range&) {
    throw unreadable(from);
  }
}

/// Whether what another rank sent has the shapes of what is here.
bool Trainer::fits(const Portion& part) const {
  std::map<std::string, Tensor> own;
  for (const auto& [name, value] : published_of(*replicas_.front()).tensors) own[name] = value;
  for (const auto& [name, learner] : replicas_.front()->learners)
    for (const Parameter& p : learner.parameters) own["parameter/" + p.name] = p.value;
  return std::all_of(part.tensors.begin(), part.tensors.end(), [&](const auto& entry) {
    const auto& [name, value] = entry;
    if (name.starts_with("rows/")) return value.dim() == 2 && value.size(1) == 3 && value.dtype() == torch::kFloat64;
    const auto mine = own.find(name);
    const bool known = name.starts_with("parameter/") || name.starts_with("net/") ||
                       name.starts_with(std::string("store/") + kVariants);
    return mine == own.end() ? !known : mine->second.sizes() == value.sizes() && mine->second.dtype() == value.dtype();
  });
}

bool Trainer::is_complete(Due& due, bool waits) {
  for (int other = 0; other < layout_.ranks(); ++other) {
    if (due.heard.count(other)) continue;
    const int returned = links_->returned(other);
    const bool is_at_work = returned == 0 || welcomed_.count({other, returned}) > 0;
    std::optional<std::vector<Tensor>> message;
    while (!message && is_at_work && links_->present(other)) {
      if (!waits && !links_->arrived(other, report_tag(due.number))) return false;
      message = links_->receive_patiently(other, report_tag(due.number));
    }
    if (!message && links_->arrived(other, report_tag(due.number)))  // it sent its part, and left or died
      message = links_->receive_patiently(other, report_tag(due.number));
    if (message)
      take_parts(due, other, *message);
    else if (layout_.ranks() > layout_.replicas() && due.kind != Due::Kind::closing)
      throw links_->missing(other);  // of a shared replica no part may be missing
    due.heard.insert(other);
  }
  return true;
}

void Trainer::settle() {
  if (!links_) return;
  follow_the_lead();
  if (leads()) welcome_those_that_return();
  while (leads() && !pending_.empty() && is_complete(pending_.front(), false)) {
    finish_and_tell(pending_.front());
    pending_.pop_front();
  }
}

void Trainer::settle_next() {
  follow_the_lead();
  if (pending_.empty()) return;
  Due& due = pending_.front();
  if (leads()) {
    is_complete(due, true);
    finish_and_tell(due);
  } else if (!links_->receive_patiently(lead_, settled_tag(due.number))) {
    // It has gone, or waits for a slower rank, or our part was lost.
    if (links_->present(lead_)) send_parts(due);
    return;
  }
  pending_.pop_front();
}

void Trainer::take_what_is_settled() {
  while (!leads() && !pending_.empty() && links_->arrived(lead_, settled_tag(pending_.front().number))) {
    links_->receive_patiently(lead_, settled_tag(pending_.front().number));
    pending_.pop_front();
  }
}

void Trainer::finish_and_tell(Due& due) {
  finish(due);
  tell_settled(due.number);
}

void Trainer::tell_settled(int64_t number) {
  for (int other = 0; other < layout_.ranks(); ++other)
    if (other != rank()) links_->send(other, settled_tag(number), {});
}

void Trainer::finish(Due& due) {
  switch (due.kind) {
    case Due::Kind::training:
      return finish_training(due);
    case Due::Kind::evaluation:
      return finish_evaluation(due);
    case Due::Kind::saving:
      return finish_saving(due);
    case Due::Kind::closing:
      return finish_closing(due);
  }
}

void Trainer::finish_closing(const Due& due) {
  fit_.counters = counters_of_all(due);
  fit_.artifact = artifact_of(due.parts);
  std::vector<double> idle;
  std::set<int> counted;  // a rank says it with each of its replicas
  for (const auto& [replica, by_rank] : due.parts)
    for (const auto& [from, part] : by_rank) {
      if (!counted.insert(from).second) continue;
      idle.push_back(part.host.at("idle_seconds").get<double>());
      for (const auto& [operation, sent] : part.host.at("traffic").items()) {
        Traffic& all = fit_.cost.traffic[operation];
        all.bytes += sent.at(0).get<int64_t>();
        all.messages += sent.at(1).get<int64_t>();
        all.rounds = std::max(all.rounds, sent.at(2).get<int64_t>());
      }
    }
  std::sort(idle.begin(), idle.end());
  fit_.cost.idle_seconds = (idle[(idle.size() - 1) / 2] + idle[idle.size() / 2]) / 2;
  complete_cost();
  if (around_.publish && fit_.finished) around_.publish(fit_);
}

void Trainer::close() {
  closing_ = true;
  fit_.counters = counters_;
  announce({.kind = Due::Kind::closing}, [&](Replica& replica) {
    Portion part = is_head(replica) ? published_of(replica) : Portion();
    part.host["idle_seconds"] = links_ ? links_->waited_seconds() : 0.0;
    part.host["traffic"] = nlohmann::json::object();
    if (links_)
      for (const auto& [operation, sent] : links_->traffic())
        part.host["traffic"][operation] = {sent.bytes, sent.messages, sent.rounds};
    return part;
  });
}

Counters Trainer::counters_of_all(const Due& due) const {
  Counters all = due.counters;
  for (Unit unit : kMovedByEach) {
    all[unit] = begun_with_[unit];
    for (const auto& [from, moved] : due.moved) all[unit] += moved[unit];
  }
  return all;
}

void Trainer::follow_the_lead() {
  take_what_is_settled();
  if (links_->present(lead_)) return;
  const int lead = first_in_line();
  take_what_is_settled();  // its last words may have come since
  if (closing_ && pending_.empty()) return;
  warn("rank " + std::to_string(lead_) + " is gone: rank " + std::to_string(lead) + " leads from here on");
  lead_ = lead;
  if (leads()) return take_the_lead();
  for (const Due& due : pending_) send_parts(due);
}

/// Of those that are there the lowest rank; who has died and returned comes last.
int Trainer::first_in_line() const {
  int first = rank();
  for (int other = 0; other < layout_.ranks(); ++other)
    if (links_->present(other) && std::pair(links_->returned(other), other) < std::pair(links_->returned(first), first))
      first = other;
  return first;
}

void Trainer::take_the_lead() {
  if (!around_.directory.empty()) {
    if (around_.lead) around_.lead();
    checkpoints_.emplace(around_.directory);
    // The old leader may have written what it could not tell us any more.
    const std::set<std::pair<std::string, int64_t>> lines = read_metrics_back();
    const std::vector<int64_t> saved = checkpoints_->steps();
    const auto is_written = [&](const Due& due) {
      const int64_t step = due.counters.step();
      if (due.kind == Due::Kind::training) return lines.count({"train", step}) > 0;
      if (due.kind == Due::Kind::evaluation) return lines.count({"eval", step}) > 0;
      return due.kind == Due::Kind::saving && std::count(saved.begin(), saved.end(), step) > 0;
    };
    std::erase_if(pending_, [&](const Due& due) {
      if (is_written(due)) tell_settled(due.number);
      return is_written(due);
    });
  }
  // Nor may it have told the others all that it told us.
  const int64_t first = pending_.empty() ? announced_ : pending_.front().number;
  for (int64_t n = std::max<int64_t>(0, first - static_cast<int64_t>(kMostKept)); n < first; ++n) tell_settled(n);
}

std::set<std::pair<std::string, int64_t>> Trainer::read_metrics_back() {
  std::set<std::pair<std::string, int64_t>> written;
  const std::string path = around_.directory + "/metrics.jsonl";
  const std::string text = file::exists(path) ? file::read(path) : "";
  size_t whole = 0;
  fit_.lines.clear();
  for (size_t end; (end = text.find('\n', whole)) != std::string::npos; whole = end + 1) {
    const auto json = nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(whole),
                                            text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!json.is_object()) break;  // half a line: its writer died
    MetricLine line = MetricLine::from_json(json);
    written.emplace(line.kind, line.counters.step());
    for (const auto& [name, value] : line.values) fit_.values[name] = value;
    if (line.kind == "eval") fit_.lines.push_back(std::move(line));
  }
  // A file of its own: the old leader may have been stopped within a line, and wake up.
  file::write_atomically(path, text.substr(0, whole));
  open_metrics(static_cast<int64_t>(whole));
  return written;
}

/// A rank that has died and is back begins where this one stands, with copies of a replica that is here: its own state
/// is lost. What was due before is written without it.
void Trainer::welcome_those_that_return() {
  for (int other = 0; other < layout_.ranks(); ++other) {
    const std::pair<int, int> guest(other, other == rank() ? 0 : links_->returned(other));
    const std::string place = std::to_string(other) + "." + std::to_string(guest.second);
    if (guest.second == 0 || welcomed_.count(guest) || !links_->arrived(other, "rejoin/" + place)) continue;
    links_->receive_patiently(other, "rejoin/" + place);
    welcomed_.insert(guest);
    for (Due& due : pending_) due.heard.insert(other);
    Snapshot now = common_state();
    now.host["counters"] = counters_.value;
    now.host["metrics_bytes"] = 0;
    now.host["lines"] = nlohmann::json::array();
    now.host["values"] = fit_.values;
    now.host["rows"] = nlohmann::json::object();
    now.host["announced"] = announced_;
    now.host["replicas"] = nlohmann::json::array();
    const Portion donor = state_of(*replicas_.front(), true);
    const auto [first, last] = layout_.hosted(other);
    for (int r = 0; r < layout_.replicas(); ++r) {
      now.host["replicas"].push_back({{"store", donor.host.at("store")}, {"books", Store().host()}});
      if (r < first || r >= last) continue;
      for (const auto& [name, value] : donor.tensors) now.tensors.emplace_back(replica_prefix(r) + name, value);
    }
    send_begin(other, now, "rejoin/welcome-" + place);
    inform("rank " + std::to_string(other) + " is back and goes on from step " + std::to_string(counters_.step()) +
           " with a copy of replica " + std::to_string(replicas_.front()->index));
  }
}

bool Trainer::is_head(const Replica& replica) const { return layout_.head(replica.index) == rank(); }

}  // namespace etude
