#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

constexpr int kDeepest = 50;

/// Conditions without an argument, which may stand as the key of what is said when they hold.
constexpr std::string_view kConditions[] = {"has_assigned_mission",
                                            "has_available_mission",
                                            "has_many_assigned_missions",
                                            "has_many_available_missions",
                                            "has_no_assigned_mission",
                                            "has_no_available_mission",
                                            "has_pickup_list",
                                            "has_reason",
                                            "is_by_radio",
                                            "is_day",
                                            "is_night",
                                            "is_outside",
                                            "npc_available",
                                            "npc_driving",
                                            "npc_female",
                                            "npc_following",
                                            "npc_has_activity",
                                            "npc_male",
                                            "u_driving",
                                            "u_female",
                                            "u_has_weapon",
                                            "u_male"};
constexpr std::string_view kParts[] = {"and", "concatenate", "gendered_line", "no", "str", "yes"};

template <size_t N>
bool among(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

bool has_letters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
  });
}

/// Everything that may be said: a text, one of a list, or what depends on conditions.
void collect_lines(const nlohmann::json& line, int depth, std::vector<std::string>& lines) {
  if (depth > kDeepest) return;
  if (line.is_string()) {
    const std::string text(trim(line.get_ref<const std::string&>()));
    if (has_letters(text)) lines.push_back(text);
  } else if (line.is_array()) {
    for (const nlohmann::json& part : line) collect_lines(part, depth + 1, lines);
  } else if (line.is_object()) {
    for (const auto& [key, value] : line.items())
      if (among(kParts, key) || among(kConditions, key)) collect_lines(value, depth + 1, lines);
  }
}

/// The texts of a reply: one, or one for either outcome of a condition.
std::vector<std::string> reply_texts(const nlohmann::json& reply) {
  std::vector<std::string> texts;
  if (const auto text = reply.find("text"); text != reply.end()) collect_lines(*text, 0, texts);
  if (const auto both = reply.find("truefalsetext"); both != reply.end() && both->is_object()) {
    for (const char* key : {"true", "false"})
      if (both->contains(key)) collect_lines((*both)[key], 0, texts);
  }
  return texts;
}

/// Where a reply leads; "" where the game decides.
std::string next_topic(const nlohmann::json& reply) {
  if (!reply.is_object()) return {};
  if (const auto topic = reply.find("topic"); topic != reply.end()) {
    if (topic->is_string()) return topic->get<std::string>();
    if (topic->is_object() && topic->contains("id") && (*topic)["id"].is_string()) return (*topic)["id"];
  }
  const auto success = reply.find("success");
  return success == reply.end() || !success->is_object() || !success->contains("topic") ? std::string()
                                                                                        : next_topic(*success);
}

std::vector<std::string> topic_names(const nlohmann::json& node, const std::string& member) {
  const auto id = node.find("id");
  if (id != node.end() && id->is_string()) return {id->get<std::string>()};
  std::vector<std::string> names;
  if (id != node.end() && id->is_array()) {
    for (const nlohmann::json& name : *id)
      if (name.is_string()) names.push_back(name);
  }
  if (names.empty()) refuse_member(member, "a topic has no id");
  return names;
}

void emit_topic(const nlohmann::json& node, const std::string& member, const std::string& file,
                std::map<std::string, int>& seen, const Emit& emit) {
  const std::vector<std::string> names = topic_names(node, member);
  std::vector<std::string> lines;
  if (const auto line = node.find("dynamic_line"); line != node.end()) collect_lines(*line, 0, lines);
  nlohmann::json replies = nlohmann::json::array();
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  if (const auto responses = node.find("responses"); responses != node.end() && responses->is_array()) {
    for (const nlohmann::json& response : *responses) {
      if (!response.is_object()) continue;
      for (const std::string& reply : reply_texts(response)) {
        replies.push_back({{"text", reply}, {"topic", next_topic(response)}});
        if (lines.empty()) text += (text.empty() ? "" : "\n") + reply;
      }
    }
  }
  if (text.empty()) return;
  std::string id = file + "/" + names[0];
  if (const int times = ++seen[id]; times > 1) id += "#" + std::to_string(times);
  emit({{"id", id}, {"text", text}, {"file", file}, {"topics", names}, {"lines", lines}, {"replies", replies}});
}

}  // namespace

/// Members: JSON with objects of the type "talk_topic" among others. A node of the dialogue is a document, its text the
/// lines that may be said there, or else the replies. Fields: file, topics (its names), lines, replies: text and the
/// topic that follows ("TALK_NONE": the one before; "TALK_DONE": the end; "": as the game decides). Words in <> are
/// replaced by the game.
void talk_topics(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  std::map<std::string, int> seen;
  for (const std::string& path : members_like(members, "**.json")) {
    const nlohmann::json all = nlohmann::json::parse(as_utf8(members.read(path)), nullptr, false);
    if (all.is_discarded()) refuse_member(path, "it is no JSON");
    const size_t begin = path.find("/json/") != path.npos ? path.find("/json/") + 6 : path.find("/mods/") + 1;
    const std::string file = path.substr(begin, path.size() - 5 - begin);
    const auto is_topic = [](const nlohmann::json& node) {
      return node.is_object() && node.value("type", nlohmann::json()) == "talk_topic";
    };
    if (is_topic(all)) emit_topic(all, path, file, seen, emit);
    if (!all.is_array()) continue;
    for (const nlohmann::json& node : all)
      if (is_topic(node)) emit_topic(node, path, file, seen, emit);
  }
}

}  // namespace etude::convert
