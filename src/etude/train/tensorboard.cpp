#include "etude/train/tensorboard.h"

#include <array>
#include <bit>
#include <boost/crc.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

namespace etude {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

template <class Number>
std::string little_endian(Number number) {
  static_assert(std::endian::native == std::endian::little);
  const auto bytes = std::bit_cast<std::array<char, sizeof(Number)>>(number);
  return {bytes.begin(), bytes.end()};
}

/// So that the CRC of data that hold CRCs is no special one.
uint32_t masked(uint32_t crc) { return std::rotr(crc, 15) + 0xA282EAD8U; }

std::string record(const std::string& data) {
  const std::string length = little_endian(static_cast<uint64_t>(data.size()));
  return length + little_endian(masked(crc32c(length))) + data + little_endian(masked(crc32c(data)));
}

// ---- protocol buffers: a field is its number and type, then its value ------------------------------

std::string varint(uint64_t number) {
  std::string out;
  for (; number >= 0x80; number >>= 7) out += static_cast<char>(number | 0x80);
  return out + static_cast<char>(number);
}
std::string key(uint32_t field, uint32_t type) { return varint(field << 3 | type); }
std::string field(uint32_t number, int64_t value) { return key(number, 0) + varint(static_cast<uint64_t>(value)); }
std::string field(uint32_t number, double value) { return key(number, 1) + little_endian(value); }
std::string field(uint32_t number, float value) { return key(number, 5) + little_endian(value); }
std::string field(uint32_t number, std::string_view bytes) {
  return key(number, 2) + varint(bytes.size()) + std::string(bytes);
}

// The numbers of fields in event.proto and summary.proto.
enum Event : uint32_t { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum Summary : uint32_t { kValue = 1 };
enum Value : uint32_t { kTag = 1, kSimpleValue = 2 };
enum SessionLog : uint32_t { kStatus = 1 };
constexpr int64_t kStart = 1;

/// What is too large for a float becomes infinite.
float rounded(double value) {
  if (std::abs(value) > std::numeric_limits<float>::max())
    return std::copysign(std::numeric_limits<float>::infinity(), static_cast<float>(std::copysign(1.0, value)));
  return static_cast<float>(value);
}

double wall_time_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Sorts after the names of all files that are there, as TensorBoard reads them in that order.
std::string next_path(const std::string& directory) {
  uint64_t newest = 0;
  for (const std::string& name : file::list(directory)) {
    if (!name.starts_with(kPrefix)) continue;
    uint64_t number = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
    newest = std::max(newest, number);
  }
  char digits[24];
  std::snprintf(digits, sizeof digits, "%06llu", static_cast<unsigned long long>(newest + 1));
  return directory + "/" + std::string(kPrefix) + digits;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

std::string event_header(double wall_time, int64_t first_step) {
  const std::string version = field(kWallTime, wall_time) + field(kFileVersion, std::string_view("brain.Event:2"));
  const std::string start =
      field(kWallTime, wall_time) + field(kStep, first_step) + field(kSessionLog, field(kStatus, kStart));
  return record(version) + record(start);
}

std::string event_record(const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars.values)
    summary += field(kValue, field(kTag, std::string_view(tag)) + field(kSimpleValue, rounded(value)));
  return record(field(kWallTime, scalars.wall_time) + field(kStep, scalars.step) + field(kSummary, summary));
}

EventFile::EventFile(const std::string& directory, int64_t first_step)
    : out_(next_path(directory), file::Writer::Mode::create) {
  out_.write(event_header(wall_time_now(), first_step));
}

void EventFile::write(int64_t step, const std::map<std::string, double>& values) {
  out_.write(event_record({wall_time_now(), step, values}));
}

}  // namespace etude
