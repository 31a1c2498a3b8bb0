#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <memory>

#include "sprnn/temporary_files.hpp"
#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(as_bytes(text));
  file.commit();
}

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0);
  return status.st_mode & 0777U;
}

TEST(ReadFile, GivesTheBytesUpToTheLimit) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a") << "hello";
  EXPECT_EQ(text_of(folder / "a"), "hello");
  EXPECT_THAT(read_file(folder / "a", 3), SizeIs(3));
  EXPECT_THAT(read_file(folder / "a", 0), IsEmpty());
  std::ofstream(folder / "empty").flush();
  EXPECT_THAT(read_file(folder / "empty"), IsEmpty());
}

TEST(ReadFile, ReadsAPipe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const std::string text(20'000, 'x');
  ASSERT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(ends[1]);
  EXPECT_EQ(text_of("/dev/fd/" + std::to_string(ends[0])), text);
  close(ends[0]);
}

TEST(ReadFile, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_ERROR(read_file(folder / "none"), ErrorCode::io, "none'", "No such file or directory");
  EXPECT_ERROR(read_file(folder.path()), ErrorCode::io, folder.path().native(), "Is a directory");
  EXPECT_ERROR(read_file("/dev/zero"), ErrorCode::io, "'/dev/zero'", "device");
}

TEST(ReadFile, RefusesWhatDoesNotFitIntoMemory) {
  const TemporaryFolder folder;
  std::ofstream(folder / "sparse").flush();
  if (truncate((folder / "sparse").c_str(), off_t{1} << 43) != 0)
    GTEST_SKIP() << "no sparse files of 8 TiB here";
  EXPECT_ERROR(read_file(folder / "sparse"), ErrorCode::out_of_memory, "sparse'", "8796093022208 bytes");
  EXPECT_THAT(read_file(folder / "sparse", 8), SizeIs(8));
}

TEST(AtomicFile, AppearsWhenCommitted) {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "out");
    file.write(as_bytes("one"));
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    EXPECT_THAT(folder.names(), SizeIs(1));  // the temporary
    file.write(as_bytes(" two"));
    file.commit();
  }
  EXPECT_EQ(text_of(folder / "out"), "one two");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(AtomicFile, KeepsTheOldFileUntilThen) {
  const TemporaryFolder folder;
  write_text(folder / "out", "old");
  {
    AtomicFile file(folder / "out");
    file.write(as_bytes("new"));
    EXPECT_EQ(text_of(folder / "out"), "old");
  }
  EXPECT_EQ(text_of(folder / "out"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(AtomicFile, LeavesNothingWhenAnExceptionPasses) {
  const TemporaryFolder folder;
  const auto write_and_throw = [&] {
    AtomicFile file(folder / "out");
    file.write(as_bytes("half"));
    throw Error(ErrorCode::internal, "elsewhere");
  };
  EXPECT_THROW(write_and_throw(), Error);
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(AtomicFile, KeepsPermissionsAndObeysTheUmask) {
  const TemporaryFolder folder;
  const mode_t before = umask(027);
  write_text(folder / "new", "x");
  umask(before);
  EXPECT_EQ(mode_of(folder / "new"), 0640U);
  chmod((folder / "new").c_str(), 0604);
  write_text(folder / "new", "y");
  EXPECT_EQ(mode_of(folder / "new"), 0604U);
}

TEST(AtomicFile, WritesBehindASymbolicLink) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "real");
  write_text(folder.path() / "real" / "file", "old");
  std::filesystem::create_symlink("real/file", folder / "link");
  write_text(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(text_of(folder.path() / "real" / "file"), "new");
}

TEST(AtomicFile, MakesTheFileThatALinkPromises) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "real");
  std::filesystem::create_symlink("real/file", folder / "inner");
  std::filesystem::create_symlink("inner", folder / "outer");
  write_text(folder / "outer", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "outer"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "inner"));
  EXPECT_EQ(text_of(folder.path() / "real" / "file"), "new");
}

TEST(AtomicFile, TakesTheLongestName) {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  write_text(folder / name, "x");
  EXPECT_THAT(folder.names(), ElementsAre(name));
}

TEST(AtomicFile, SaysWhyItCannotWrite) {
  const TemporaryFolder folder;
  write_text(folder / "file", "x");
  EXPECT_ERROR(AtomicFile("/dev/null/out"), ErrorCode::io, "'/dev/null/out'", "Not a directory");
  EXPECT_ERROR(AtomicFile(folder.path() / "file" / "out"), ErrorCode::io, "file/out'", "Not a directory");
  EXPECT_ERROR(AtomicFile(folder.path() / "none" / "out"), ErrorCode::io, "none/out'",
               "No such file or directory");
  EXPECT_ERROR(AtomicFile(folder.path()), ErrorCode::io, folder.path().native(), "Is a directory");
  EXPECT_ERROR(AtomicFile(""), ErrorCode::io, "''", "No such file or directory");
  EXPECT_THAT(folder.names(), ElementsAre("file"));
}

// Runs in a child, as a user to whom permissions apply: root may write everywhere.
TEST(AtomicFile, LeavesAReadOnlyFileAlone) {
  const TemporaryFolder folder;
  write_text(folder / "out", "old");
  chmod((folder / "out").c_str(), 0444);
  chmod(folder.path().c_str(), 0777);
  const pid_t child = fork();
  if (child == 0) {
    constexpr uid_t nobody = 65534;
    if (geteuid() == 0 && seteuid(nobody) != 0) _exit(3);
    const auto refused = test::throws_error([&] { write_text(folder / "out", "new"); }, ErrorCode::io,
                                            {"out'", "Permission denied"});
    _exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text_of(folder / "out"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(AtomicFile, ReportsAFullDisk) {
  EXPECT_ERROR(write_text("/dev/full", "x"), ErrorCode::io, "'/dev/full'", "No space left on device");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

// A limit on the file size fails in the middle of a write to a regular file, as a full disk does.
TEST(AtomicFile, RemovesTheTemporaryWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  write_text(folder / "out", "old");
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_text(folder / "out", std::string(10'000, 'x'));
    } catch (const Error& error) {
      _exit(error.code() == ErrorCode::io ? 0 : 2);
    }
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text_of(folder / "out"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(AtomicFile, WritesThroughToAPipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int reader = open((folder / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  write_text(folder / "pipe", "through");
  std::array<char, 16> buffer{};
  EXPECT_EQ(read(reader, buffer.data(), buffer.size()), 7);
  EXPECT_STREQ(buffer.data(), "through");
  close(reader);
  EXPECT_THAT(folder.names(), ElementsAre("pipe"));
}

TEST(AtomicFile, AppendsToAnOpenDescriptor) {
  const TemporaryFolder folder;
  write_text(folder / "log", "first ");
  const int fd = open((folder / "log").c_str(), O_WRONLY | O_APPEND);
  ASSERT_GE(fd, 0);
  write_text("/dev/fd/" + std::to_string(fd), "second");
  close(fd);
  EXPECT_EQ(text_of(folder / "log"), "first second");
}

TEST(RemoveTemporaryFiles, RemovesWhatIsBeingWritten) {
  const TemporaryFolder folder;
  AtomicFile one(folder / "one");
  AtomicFile two(folder / "two");
  AtomicFile done(folder / "done");
  done.commit();
  EXPECT_THAT(folder.names(), SizeIs(3));
  remove_temporary_files();
  EXPECT_THAT(folder.names(), ElementsAre("done"));
  EXPECT_ERROR(one.commit(), ErrorCode::io, "one'");
}

TEST(RemoveTemporaryFiles, LeavesThoseOfAForkedParent) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "out");
  const pid_t child = fork();
  if (child == 0) {
    remove_temporary_files();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_THAT(folder.names(), SizeIs(1));
  file.commit();
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(RemoveTemporaryFiles, WorksInAHandlerThatEndsTheProcess) {
  const TemporaryFolder folder;
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe(ready.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGTERM, [](int) {
      remove_temporary_files();
      _exit(7);
    });
    AtomicFile file(folder / "out");
    file.write(as_bytes("half"));
    [[maybe_unused]] const ssize_t told = write(ready[1], "x", 1);
    while (true) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_THAT(folder.names(), SizeIs(1));
  kill(child, SIGTERM);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_THAT(folder.names(), IsEmpty());
  close(ready[0]);
  close(ready[1]);
}

TEST(AtomicFile, ManyAtOnceNeedNoRegistrySlot) {
  const TemporaryFolder folder;
  std::vector<std::unique_ptr<AtomicFile>> files;
  for (int i = 0; i < 40; ++i) files.push_back(std::make_unique<AtomicFile>(folder / std::to_string(i)));
  for (const auto& file : files) file->commit();
  files.clear();
  EXPECT_THAT(folder.names(), SizeIs(40));
}

}  // namespace
}  // namespace sprnn
