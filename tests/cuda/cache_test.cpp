// The cache of compiled kernels: what it gives back, and what it must not touch.
#include "engines/cuda/kernel_cache.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "support/temporary_folder.hpp"

namespace sprnn::cuda {
namespace {

namespace fs = std::filesystem;

class Cache : public testing::Test {
 protected:
  [[nodiscard]] fs::path directory() const { return scratch_.path() / "cache"; }
  [[nodiscard]] fs::path file(const std::string& key) const { return directory() / (key + ".cubin"); }
  [[nodiscard]] static bool is_empty(const fs::path& path) { return fs::is_empty(path); }

  test::TemporaryFolder scratch_;
};

TEST_F(Cache, GivesBackWhatWasStored) {
  const KernelCache cache(directory());
  ASSERT_TRUE(cache.usable());
  EXPECT_EQ(fs::status(directory()).permissions(), fs::perms::owner_all);
  EXPECT_FALSE(cache.find("key"));
  const std::string image("machine\0code\n", 13);
  cache.store("key", image);
  EXPECT_EQ(cache.find("key"), image);
  EXPECT_EQ(KernelCache(directory()).find("key"), image);
  EXPECT_FALSE(cache.find("other"));
  cache.store("key", "newer");
  EXPECT_EQ(cache.find("key"), "newer");
}

TEST_F(Cache, AChangedFileIsNotUsed) {
  const KernelCache cache(directory());
  const std::string image(1000, 'c');
  cache.store("key", image);
  std::string good;
  std::getline(std::ifstream(file("key"), std::ios::binary), good, '\xff');
  ASSERT_GT(good.size(), image.size());
  std::vector<std::string> bad{"", "short", good.substr(0, good.size() - 1), good + "c"};
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{63}, std::size_t{64}, std::size_t{65}, good.size() - 1}) {
    bad.push_back(good);
    bad.back()[at] = static_cast<char>(bad.back()[at] ^ 1);
  }
  for (const std::string& content : bad) {
    std::ofstream(file("key"), std::ios::binary | std::ios::trunc) << content;
    EXPECT_FALSE(cache.find("key")) << content.size();
    cache.store("key", image);
    EXPECT_EQ(cache.find("key"), image);
  }
  fs::copy_file(file("key"), file("other"));  // whole, but under another's name
  EXPECT_FALSE(cache.find("other"));
}

TEST_F(Cache, AFileThatIsALinkIsNotRead) {
  const KernelCache cache(directory());
  cache.store("key", "image");
  fs::rename(file("key"), scratch_.path() / "elsewhere");
  fs::create_symlink(scratch_.path() / "elsewhere", file("key"));
  EXPECT_FALSE(cache.find("key"));
}

TEST_F(Cache, ASymbolicLinkIsNoDirectory) {
  const fs::path real = scratch_.path() / "real";
  fs::create_directory(real);
  fs::permissions(real, fs::perms::owner_all);
  fs::create_directory_symlink(real, directory());
  for (const fs::path& path : {directory(), directory() / "", directory() / "."}) {
    const KernelCache cache(path);
    EXPECT_FALSE(cache.usable()) << path;
    cache.store("key", "image");
  }
  EXPECT_TRUE(is_empty(real));
}

TEST_F(Cache, OthersMayNotEnter) {
  fs::create_directory(directory());
  for (const unsigned mode : {0755U, 0770U, 0710U, 0702U, 0777U}) {
    fs::permissions(directory(), static_cast<fs::perms>(mode));
    const KernelCache cache(directory());
    EXPECT_FALSE(cache.usable()) << mode;
    cache.store("key", "image");
    EXPECT_EQ(fs::status(directory()).permissions(),
              static_cast<fs::perms>(mode));  // it is not ours to close
  }
  EXPECT_TRUE(is_empty(directory()));
}

TEST_F(Cache, NotAfterItWasOpenedToOthersEither) {
  const KernelCache cache(directory());
  cache.store("key", "image");
  fs::permissions(directory(), static_cast<fs::perms>(0755));
  EXPECT_FALSE(cache.find("key"));
}

TEST_F(Cache, AnotherUsersDirectoryIsNotUsed) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory to another user";
  fs::create_directory(directory());
  fs::permissions(directory(), fs::perms::owner_all);
  ASSERT_EQ(chown(directory().c_str(), 12345, 12345), 0);
  EXPECT_FALSE(KernelCache(directory()).usable());
}

TEST_F(Cache, WhatCannotBeMadeIsNoError) {
  std::ofstream(directory()) << "a file";
  EXPECT_FALSE(KernelCache(directory()).usable());
  EXPECT_FALSE(KernelCache(directory() / "below a file").usable());
  EXPECT_FALSE(KernelCache("").usable());
}

TEST_F(Cache, IsBounded) {
  const KernelCache cache(directory(), 10'000);
  std::ofstream(directory() / "foreign.txt") << std::string(20'000, 'x');
  const auto now = fs::file_time_type::clock::now();
  for (int i = 0; i < 12; ++i) {
    const std::string key = "key" + std::to_string(i);
    cache.store(key, std::string(2000, 'c'));
    if (fs::exists(file(key))) fs::last_write_time(file(key), now - std::chrono::hours(100 - i));
    EXPECT_TRUE(cache.find("key0")) << "used all the time";
  }
  std::uintmax_t total = 0;
  for (const auto& entry : fs::directory_iterator(directory())) {
    if (entry.path().extension() == ".cubin") total += entry.file_size();
  }
  EXPECT_LE(total, 10'000U);
  EXPECT_TRUE(cache.find("key11"));
  EXPECT_FALSE(cache.find("key1"));
  EXPECT_TRUE(fs::exists(directory() / "foreign.txt"));
}

TEST_F(Cache, ServesSeveralProcesses) {
  constexpr int processes = 4;
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const KernelCache cache(directory(), 20'000);
      bool right = cache.usable();
      for (int i = 0; i < 50; ++i) {
        const std::string key = "key" + std::to_string((i * 7 + p) % 8);
        const std::string image = key + std::string(3000, 'c');
        cache.store(key, image);
        const auto found = cache.find(key);  // or another process made room
        right = right && (!found || *found == image);
      }
      _exit(right ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

TEST(CacheDirectory, IsWhereTheEnvironmentSays) {
  const auto set = [](const char* chosen, const char* xdg, const char* home) {
    setenv("SPRNN_CACHE_DIR", chosen, 1);
    setenv("XDG_CACHE_HOME", xdg, 1);
    setenv("HOME", home, 1);
    return cache_directory();
  };
  EXPECT_EQ(set("/a/b", "/xdg", "/home/me"), "/a/b");
  EXPECT_EQ(set("", "/xdg", "/home/me"), "/xdg/sprnn");
  EXPECT_EQ(set("", "relative", "/home/me"), "/home/me/.cache/sprnn");
  EXPECT_EQ(set("", "", ""), "");
}

}  // namespace
}  // namespace sprnn::cuda
