#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

// Lexicographer files and pointers: lexnames(5), wninput(5) of WordNet 3.0.

constexpr std::string_view kTopics[] = {"adj.all",          "adj.pert",           "adv.all",
                                        "noun.Tops",        "noun.act",           "noun.animal",
                                        "noun.artifact",    "noun.attribute",     "noun.body",
                                        "noun.cognition",   "noun.communication", "noun.event",
                                        "noun.feeling",     "noun.food",          "noun.group",
                                        "noun.location",    "noun.motive",        "noun.object",
                                        "noun.person",      "noun.phenomenon",    "noun.plant",
                                        "noun.possession",  "noun.process",       "noun.quantity",
                                        "noun.relation",    "noun.shape",         "noun.state",
                                        "noun.substance",   "noun.time",          "verb.body",
                                        "verb.change",      "verb.cognition",     "verb.communication",
                                        "verb.competition", "verb.consumption",   "verb.contact",
                                        "verb.creation",    "verb.emotion",       "verb.motion",
                                        "verb.perception",  "verb.possession",    "verb.social",
                                        "verb.stative",     "verb.weather",       "adj.ppl"};

const std::map<std::string_view, std::string_view>& relation_names() {
  static const std::map<std::string_view, std::string_view> names = {
      {"!", "antonyms"},
      {"@", "hypernyms"},
      {"@i", "instance_hypernyms"},
      {"~", "hyponyms"},
      {"~i", "instance_hyponyms"},
      {"#m", "member_holonyms"},
      {"#s", "substance_holonyms"},
      {"#p", "part_holonyms"},
      {"%m", "member_meronyms"},
      {"%s", "substance_meronyms"},
      {"%p", "part_meronyms"},
      {"=", "attributes"},
      {"+", "derivations"},
      {";c", "topic_domains"},
      {"-c", "topic_members"},
      {";r", "region_domains"},
      {"-r", "region_members"},
      {";u", "usage_domains"},
      {"-u", "usage_members"},
      {"*", "entailments"},
      {">", "causes"},
      {"^", "see_also"},
      {"$", "verb_groups"},
      {"&", "similar"},
      {"<", "participle_of"},
      {"\\", "pertains_to"},
  };
  return names;
}

/// The blank-separated fields of a line, with errors that name it.
class Fields {
 public:
  Fields(std::string_view line, const std::string& member, int64_t number)
      : rest_(line), member_(member), number_(number) {}

  std::string_view next() {
    const size_t begin = std::min(rest_.find_first_not_of(' '), rest_.size());
    rest_.remove_prefix(begin);
    const std::string_view field = rest_.substr(0, rest_.find(' '));
    if (field.empty()) fail("a synset's line ends too early");
    rest_.remove_prefix(field.size());
    return field;
  }

  /// Of exactly so many digits.
  int number(size_t digits, int base = 10) {
    const std::string_view field = next();
    int value = -1;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, base);
    if (error != std::errc() || end != field.data() + field.size() || value < 0 || field.size() != digits) {
      fail("a synset has '" + printable(field.substr(0, 20)) + "' where a number of " + std::to_string(digits) +
           " digits stands");
    }
    return value;
  }

  /// "n00001740": the part of speech as its file names it, and the byte in that file.
  std::string synset(std::string_view offset, std::string_view pos) {
    if (pos == "s") pos = "a";
    if (offset.size() != 8 || pos.size() != 1 || std::string_view("nvar").find(pos) == pos.npos) {
      fail("a synset refers to '" + printable(offset.substr(0, 20)) + " " + printable(pos.substr(0, 20)) + "'");
    }
    return std::string(pos) + std::string(offset);
  }

  [[noreturn]] void fail(const std::string& what) const { refuse_member(member_, what, number_); }

 private:
  std::string_view rest_;
  const std::string& member_;
  int64_t number_;
};

/// "light-headed(p)" and "take_a_breath" as people write them.
std::string lemma(std::string_view word) {
  if (word.ends_with(')')) word = word.substr(0, word.rfind('('));
  std::string text(word);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

/// Into a definition and the examples in quotes behind it.
std::pair<std::string, std::vector<std::string>> parts_of(std::string_view gloss) {
  size_t at = 0;
  while ((at = gloss.find('"', at)) != gloss.npos && at > 0 && !gloss.substr(0, at).ends_with("; ")) ++at;
  std::string_view definition = trim(gloss.substr(0, at));
  while (definition.ends_with(';')) definition = trim(definition.substr(0, definition.size() - 1));
  std::vector<std::string> examples;
  while (at != gloss.npos) {
    const size_t end = std::min(gloss.find('"', at + 1), gloss.size());
    examples.emplace_back(trim(gloss.substr(at + 1, end - at - 1)));
    at = gloss.find('"', end + 1);
  }
  return {std::string(definition), examples};
}

nlohmann::json synset(std::string_view line, char pos, const std::string& member, int64_t number) {
  const size_t bar = line.find(" | ");
  if (bar == line.npos) refuse_member(member, "a synset has no gloss", number);
  const std::string_view gloss = trim(line.substr(bar + 3));
  Fields fields(line.substr(0, bar), member, number);
  nlohmann::json document;
  document["id"] = fields.synset(fields.next(), std::string_view(&pos, 1));
  const int topic = fields.number(2);
  if (topic >= static_cast<int>(std::size(kTopics))) fields.fail("there is no topic " + std::to_string(topic));
  document["topic"] = kTopics[topic];
  fields.next();  // 's' for a satellite among adjectives
  for (int words = fields.number(2, 16); words > 0; --words) {
    document["lemmas"].push_back(lemma(fields.next()));
    fields.next();  // tells senses of a word in a topic apart
  }
  nlohmann::json relations = nlohmann::json::object();
  for (int pointers = fields.number(3); pointers > 0; --pointers) {
    const std::string_view symbol = fields.next();
    const std::string_view offset = fields.next();
    const std::string target = fields.synset(offset, fields.next());
    fields.next();  // which of the words are meant
    const auto name = relation_names().find(symbol);
    if (name == relation_names().end()) fields.fail("there is no relation '" + printable(symbol.substr(0, 20)) + "'");
    nlohmann::json& targets = relations[std::string(name->second)];
    if (std::find(targets.begin(), targets.end(), target) == targets.end()) targets.push_back(target);
  }
  auto [definition, examples] = parts_of(gloss);
  document["text"] = gloss;
  document["definition"] = definition;
  document["examples"] = examples;
  document["relations"] = relations;
  return document;
}

}  // namespace

/// Members: data.noun, data.verb, data.adj, data.adv of wndb(5). Fields: pos, topic ("noun.animal"), lemmas,
/// definition and examples (together the gloss, which is the text), relations: ids of synsets by the relation's name.
void wordnet(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const auto& [pos, letter] : {std::pair("noun", 'n'), {"verb", 'v'}, {"adj", 'a'}, {"adv", 'r'}}) {
    for (const std::string& path : members_like(members, "**/data." + std::string(pos))) {
      const std::string all = as_utf8(members.read(path));
      int64_t number = 0;
      for (size_t begin = 0; begin < all.size();) {
        const size_t end = std::min(all.find('\n', begin), all.size());
        const std::string_view line(all.data() + begin, end - begin);
        begin = end + 1;
        ++number;
        if (line.empty() || line.starts_with("  ")) continue;  // the licence
        nlohmann::json document = synset(line, letter, path, number);
        document["pos"] = pos;
        emit(document);
      }
    }
  }
}

}  // namespace etude::convert
