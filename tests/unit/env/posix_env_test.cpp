// What only the real file system can show; the rest is in tests/contract/env_contract.hpp.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <vector>

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"
#include "env/env.hpp"
#include "env/posix_place.hpp"
#include "env/posix_rename.hpp"
#include "support/temp_dir.hpp"

namespace stillframe::env {
namespace {

class PosixEnvTest : public testing::Test {
 protected:
  Env& env_ = posix_env();
  test::TempDir dir_;

  std::string at(std::string_view name) const { return join(dir_.path(), name); }
  void put(const std::string& path, std::string_view text) {
    auto file = env_.create(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ASSERT_TRUE((*file)->write_at(0, base::as_bytes(text)).ok());
  }
};

TEST_F(PosixEnvTest, AnErrorNamesOperationPathAndReason) {
  const std::string path = at("missing");
  EXPECT_EQ(env_.open(path).status().message(), "cannot open '" + path + "': No such file or directory (ENOENT)");
  const std::string renamed = env_.rename(path, at("to")).message();
  EXPECT_NE(renamed.find(path), std::string::npos) << renamed;
  EXPECT_NE(renamed.find(at("to")), std::string::npos) << renamed;
}

TEST_F(PosixEnvTest, AWriteCutShortByALimitIsNoSpaceAndSaysWhereItStopped) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  auto file = env_.create(at("f"));
  ASSERT_TRUE(file.ok());
  const struct rlimit small { 4096, before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text(10000, 'x');
  const Status written = (*file)->write_at(0, base::as_bytes(text));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(written.code(), Code::no_space);
  EXPECT_NE(written.message().find("offset 4096"), std::string::npos) << written.message();
  EXPECT_NE(written.message().find(at("f")), std::string::npos) << written.message();
}

TEST_F(PosixEnvTest, OpenNeverFollowsASymbolicLinkInTheLastComponent) {
  put(at("secret"), "x");
  ASSERT_EQ(::symlink(at("secret").c_str(), at("link").c_str()), 0);
  const Status refused = env_.open(at("link")).status();
  EXPECT_EQ(refused.code(), Code::io_error);
  EXPECT_NE(refused.message().find("symbolic link"), std::string::npos) << refused.message();
  EXPECT_EQ(env_.try_lock(at("link"), LockMode::exclusive).status().code(), Code::io_error);
}

TEST_F(PosixEnvTest, NoCallFollowsALinkInTheDirectoryOfItsPath) {
  ASSERT_TRUE(env_.make_dirs_synced(at("real/below")).ok());
  put(at("real/f"), "outside");
  put(at("mine"), "x");
  ASSERT_EQ(::symlink(at("real").c_str(), at("link").c_str()), 0);
  const std::vector<Status> refusals{
      env_.create(at("link/new")).status(),
      env_.open(at("link/f")).status(),
      env_.make_dir(at("link/new")),
      env_.list(at("link/below")).status(),
      env_.exists(at("link/f")).status(),
      env_.info(at("link/f")).status(),
      env_.link(at("link/f"), at("stolen")),
      env_.link(at("mine"), at("link/new")),
      env_.rename(at("link/f"), at("stolen")),
      env_.rename(at("mine"), at("link/f")),
      env_.rename_no_replace(at("link/f"), at("stolen")),
      env_.rename_no_replace(at("mine"), at("link/new")),
      env_.remove_file(at("link/f")),
      env_.remove_dir(at("link/below")),
      env_.sync_dir(at("link/below")),
      env_.try_lock(at("link/f"), LockMode::exclusive).status(),
      env_.space(at("link/below")).status(),
  };
  for (const Status& refusal : refusals) {
    EXPECT_EQ(refusal.code(), Code::io_error) << refusal.message();
    EXPECT_NE(refusal.message().find("symbolic link"), std::string::npos) << refusal.message();
    EXPECT_NE(refusal.message().find(at("link")), std::string::npos) << refusal.message();
  }
  EXPECT_EQ(*read_whole(env_, at("real/f"), 100), "outside");
  EXPECT_EQ(env_.list(at("real"))->size(), 2U);
  EXPECT_FALSE(*env_.exists(at("stolen")));
}

TEST_F(PosixEnvTest, NoCallFollowsALinkInTheLastComponent) {
  ASSERT_TRUE(env_.make_dir(at("real")).ok());
  put(at("real/f"), "outside");
  ASSERT_EQ(::symlink(at("real").c_str(), at("link").c_str()), 0);
  ASSERT_EQ(::symlink(at("real/f").c_str(), at("file_link").c_str()), 0);
  for (const std::string& link : {at("link"), at("link/")}) {
    for (const Status& refusal :
         {env_.list(link).status(), env_.sync_dir(link), env_.space(link + "/.").status(), env_.remove_dir(link)}) {
      EXPECT_EQ(refusal.code(), Code::io_error) << refusal.message();
    }
  }
  EXPECT_EQ(env_.link(at("file_link"), at("stolen")).code(), Code::io_error);
  const auto info = env_.info(at("file_link"));
  ASSERT_TRUE(info.ok()) << info.status().message();
  EXPECT_FALSE(info->is_regular_file || info->is_directory);
  EXPECT_TRUE(env_.remove_file(at("file_link")).ok()) << "the link itself may be removed";
  EXPECT_EQ(*read_whole(env_, at("real/f"), 100), "outside");
}

TEST_F(PosixEnvTest, APathOfAPersonIsResolvedUpToItsLastComponent) {
  ASSERT_TRUE(env_.make_dir(at("real")).ok());
  ASSERT_EQ(::symlink(at("real").c_str(), at("link").c_str()), 0);
  EXPECT_EQ(*resolve_directory_of(env_, at("link/new")), *env_.real_path(at("real")) + "/new");
  EXPECT_EQ(*resolve_directory_of(env_, at("link/")), *env_.real_path(dir_.path()) + "/link");
  EXPECT_EQ(resolve_directory_of(env_, at("missing/new")).status().code(), Code::not_found);
}

TEST_F(PosixEnvTest, OpenOfAPipeIsRefusedInsteadOfHanging) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  const Status refused = env_.open(at("pipe")).status();
  EXPECT_EQ(refused.code(), Code::io_error);
  EXPECT_NE(refused.message().find("not a regular file"), std::string::npos) << refused.message();
}

TEST_F(PosixEnvTest, ALinkToADirectoryIsNotListedAsADirectory) {
  ASSERT_TRUE(env_.make_dir(at("d")).ok());
  ASSERT_EQ(::symlink(at("d").c_str(), at("link").c_str()), 0);
  const auto entries = env_.list(dir_.path());
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  EXPECT_EQ(entries->size(), 2U);
  for (const DirEntry& entry : *entries) EXPECT_EQ(entry.is_directory, entry.name == "d") << entry.name;
}

TEST_F(PosixEnvTest, MakeDirsGoesThroughALinkToADirectory) {
  ASSERT_TRUE(env_.make_dir(at("d")).ok());
  ASSERT_EQ(::symlink(at("d").c_str(), at("link").c_str()), 0);
  EXPECT_TRUE(env_.make_dirs_synced(at("link/below")).ok());
  EXPECT_TRUE(*env_.exists(at("d/below")));
  EXPECT_EQ(*env_.real_path(at("link/below")), *env_.real_path(at("d/below")));
}

TEST_F(PosixEnvTest, ASharedLockNeedsNoRightToWrite) {
  put(at("lock"), "");
  ASSERT_EQ(::chmod(at("lock").c_str(), 0444), 0);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0555), 0);
  EXPECT_TRUE(env_.try_lock(at("lock"), LockMode::shared).ok());
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
}

TEST_F(PosixEnvTest, ALockOnAFileThatWasRemovedDoesNotKeepTheNextOneOut) {
  auto old_lock = env_.try_lock(at("lock"), LockMode::exclusive);
  ASSERT_TRUE(old_lock.ok());
  ASSERT_TRUE(env_.remove_file(at("lock")).ok());
  EXPECT_TRUE(env_.try_lock(at("lock"), LockMode::exclusive).ok());
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe(ends.data()), 0);
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
  }
  base::UniqueFd read_end;
  base::UniqueFd write_end;
};

// A process that runs `body` and is waited for.
template <typename Body>
void in_child(Body body) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child failed, status " << status;
}

TEST_F(PosixEnvTest, ALockKeepsAnotherProcessOut) {
  auto held = env_.try_lock(at("lock"), LockMode::exclusive);
  ASSERT_TRUE(held.ok());
  in_child([&] { return env_.try_lock(at("lock"), LockMode::exclusive).status().code() == Code::busy; });
}

TEST_F(PosixEnvTest, ALockEndsWithItsProcessEvenWhileAForkedChildOfItLives) {
  Pipe to_data_loader;    // it lives until the test closes this
  Pipe from_data_loader;  // it says that it runs
  in_child([&] {
    auto held = env_.try_lock(at("lock"), LockMode::exclusive);
    if (!held.ok()) return false;
    const pid_t data_loader = ::fork();
    char byte = 0;
    if (data_loader == 0) {
      to_data_loader.write_end.reset();
      const bool said = ::write(from_data_loader.write_end.get(), &byte, 1) == 1;
      ::_exit(said && ::read(to_data_loader.read_end.get(), &byte, 1) == 0 ? 0 : 1);
    }
    const bool runs = data_loader > 0 && ::read(from_data_loader.read_end.get(), &byte, 1) == 1;
    ::_exit(runs ? 0 : 1);  // without unlocking, as a killed process
  });
  EXPECT_TRUE(env_.try_lock(at("lock"), LockMode::exclusive).ok());
}

TEST_F(PosixEnvTest, AForkedChildThatDestroysItsCopyLeavesTheParentsLock) {
  auto held = env_.try_lock(at("lock"), LockMode::exclusive);
  ASSERT_TRUE(held.ok());
  in_child([&] {
    std::move(held).value().reset();
    return true;
  });
  EXPECT_EQ(env_.try_lock(at("lock"), LockMode::exclusive).status().code(), Code::busy);
}

TEST_F(PosixEnvTest, TheRenameForOldFileSystemsNeverReplacesEither) {
  put(at("file"), "mine");
  put(at("taken"), "theirs");
  ASSERT_TRUE(env_.make_dir(at("dir")).ok());
  ASSERT_TRUE(env_.make_dir(at("taken_dir")).ok());
  EXPECT_EQ(rename_no_replace_in_two_steps(at("file"), at("taken")).code(), Code::busy);
  EXPECT_EQ(rename_no_replace_in_two_steps(at("dir"), at("taken_dir")).code(), Code::busy);
  EXPECT_EQ(rename_no_replace_in_two_steps(at("missing"), at("to")).code(), Code::not_found);
  EXPECT_EQ(*read_whole(env_, at("taken"), 100), "theirs");

  EXPECT_TRUE(rename_no_replace_in_two_steps(at("file"), at("moved")).ok());
  EXPECT_TRUE(rename_no_replace_in_two_steps(at("dir"), at("moved_dir")).ok());
  EXPECT_EQ(*read_whole(env_, at("moved"), 100), "mine");
  EXPECT_FALSE(*env_.exists(at("file")));
  EXPECT_TRUE(*env_.exists(at("moved_dir")));
  EXPECT_FALSE(*env_.exists(at("dir")));
}

TEST(EnvPaths, ParentAndJoin) {
  EXPECT_EQ(parent_dir("/a/b"), "/a");
  EXPECT_EQ(parent_dir("/a"), "/");
  EXPECT_EQ(parent_dir("/"), "/");
  EXPECT_EQ(parent_dir("a"), ".");
  EXPECT_EQ(parent_dir(""), ".");
  EXPECT_EQ(parent_dir("a/b//"), "a");
  EXPECT_EQ(parent_dir("a//b"), "a");
  EXPECT_EQ(join("a", "b"), "a/b");
  EXPECT_EQ(join("/", "b"), "/b");
  EXPECT_EQ(join("a/", "b"), "a/b");
  EXPECT_EQ(join("", "b"), "b");
}

// For file systems whose listings do not say what a name is.
TEST_F(PosixEnvTest, OfANameThatCannotBeLookedAtNothingIsAssumed) {
  ASSERT_TRUE(env_.make_dir(at("sub")).ok());
  ASSERT_EQ(::symlink("sub", at("link").c_str()), 0);
  put(at("file"), "");
  const base::UniqueFd fd(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto look_at = [&](const std::string& name) { return is_directory_at(fd.get(), name.c_str(), dir_.path()); };
  EXPECT_TRUE(look_at("sub").value());
  for (const char* const other : {"link", "file", "gone"}) EXPECT_FALSE(look_at(other).value()) << other;
  const std::string too_long(300, 'n');
  EXPECT_EQ(look_at(too_long).status().code(), Code::io_error);
  EXPECT_NE(look_at(too_long).status().message().find(at(too_long)), std::string::npos);
}

}  // namespace
}  // namespace stillframe::env
