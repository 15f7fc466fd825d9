#include "etude/train/tensorboard.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "etude/base/error.h"
#include "etude/base/testing.h"
#include "etude/train/testing.h"
#include "etude/train/trainer.h"

namespace etude::tensorboard_test {
namespace {

using test::regression;

// ---- a reader that shares nothing with the writer: bit by bit, from the published layouts -----------

uint32_t slow_crc32c(const std::string& bytes) {
  uint64_t remainder = 0xFFFFFFFF;
  for (const char byte : bytes)
    for (int bit = 0; bit < 8; ++bit) {
      const bool carry = ((remainder ^ (static_cast<unsigned char>(byte) >> bit)) & 1) != 0;
      remainder >>= 1;
      if (carry) remainder ^= 0x82F63B78;  // 0x1EDC6F41 with its bits in reverse
    }
  return static_cast<uint32_t>(remainder ^ 0xFFFFFFFF);
}

uint64_t unsigned_at(const std::string& bytes, size_t at, size_t size) {
  uint64_t number = 0;
  for (size_t i = size; i-- > 0;) number = number * 256 + static_cast<unsigned char>(bytes.at(at + i));
  return number;
}

uint32_t unmasked(uint64_t masked) {
  const auto rotated = static_cast<uint32_t>(masked - 0xA282EAD8);
  return rotated << 15 | rotated >> 17;
}

/// The data of all records. Throws where one isn't framed as it must be.
std::vector<std::string> records(const std::string& bytes) {
  std::vector<std::string> all;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = unsigned_at(bytes, at, 8);
    const std::string data = bytes.substr(at + 12, length);
    if (unmasked(unsigned_at(bytes, at + 8, 4)) != slow_crc32c(bytes.substr(at, 8))) throw std::runtime_error("length");
    if (unmasked(unsigned_at(bytes, at + 12 + length, 4)) != slow_crc32c(data)) throw std::runtime_error("data");
    all.push_back(data);
    at += 16 + length;
  }
  return all;
}

/// The fields of a message, by number and in order; each as its bytes.
std::vector<std::pair<int, std::string>> fields(const std::string& message) {
  std::vector<std::pair<int, std::string>> all;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t number = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      number |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return number;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    std::string value;
    switch (key % 8) {
      case 0: {
        const uint64_t number = varint();
        value.assign(reinterpret_cast<const char*>(&number), 8);
        break;
      }
      case 1:
        value = message.substr(at, 8);
        at += 8;
        break;
      case 2: {
        const uint64_t length = varint();
        value = message.substr(at, length);
        at += length;
        break;
      }
      case 5:
        value = message.substr(at, 4);
        at += 4;
        break;
      default:
        throw std::runtime_error("type");
    }
    all.emplace_back(static_cast<int>(key / 8), value);
  }
  return all;
}

template <class Number>
Number as(const std::string& bytes) {
  Number number;
  if (bytes.size() != sizeof number) throw std::runtime_error("size");
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

struct Read {
  double wall_time = 0;
  int64_t step = 0;
  std::string version;
  bool starts = false;
  std::map<std::string, float> values;
};

Read read_event(const std::string& data) {
  Read event;
  for (const auto& [number, value] : fields(data)) {
    if (number == 1) event.wall_time = as<double>(value);
    if (number == 2) event.step = as<int64_t>(value);
    if (number == 3) event.version = value;
    if (number == 7) event.starts = fields(value) == decltype(fields(value)){{1, std::string("\1\0\0\0\0\0\0\0", 8)}};
    if (number != 5) continue;
    for (const auto& [one, scalar] : fields(value)) {
      const auto parts = fields(scalar);
      if (one != 1 || parts.size() != 2 || parts[0].first != 1 || parts[1].first != 2)
        throw std::runtime_error("value");
      event.values[parts[0].second] = as<float>(parts[1].second);
    }
  }
  return event;
}

/// What TensorBoard shows of a directory: file after file, each START undoing what came at its step or later.
using Shown = std::map<std::pair<int64_t, std::string>, float>;
Shown shown(const std::string& directory) {
  Shown all;
  for (const std::string& name : file::list(directory)) {
    if (!name.starts_with("events.out.tfevents.")) continue;
    const auto events = records(file::read(directory + "/" + name));
    EXPECT_EQ(read_event(events.at(0)).version, "brain.Event:2");
    for (const std::string& data : events) {
      const Read event = read_event(data);
      if (event.starts) std::erase_if(all, [&](const auto& entry) { return entry.first.first >= event.step; });
      for (const auto& [tag, value] : event.values)
        EXPECT_TRUE(all.emplace(std::pair(event.step, tag), value).second) << tag << " twice at " << event.step;
    }
  }
  return all;
}

/// The same of metrics.jsonl.
Shown measured(const std::string& directory) {
  Shown all;
  std::ifstream in(directory + "/metrics.jsonl");
  for (std::string text; std::getline(in, text);) {
    const auto line = nlohmann::json::parse(text);
    for (const auto& [name, value] : line.at("values").items())
      all[{line.at("step").get<int64_t>(), name}] = value.get<float>();
  }
  return all;
}

// ---------------------------------------------------------------------------------------------------

TEST(TensorBoard, ChecksumIsThePublishedOne) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending += c;
  EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(TensorBoard, FileBeginsAsAllEventFilesDo) {
  // The twelve bytes that every event file of TensorFlow begins with: 24 and its checksum.
  const std::string header = event_header(1.0, 5);
  EXPECT_EQ(header.substr(0, 12), std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  EXPECT_EQ(header.substr(12, 9), std::string("\x09\0\0\0\0\0\0\xf0\x3f", 9));  // field 1, a double: 1.0
  EXPECT_EQ(header.substr(21, 15),
            "\x1a\x0d"
            "brain.Event:2");  // field 3, 13 bytes
  const auto events = records(header);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_FALSE(read_event(events[0]).starts);
  EXPECT_TRUE(read_event(events[1]).starts);
  EXPECT_EQ(read_event(events[1]).step, 5);
  // 1.0, step 5, a message of two bytes: status 1
  EXPECT_EQ(events[1], std::string("\x09\0\0\0\0\0\0\xf0\x3f\x10\x05\x3a\x02\x08\x01", 15));
}

TEST(TensorBoard, ScalarsComeBack) {
  const std::string long_tag(300, 'n');
  const Scalars scalars{.wall_time = 1.7e9 + 0.25,
                        .step = int64_t{1} << 40,
                        .values = {{"valid/loss", 2.5},
                                   {"a/third", 1.0 / 3},
                                   {"nan", std::nan("")},
                                   {"inf", -HUGE_VAL},
                                   {"large", -1e300},
                                   {"zero", 0.0},
                                   {"Verlust/gültig", -0.125},
                                   {long_tag, 1}}};
  const auto events = records(event_record(scalars));
  ASSERT_EQ(events.size(), 1U);
  const Read read = read_event(events[0]);
  EXPECT_EQ(read.wall_time, scalars.wall_time);
  EXPECT_EQ(read.step, scalars.step);
  EXPECT_EQ(read.values.size(), scalars.values.size());
  EXPECT_EQ(read.values.at("valid/loss"), 2.5F);
  EXPECT_EQ(read.values.at("a/third"), 1.0F / 3);
  EXPECT_TRUE(std::isnan(read.values.at("nan")));
  EXPECT_EQ(read.values.at("inf"), -HUGE_VALF);
  EXPECT_EQ(read.values.at("large"), -HUGE_VALF);
  EXPECT_EQ(read.values.at("zero"), 0.0F);
  EXPECT_EQ(read.values.at("Verlust/gültig"), -0.125F);
  EXPECT_EQ(read.values.at(long_tag), 1.0F);
}

TEST(TensorBoard, FilesFollowEachOther) {
  const TestFolder folder;
  const std::string first = folder.at("events.out.tfevents.000001"), foreign = folder.at("events.out.tfevents.17.host");
  EXPECT_EQ(EventFile(folder.path(), 0).path(), first);
  EXPECT_EQ(EventFile(folder.path(), 0).path(), folder.at("events.out.tfevents.000002"));
  std::ofstream(foreign) << "x";
  EXPECT_EQ(EventFile(folder.path(), 0).path(), folder.at("events.out.tfevents.000018"));
  EXPECT_EQ(file::read(foreign), "x");
  EXPECT_EQ(records(file::read(first)).size(), 2U);
}

TEST(TensorBoard, RunShowsItsMetricsAndTheTime) {
  const auto now = [] {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  };
  const TestFolder folder;
  const double before = now();
  fit(regression(), {.directory = folder.at("run")});
  EXPECT_EQ(measured(folder.at("run")).size(), 8U * 3);
  EXPECT_EQ(shown(folder.at("run")), measured(folder.at("run")));
  for (const std::string& data : records(file::read(folder.at("run/events.out.tfevents.000001")))) {
    EXPECT_GE(read_event(data).wall_time, before);
    EXPECT_LE(read_event(data).wall_time, now());
  }
}

TEST(TensorBoard, WhatAResumeUndoesIsNotShown) {
  const TestFolder folder;
  Surroundings around{.directory = folder.at("run")};
  TrainStage stage = regression();
  stage.checkpoint.every = Count{3, Unit::steps};
  around.interrupted = [done = 0]() mutable -> bool {
    if (++done == 5) throw std::runtime_error("dies");  // with lines of steps 4 and 5 behind the checkpoint of step 3
    return false;
  };
  EXPECT_THROW(fit(stage, around), std::runtime_error);
  around.interrupted = [done = 0]() mutable { return ++done == 1; };  // saved at step 4
  EXPECT_FALSE(fit(stage, around).finished);
  around.interrupted = nullptr;
  EXPECT_TRUE(fit(stage, around).finished);
  EXPECT_TRUE(file::exists(folder.at("run/events.out.tfevents.000003")));
  EXPECT_EQ(shown(folder.at("run")).size(), 8U * 3);
  EXPECT_EQ(shown(folder.at("run")), measured(folder.at("run")));
}

TEST(TensorBoard, RunThatBeginsAgainShowsNothingOfTheLastTime) {
  const TestFolder folder;
  Surroundings around{.directory = folder.at("run")};
  around.interrupted = []() -> bool { throw std::runtime_error("dies"); };  // before there is a checkpoint
  EXPECT_THROW(fit(regression(), around), std::runtime_error);
  around.interrupted = nullptr;
  fit(regression(), around);
  EXPECT_EQ(shown(folder.at("run")), measured(folder.at("run")));
}

TEST(TensorBoard, HalfARecordEndsAFileAndTheNextOneGoesOn) {
  const TestFolder folder;
  Surroundings around{.directory = folder.at("run")};
  around.interrupted = [done = 0]() mutable { return ++done == 4; };
  EXPECT_FALSE(fit(regression(), around).finished);
  const std::string first = folder.at("run/events.out.tfevents.000001"), before = file::read(first);
  std::ofstream(first, std::ios::app | std::ios::binary) << before.substr(0, 7);
  around.interrupted = nullptr;
  fit(regression(), around);
  EXPECT_EQ(file::read(first).size(), before.size() + 7);  // nobody mends what TensorBoard may be reading
  EXPECT_EQ(records(file::read(folder.at("run/events.out.tfevents.000002"))).size(), 2U + 4 + 1);
}

TEST(TensorBoard, AFullDiskIsAnError) {
  const TestFolder folder;
  EventFile events(folder.path(), 0);
  events.write(1, {{"a", 1}});
  file::inject({1, file::Injection::Fault::enospc});
  try {
    events.write(2, {{"a", 1}});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::io);
    EXPECT_NE(std::string(error.what()).find("events.out.tfevents.000001"), std::string::npos) << error.what();
  }
  file::inject({});
}

}  // namespace
}  // namespace etude::tensorboard_test
