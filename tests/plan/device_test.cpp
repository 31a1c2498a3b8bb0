#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sprnn/device.hpp"
#include "sprnn/error.hpp"
#include "support/expect_error.hpp"

namespace sprnn {
namespace {

TEST(Device, BuiltInsRoundTripThroughJson) {
  for (const char* name : {"h100", "h200", "a100", "cpu", "local"}) {
    const Device device = find_device(name);
    EXPECT_EQ(device_from_json(to_json(device)), device) << name;
  }
  EXPECT_EQ(find_device("a100").gpu().sm_count, 108);
  EXPECT_GT(find_device("h200").gpu().memory_bytes, find_device("h100").gpu().memory_bytes);
  EXPECT_FALSE(find_device("cpu").is_gpu());
  for (const Device& gpu : known_gpus()) EXPECT_EQ(find_device(gpu.name), gpu);
}

TEST(Device, IsReadFromAFile) {
  Device device = find_device("h100");
  device.name = "h100-pcie";
  std::get<GpuDescription>(device.description).sm_count = 114;
  const auto path = std::filesystem::temp_directory_path() /
                    fmt::format("sprnn_device_test_{}.json", static_cast<const void*>(&device));
  std::ofstream(path) << to_json(device);
  EXPECT_EQ(find_device(path.string()), device);
  std::filesystem::remove(path);
}

TEST(Device, UnknownNamesListTheKnown) {
  try {
    (void)find_device("h900");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    for (const char* part : {"h900", "h100", "a100", "cpu", "JSON"}) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW((void)find_device("/"), Error);
  EXPECT_THROW((void)find_device("/dev/zero"), Error);  // which never ends
}

// Every field missing, of another type, and out of range.
TEST(Device, BadJsonIsRefusedByField) {
  for (const char* name : {"h100", "cpu"}) {
    const nlohmann::json good = nlohmann::json::parse(to_json(find_device(name)));
    for (const auto& item : good.items()) {
      const std::string key = item.key();
      const auto expect_refused = [&](const nlohmann::json& bad) {
        try {
          (void)device_from_json(bad.dump());
          ADD_FAILURE() << bad.dump();
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::format);
          EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
        }
      };
      nlohmann::json bad = good;
      bad.erase(key);
      expect_refused(bad);
      bad = good;
      bad[key] = nlohmann::json::array();
      expect_refused(bad);
      if (!item.value().is_number()) continue;
      bad[key] = -5;
      expect_refused(bad);
    }
  }
  // Rates that would make a predicted time infinite, which the reader of a packed file would refuse.
  for (const double rate : {0.0, 1e-308, 1e300}) {
    nlohmann::json bad = nlohmann::json::parse(to_json(find_device("h100")));
    bad["clock_ghz"] = rate;
    EXPECT_ERROR((void)device_from_json(bad.dump()), ErrorCode::format, "clock_ghz is",
                 "expected 1e-06 to 1000000000000");
  }
  nlohmann::json old = nlohmann::json::parse(to_json(find_device("h100")));
  old["compute_capability"] = 75;
  EXPECT_ERROR((void)device_from_json(old.dump()), ErrorCode::format, "compute_capability is 75",
               "80 to 999");
  const auto expect_refused = [](const char* key, const nlohmann::json& value, const char* found,
                                 const char* expected) {
    nlohmann::json bad = nlohmann::json::parse(to_json(find_device("h100")));
    bad[key] = value;
    EXPECT_ERROR((void)device_from_json(bad.dump()), ErrorCode::format, found, expected);
  };
  expect_refused("sm_count", 2000000000, "sm_count is 2000000000", "1 to 4096");
  expect_refused("shared_bytes_per_block", 1000000000000000000,
                 "shared_bytes_per_block is 1000000000000000000", "1 to 1073741824");
  expect_refused("max_cluster_size", 1000000, "max_cluster_size is 1000000", "1 to 64");
  expect_refused("name", "", "name is ''", "what the device is called");
  expect_refused("name", "cpu", "name is 'cpu'", "stands for this machine");
  EXPECT_ERROR((void)device_from_json(R"({"name": "a", "kind": "cpu", "name": "b"})"), ErrorCode::format,
               "'name' occurs twice");
  for (const char* text : {"", "{", "[]", "null", "3", "{\"kind\": \"gpu\"}"}) {
    EXPECT_THROW((void)device_from_json(text), Error) << text;
  }
}

TEST(Device, UnknownKeysAndInstructionSetsAreRefused) {
  for (const char* name : {"h100", "cpu"}) {
    nlohmann::json bad = nlohmann::json::parse(to_json(find_device(name)));
    bad["clock_mhz"] = 1755;
    EXPECT_ERROR((void)device_from_json(bad.dump()), ErrorCode::format, "unknown key 'clock_mhz'", "expected",
                 "name", "l2_bytes");
  }
  nlohmann::json bad = nlohmann::json::parse(to_json(find_device("cpu")));
  bad["isa"] = "avx-512";
  EXPECT_ERROR((void)device_from_json(bad.dump()), ErrorCode::format, "isa is 'avx-512'",
               "avx512, avx2 or scalar");
}

}  // namespace
}  // namespace sprnn
