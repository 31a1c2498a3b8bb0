// The quota of control groups, from a tree of files such as the kernel shows.
#include "plan/cgroup_quota.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/temporary_folder.hpp"

namespace sprnn {
namespace {

class CgroupQuota : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text << "\n";
  }
  [[nodiscard]] int threads() const { return threads_within_quota(8, folder_.path()); }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(CgroupQuota, WithoutGroupsLeavesAllThreads) { EXPECT_EQ(threads(), 8); }

TEST_F(CgroupQuota, OfVersion2RoundsDownToOneOrMore) {
  write("proc/self/cgroup", "0::/");
  for (const auto& [quota, expected] :
       {std::pair("max 100000", 8), std::pair("900000 100000", 8), std::pair("300000 100000", 3),
        std::pair("299900 100000", 3), std::pair("290000 100000", 2), std::pair("50000 20000", 2),
        std::pair("50000 100000", 1), std::pair("300000", 8), std::pair("300000 0", 8)}) {
    write("sys/fs/cgroup/cpu.max", quota);
    EXPECT_EQ(threads(), expected) << quota;
  }
}

// A container is a group in a group, and each may have its own.
TEST_F(CgroupQuota, OfVersion2IsTheTightestOnTheWayUp) {
  write("proc/self/cgroup", "0::/machine/box");
  write("sys/fs/cgroup/machine/box/cpu.max", "max 100000");
  EXPECT_EQ(threads(), 8);
  write("sys/fs/cgroup/machine/cpu.max", "500000 100000");
  EXPECT_EQ(threads(), 5);
  write("sys/fs/cgroup/machine/box/cpu.max", "200000 100000");
  EXPECT_EQ(threads(), 2);
  write("sys/fs/cgroup/machine/cpu.max", "100000 100000");
  EXPECT_EQ(threads(), 1);
  write("sys/fs/cgroup/machine/cpu.max", "max 100000");
  write("sys/fs/cgroup/cpu.max", "100000 100000");  // as a container sees its own group
  EXPECT_EQ(threads(), 1);
}

TEST_F(CgroupQuota, OfAnotherGroupDoesNotCount) {
  write("proc/self/cgroup", "0::/mine");
  write("sys/fs/cgroup/other/cpu.max", "100000 100000");
  write("sys/fs/cgroup/mine/below/cpu.max", "100000 100000");
  EXPECT_EQ(threads(), 8);
}

TEST_F(CgroupQuota, OfVersion1IsInTwoFilesOfTheControllersTree) {
  write("proc/self/cgroup", "11:memory:/other\n4:cpu,cpuacct:/box\n3:cpuset:/third\n0::/");
  write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000");
  write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1");  // none
  EXPECT_EQ(threads(), 8);
  write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "350000");
  EXPECT_EQ(threads(), 3);
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000");
  EXPECT_EQ(threads(), 2);
  write("sys/fs/cgroup/cpu/third/cpu.cfs_period_us", "100000");
  write("sys/fs/cgroup/cpu/third/cpu.cfs_quota_us", "100000");
  EXPECT_EQ(threads(), 2);
}

}  // namespace
}  // namespace sprnn
