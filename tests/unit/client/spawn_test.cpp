// Where a daemon that is started for the user listens, and what is said when none can be started.
#include "client/spawn.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>

#include "client/query.hpp"
#include "support/temp_dir.hpp"

namespace stillframe::test {
namespace {

using client::connect_or_spawn;
using client::default_socket_path;
using testing::HasSubstr;
using testing::StartsWith;

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    if (value != nullptr) ::setenv(name, value, 1);
    if (value == nullptr) ::unsetenv(name);
  }
  ~Variable() {
    if (before_) ::setenv(name_, before_->c_str(), 1);
    if (!before_) ::unsetenv(name_);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(SocketPath, StandsInTheRuntimeDirectoryOneForEachStore) {
  const TempDir dir;
  const Variable runtime("XDG_RUNTIME_DIR", dir.path().c_str());
  const auto path = default_socket_path("/runs/gpt");
  ASSERT_TRUE(path.ok()) << path.status().message();
  EXPECT_THAT(*path, StartsWith(dir.path() + "/stillframe/"));
  EXPECT_EQ(*default_socket_path("/runs/gpt"), *path);
  EXPECT_NE(*default_socket_path("/runs/bert"), *path);
  struct stat info {};
  ASSERT_EQ(::stat((dir.path() + "/stillframe").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST(SocketPath, WithoutARuntimeDirectoryItIsPrivateUnderTheTemporaryOne) {
  const TempDir dir;
  const Variable runtime("XDG_RUNTIME_DIR", nullptr);
  const Variable temporary("TMPDIR", dir.path().c_str());
  const auto path = default_socket_path("/runs/gpt");
  ASSERT_TRUE(path.ok()) << path.status().message();
  EXPECT_THAT(*path, StartsWith(dir.path() + "/stillframe-" + std::to_string(::geteuid()) + "/"));
}

TEST(SocketPath, ADirectoryThatOthersMayEnterIsRefused) {
  const TempDir dir;
  const Variable runtime("XDG_RUNTIME_DIR", dir.path().c_str());
  ASSERT_EQ(::mkdir((dir.path() + "/stillframe").c_str(), 0700), 0);
  ASSERT_EQ(::chmod((dir.path() + "/stillframe").c_str(), 0755), 0);
  const auto refused = default_socket_path("/runs/gpt");
  EXPECT_EQ(refused.status().code(), Code::invalid_argument);
  EXPECT_THAT(refused.status().message(), HasSubstr("0700"));
}

TEST(SocketPath, ALinkInItsPlaceIsRefused) {
  const TempDir dir;
  const TempDir elsewhere;
  const Variable runtime("XDG_RUNTIME_DIR", dir.path().c_str());
  ASSERT_EQ(::symlink(elsewhere.path().c_str(), (dir.path() + "/stillframe").c_str()), 0);
  EXPECT_FALSE(default_socket_path("/runs/gpt").ok());
}

TEST(SocketPath, OneThatASocketCannotHaveIsRefusedWithTheWayOut) {
  const TempDir dir;
  const std::string deep = dir.path() + "/" + std::string(80, 'd');
  ASSERT_EQ(::mkdir(deep.c_str(), 0700), 0);
  const Variable runtime("XDG_RUNTIME_DIR", deep.c_str());
  const auto refused = default_socket_path("/runs/gpt");
  EXPECT_EQ(refused.status().code(), Code::invalid_argument);
  EXPECT_THAT(refused.status().message(), HasSubstr("XDG_RUNTIME_DIR"));
}

class Spawning : public testing::Test {
 protected:
  std::string program(const std::string& script) {
    const std::string path = dir_.path() + "/stillframed";
    {
      std::ofstream file(path);
      file << "#!/bin/sh\n" << script << "\n";
    }
    ::chmod(path.c_str(), 0755);
    return path;
  }
  Status spawn(const std::string& daemon_path, std::uint64_t deadline_ms = 10'000) {
    return connect_or_spawn({dir_.path() + "/d.sock", dir_.path(), daemon_path, ""},
                            base::Deadline::after_ms(deadline_ms))
        .status();
  }
  TempDir dir_;
};

TEST_F(Spawning, AProgramThatIsNotThereIsNamedWithTheWayOut) {
  const Status failed = spawn("/nowhere/stillframed");
  EXPECT_EQ(failed.code(), Code::unavailable);
  EXPECT_THAT(failed.message(), HasSubstr("/nowhere/stillframed"));
  EXPECT_THAT(failed.message(), HasSubstr("daemon_path"));
}

TEST_F(Spawning, WhatTheDaemonSaidBeforeItGaveUpIsPassedOn) {
  const Status failed = spawn(program("echo 'the disk is made of cheese' >&2; exit 1"));
  EXPECT_EQ(failed.code(), Code::unavailable);
  EXPECT_THAT(failed.message(), HasSubstr("the disk is made of cheese"));
}

TEST_F(Spawning, AnEndlessErrorIsCutOff) {
  const Status failed = spawn(program("i=0; while [ $i -lt 3000 ]; do echo 0123456789 >&2; i=$((i+1)); done; exit 1"));
  EXPECT_EQ(failed.code(), Code::unavailable);
  EXPECT_LT(failed.message().size(), 10'000U);
}

TEST_F(Spawning, AProgramThatNeverIsReadyIsGivenUpAtTheDeadline) {
  const Status failed = spawn(program("exec tail -f /dev/null"), 300);
  EXPECT_EQ(failed.code(), Code::unavailable);
  EXPECT_THAT(failed.message(), HasSubstr("in time"));
}

TEST_F(Spawning, AProgramThatSaysItIsReadyAndIsNot) {
  const Status failed = spawn(program("exit 0"));
  EXPECT_FALSE(failed.ok());
}

TEST_F(Spawning, ItInheritsNoDescriptorOfTheTrainer) {
  // Not close-on-exec, as a careless library opens one; a number that the shell does not use itself.
  const int leaked = ::fcntl(0, F_DUPFD, 200);
  ASSERT_GE(leaked, 200);
  const std::string there = "test -e /proc/$$/fd/" + std::to_string(leaked);
  const Status failed = spawn(program(there + " && echo it is inherited >&2 || echo nothing is inherited >&2; exit 1"));
  ::close(leaked);
  EXPECT_THAT(failed.message(), HasSubstr("nothing is inherited"));
}

}  // namespace
}  // namespace stillframe::test
