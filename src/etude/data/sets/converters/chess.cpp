#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

constexpr std::string_view kPieces = "KQRBSP";  // S: a knight, as problems write it

/// The position field of Forsyth-Edwards notation; none for pieces beyond those of chess and for two on a square.
std::optional<std::string> forsyth(const std::vector<std::string>& white, const std::vector<std::string>& black) {
  std::string board(64, ' ');
  for (const bool is_white : {true, false}) {
    for (const std::string& piece : is_white ? white : black) {
      if (piece.size() != 3 || kPieces.find(piece[0]) == kPieces.npos) return std::nullopt;
      const int file = piece[1] - 'a', rank = piece[2] - '1';
      if (file < 0 || file > 7 || rank < 0 || rank > 7) return std::nullopt;
      char& square = board[static_cast<size_t>((7 - rank) * 8 + file)];
      if (square != ' ') return std::nullopt;
      const char letter = piece[0] == 'S' ? 'N' : piece[0];
      square = static_cast<char>(is_white ? letter : letter - 'A' + 'a');
    }
  }
  std::string text;
  for (size_t i = 0; i < board.size(); ++i) {
    if (i > 0 && i % 8 == 0) text += '/';
    if (board[i] != ' ') {
      text += board[i];
    } else if (!text.empty() && text.back() >= '1' && text.back() <= '7') {
      ++text.back();
    } else {
      text += '1';
    }
  }
  return text;
}

std::vector<std::string> texts_of(const YAML::Node& node) {
  std::vector<std::string> texts;
  if (node && node.IsSequence()) {
    for (const YAML::Node& item : node)
      if (item.IsScalar()) texts.push_back(as_utf8(item.Scalar()));
  } else if (node && node.IsScalar()) {
    texts.push_back(as_utf8(node.Scalar()));
  }
  return texts;
}

std::string text_of(const YAML::Node& node) {
  const std::vector<std::string> texts = texts_of(node);
  return texts.empty() ? std::string() : texts[0];
}

/// Solutions are quoted within their block, and not always to the end.
std::string solution_of(const YAML::Node& node) {
  const std::string text = text_of(node);
  std::string_view solution = trim(text);
  if (solution.starts_with('"')) solution.remove_prefix(1);
  if (solution.ends_with('"')) solution.remove_suffix(1);
  return std::string(trim(solution));
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

nlohmann::json problem(const std::string& yaml, const std::string& member, int64_t line) {
  YAML::Node node;
  try {
    node = YAML::Load(yaml);
  } catch (const YAML::Exception& e) {
    refuse_member(member, "the problem is no YAML: " + printable(e.msg), line + std::max(0, e.mark.line));
  }
  if (!node.IsMap()) refuse_member(member, "the problem is no map", line);
  const YAML::Node pieces = node["algebraic"];
  if (!pieces || !pieces.IsMap()) refuse_member(member, "the problem has no 'algebraic' position", line);
  const std::vector<std::string> white = texts_of(pieces["white"]), black = texts_of(pieces["black"]);
  const std::string stipulation = text_of(node["stipulation"]), solution = solution_of(node["solution"]);
  const auto fen = forsyth(white, black);
  const bool changed = node["options"] || node["twins"] || node["conditions"] || pieces["neutral"];
  nlohmann::json document = {
      {"text", "white " + joined(white) + "\nblack " + joined(black) + "\n" + stipulation + "\n\n" + solution},
      {"authors", texts_of(node["authors"])},
      {"white", white},
      {"black", black},
      {"stipulation", stipulation},
      {"solution", solution},
      {"plain", fen.has_value() && !changed && stipulation.starts_with('#') && is_number(stipulation.substr(1))}};
  const bool black_begins = stipulation.starts_with('h');  // both play towards the mate
  if (fen) document["fen"] = *fen + (black_begins ? " b" : " w") + " - - 0 1";
  for (const char* key : {"source", "date"})
    if (const std::string text = text_of(node[key]); !text.empty()) document[key] = text;
  return document;
}

std::string stem_of(const std::string& path) {
  const size_t begin = path.rfind('/') + 1;
  return path.substr(begin, path.rfind('.') - begin);
}

/// Lines with their ends, one after the other.
std::string_view next_line(std::string_view& rest) {
  const std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size() - 1) + 1);
  rest.remove_prefix(line.size());
  return line;
}

/// Whether a line begins a key of a problem that is not read: among comments are some that are no YAML.
bool begins_unread(std::string_view line) { return line.starts_with("comments:") || line.starts_with("keywords:"); }

/// The line with all of its value in quotes, as some go on behind theirs ("=" Black to move).
std::string quoted_stipulation(std::string_view line) {
  std::string value(trim(line.substr(line.find(':') + 1)));
  std::erase_if(value, [](char c) { return c == '"' || c == '\\'; });
  return "stipulation: \"" + value + "\"\n";
}

void emit_problems(const std::string& path, const std::string& all, const Emit& emit) {
  const std::string composer = stem_of(path);
  std::string yaml;
  int number = 0;
  int64_t line_number = 0, begin = 1;
  bool unread = false;
  const auto end_problem = [&] {
    if (!trim(yaml).empty()) {
      nlohmann::json document = problem(yaml, path, begin);
      document["id"] = composer + "#" + std::to_string(++number);
      document["composer"] = composer;
      emit(document);
    }
    yaml.clear();
    begin = line_number + 1;
  };
  for (std::string_view rest = all; !rest.empty();) {
    const std::string_view line = next_line(rest);
    ++line_number;
    if (!line.starts_with(' ') && !line.starts_with('-')) unread = begins_unread(line);
    if (trim(line) == "---") {
      end_problem();
    } else {
      yaml += unread ? "\n" : line.starts_with("stipulation:") ? quoted_stipulation(line) : std::string(line);
    }
  }
  end_problem();
}

/// "[FEN \"8/...\"]" as name and value; an empty name for another line.
std::pair<std::string, std::string> pgn_tag(std::string_view line) {
  line = trim(line);
  const size_t quote = line.find(" \"");
  if (!line.starts_with('[') || !line.ends_with("\"]") || quote == line.npos || quote + 2 > line.size() - 2) return {};
  return {std::string(line.substr(1, quote - 1)), std::string(line.substr(quote + 2, line.size() - 2 - quote - 2))};
}

void emit_games(const std::string& path, const std::string& all, const Emit& emit) {
  int number = 0;
  nlohmann::json tags = nlohmann::json::object();
  std::string moves;
  const auto end_game = [&] {
    const std::string text = one_line(moves);
    if (!text.empty()) {
      nlohmann::json document = tags;
      const std::string fen = tags.value("fen", std::string());
      document["id"] = stem_of(path) + "#" + std::to_string(++number);
      document["text"] = fen.empty() ? text : fen + "\n\n" + text;
      document["composer"] = stem_of(path);
      document["solution"] = text;
      emit(document);
    }
    tags.clear();
    moves.clear();
  };
  for (std::string_view rest = all; !rest.empty();) {
    const std::string_view line = next_line(rest);
    const auto [name, value] = pgn_tag(line);
    if (name.empty()) {
      moves += line;
      continue;
    }
    if (!trim(moves).empty()) end_game();
    if (name == "FEN") tags["fen"] = value;
    if (name == "Event" && value != "?") tags["event"] = value;
    if (name == "Date" && value.find('?') != 0) tags["date"] = value;
    if (name == "Termination") tags["stipulation"] = value;
  }
  end_game();
}

}  // namespace

/// Members: .olv, problems of one composer in YAML, and .pgn, positions to be solved. A problem is a document: pieces,
/// what is wanted, solution. Fields: composer (the file), authors, source, date, white, black (pieces and squares),
/// stipulation, solution, fen; plain: whether it is a mate in n moves by the rules of chess, with neither twins nor
/// options. Of .pgn: fen, event, date, stipulation, solution.
void chess(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members_like(members, "**.olv"))
    emit_problems(path, as_utf8(members.read(path)), emit);
  for (const std::string& path : members_like(members, "**.pgn")) emit_games(path, as_utf8(members.read(path)), emit);
}

}  // namespace etude::convert
