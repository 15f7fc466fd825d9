#include "etude/comm/coordinator_client.h"

#include "etude/base/error.h"

namespace etude {
namespace {

using nlohmann::json;

constexpr const char* kDigits = "0123456789abcdef";

/// Words are bytes, JSON is text.
std::string to_hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  return bytes;
}

Error lost() {
  return Error(Code::comms, "the coordinator of the ranks has gone", "rendezvous",
               "it ran in the process that started the ranks, or in rank 0");
}

}  // namespace

CoordinatorClient::CoordinatorClient(const std::string& host, int port, const std::string& secret, double seconds)
    : wire_(Wire::connect(host, port, secret, seconds)) {}

json CoordinatorClient::ask(const json& request) {
  const std::lock_guard lock(mutex_);
  if (!wire_->send(request)) throw lost();
  const std::optional<json> reply = wire_->receive();
  if (!reply) throw lost();
  if (const auto refused = reply->find("refused"); refused != reply->end())
    throw Error(Code::comms, refused->get<std::string>(), "rendezvous",
                "start each rank once, with the same WORLD_SIZE");
  return *reply;
}

void CoordinatorClient::set(const std::string& key, const std::string& value) {
  ask({{"do", "set"}, {"key", key}, {"value", to_hex(value)}});
}

int64_t CoordinatorClient::add(const std::string& key, int64_t value) {
  return ask({{"do", "add"}, {"key", key}, {"value", value}}).at("value");
}

bool CoordinatorClient::erase(const std::string& key) { return ask({{"do", "erase"}, {"key", key}}).at("value"); }
int64_t CoordinatorClient::count() { return ask({{"do", "count"}}).at("value"); }

std::optional<std::vector<std::string>> CoordinatorClient::wait(const std::vector<std::string>& keys,
                                                                int64_t milliseconds) {
  const json reply = ask({{"do", "wait"}, {"keys", keys}, {"milliseconds", milliseconds}});
  if (!reply.at("found").get<bool>()) return std::nullopt;
  std::vector<std::string> values;
  for (const json& value : reply.at("values")) values.push_back(from_hex(value.get<std::string>()));
  return values;
}

int CoordinatorClient::join(int rank, int size, const std::string& host) {
  return ask({{"do", "join"}, {"rank", rank}, {"size", size}, {"host", host}}).at("returned");
}

CoordinatorClient::News CoordinatorClient::beat(const Beat& beat) {
  const json reply = ask({{"do", "beat"},
                          {"step", beat.step},
                          {"operation", beat.operation},
                          {"begun", beat.begun},
                          {"frozen", beat.frozen},
                          {"leave", beat.leave}});
  News news;
  for (const json& one : reply.at("members"))
    news.members.push_back({static_cast<Member::State>(one.at("state").get<int>()), one.at("step"), one.at("returned"),
                            one.at("operation"), one.at("host"), one.at("why")});
  news.leave_wanted = reply.at("leave_wanted");
  news.leave_at = reply.at("leave_at");
  return news;
}

void CoordinatorClient::bye() { ask({{"do", "bye"}}); }

}  // namespace etude
