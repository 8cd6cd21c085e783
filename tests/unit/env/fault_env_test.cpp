// What FaultEnv promises beyond the contract: planned failures, counters, and what is left when only what was synced
// survives. The rest of what a power loss may leave is in fault_survivor_test.cpp.
#include "support/fault_env.hpp"

#include <gtest/gtest.h>

#include "base/bytes.hpp"

namespace stillframe::test {
namespace {

class FaultEnvTest : public testing::Test {
 protected:
  FaultEnv env_;

  static std::string get(env::Env& env, const std::string& path) {
    auto text = env::read_whole(env, path, 1 << 20);
    return text.ok() ? *text : std::string(code_name(text.status().code()));
  }
  void put(const std::string& path, std::string_view text, bool sync) {
    auto file = env_.create(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ASSERT_TRUE((*file)->write_at(0, base::as_bytes(text)).ok());
    if (!sync) return;
    ASSERT_TRUE((*file)->sync().ok());
  }
};

TEST_F(FaultEnvTest, AFileWhoseDirectoryWasNotSyncedIsGoneAfterACrash) {
  put("/f", "x", true);
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "not found");
  ASSERT_TRUE(env_.sync_dir("/").ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "x");
}

TEST_F(FaultEnvTest, AFileThatWasNotSyncedIsEmptyAfterACrash) {
  put("/f", "x", false);
  ASSERT_TRUE(env_.sync_dir("/").ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "");
  EXPECT_EQ(get(env_, "/f"), "x") << "the world in which the power did not fail stays as it was";
}

TEST_F(FaultEnvTest, ARenameNotYetSyncedIsUndoneByACrash) {
  ASSERT_TRUE(env_.make_dirs_synced("/store/x.partial").ok());
  put("/store/x.partial/data", "bytes", true);
  ASSERT_TRUE(env_.sync_dir("/store/x.partial").ok());
  ASSERT_TRUE(env_.rename_no_replace("/store/x.partial", "/store/x").ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/store/x.partial/data"), "bytes");
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/store/x/data"), "not found");
  ASSERT_TRUE(env_.sync_dir("/store").ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/store/x.partial/data"), "not found");
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/store/x/data"), "bytes");
}

TEST_F(FaultEnvTest, ARemovalNotYetSyncedIsUndoneByACrash) {
  ASSERT_TRUE(env::replace_file_synced(env_, "/f", base::as_bytes("x")).ok());
  ASSERT_TRUE(env_.remove_file("/f").ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "x");
  ASSERT_TRUE(env_.sync_dir("/").ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "not found");
}

TEST_F(FaultEnvTest, ACrashCopiesSoThatTheTwoWorldsPart) {
  ASSERT_TRUE(env::replace_file_synced(env_, "/f", base::as_bytes("before")).ok());
  const auto after = env_.survivor(FaultEnv::kOnlySynced);
  ASSERT_TRUE(env::replace_file_synced(*after, "/f", base::as_bytes("after")).ok());
  EXPECT_EQ(get(env_, "/f"), "before");
  EXPECT_EQ(get(*after->survivor(FaultEnv::kOnlySynced), "/f"), "after");
}

TEST_F(FaultEnvTest, ACrashEndsEveryLock) {
  auto held = env_.try_lock("/lock", env::LockMode::exclusive);
  ASSERT_TRUE(held.ok());
  EXPECT_TRUE(env_.survivor(FaultEnv::kOnlySynced)->try_lock("/lock", env::LockMode::exclusive).ok());
}

TEST_F(FaultEnvTest, DirectoriesMadeSyncedSurviveWithTheirParents) {
  ASSERT_TRUE(env_.make_dirs_synced("/a/b/c").ok());
  EXPECT_TRUE(*env_.survivor(FaultEnv::kOnlySynced)->exists("/a/b/c"));
}

TEST_F(FaultEnvTest, AFileReplacedSyncedSurvivesWhole) {
  ASSERT_TRUE(env::replace_file_synced(env_, "/f", base::as_bytes("whole")).ok());
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "whole");
}

TEST_F(FaultEnvTest, AReplacementThatFailsAnywhereKeepsTheOldContent) {
  ASSERT_TRUE(env::replace_file_synced(env_, "/f", base::as_bytes("old")).ok());
  for (const EnvOp op : {EnvOp::create, EnvOp::write_at, EnvOp::sync, EnvOp::rename}) {
    env_.fail({.op = op, .code = Code::io_error});
    const Status refused = env::replace_file_synced(env_, "/f", base::as_bytes("new"));
    EXPECT_EQ(refused.code(), Code::io_error) << env_op_name(op);
    EXPECT_NE(refused.message().find("keeps its old content"), std::string::npos) << refused.message();
    EXPECT_EQ(get(env_, "/f"), "old") << env_op_name(op);
    EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "old") << env_op_name(op);
    EXPECT_FALSE(*env_.exists("/f.tmp")) << env_op_name(op);
  }
}

TEST_F(FaultEnvTest, TheNthCallFailsOnce) {
  env_.fail({.op = EnvOp::make_dir, .code = Code::no_space, .nth_call = 2});
  EXPECT_TRUE(env_.make_dir("/a").ok());
  EXPECT_EQ(env_.make_dir("/b").code(), Code::no_space);
  EXPECT_TRUE(env_.make_dir("/b").ok());
}

TEST_F(FaultEnvTest, AFailureForEverLastsUntilItIsTakenBack) {
  env_.fail({.op = EnvOp::make_dir, .code = Code::io_error, .nth_call = 2, .for_ever = true});
  EXPECT_TRUE(env_.make_dir("/a").ok());
  EXPECT_EQ(env_.make_dir("/b").code(), Code::io_error);
  EXPECT_EQ(env_.make_dir("/b").code(), Code::io_error);
  env_.fail_nothing();
  EXPECT_TRUE(env_.make_dir("/b").ok());
}

TEST_F(FaultEnvTest, AFailureCanBeAimedAtAPath) {
  env_.fail({.op = EnvOp::make_dir, .code = Code::io_error, .path_contains = "bad"});
  EXPECT_TRUE(env_.make_dir("/good").ok());
  EXPECT_EQ(env_.make_dir("/bad").code(), Code::io_error);
}

TEST_F(FaultEnvTest, AFullDiskKeepsHalfOfTheWrite) {
  auto file = env_.create("/f");
  ASSERT_TRUE(file.ok());
  env_.fail({.op = EnvOp::write_at, .code = Code::no_space});
  EXPECT_EQ((*file)->write_at(0, base::as_bytes("abcd")).code(), Code::no_space);
  EXPECT_EQ(get(env_, "/f"), "ab");
}

TEST_F(FaultEnvTest, AFileWhoseSyncFailedIsGivenUp) {
  auto file = env_.create("/f");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(env_.sync_dir("/").ok());
  ASSERT_TRUE((*file)->write_at(0, base::as_bytes("x")).ok());
  env_.fail({.op = EnvOp::sync, .code = Code::io_error});
  EXPECT_EQ((*file)->sync().code(), Code::io_error);
  EXPECT_EQ((*file)->sync().code(), Code::io_error);
  EXPECT_EQ((*file)->write_at(0, base::as_bytes("y")).code(), Code::io_error);
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "");
}

TEST_F(FaultEnvTest, EveryCallIsCounted) {
  put("/f", "x", true);
  EXPECT_EQ(env_.calls(EnvOp::create), 1U);
  EXPECT_EQ(env_.calls(EnvOp::write_at), 1U);
  EXPECT_EQ(env_.calls(EnvOp::sync), 1U);
  EXPECT_EQ(env_.calls(), 3U);
  ASSERT_TRUE(env_.make_dirs_synced("/a/b").ok());
  EXPECT_EQ(env_.calls(EnvOp::make_dir), 2U);
  EXPECT_EQ(env_.calls(EnvOp::sync_dir), 4U);
}

TEST_F(FaultEnvTest, PastThePageCacheOnlyWhatWasReallySyncedIsThere) {
  const auto file = env_.create("/f").value();
  const auto block = [](char c) { return std::vector<std::byte>(4096, static_cast<std::byte>(c)); };
  const auto first_byte = [&](std::uint64_t at) {
    std::byte byte{};
    EXPECT_EQ(file->read_at(at, {&byte, 1}).value(), 1U);
    return static_cast<char>(byte);
  };
  ASSERT_TRUE(file->write_at(0, block('a')).ok() && file->sync().ok());
  ASSERT_TRUE(file->write_at(0, block('b')).ok() && file->write_at(4096, block('c')).ok());
  file->drop_cache();
  EXPECT_EQ(first_byte(0), 'b') << "what was never synced stays in memory";
  env_.fail({.op = EnvOp::sync, .code = Code::ok, .for_ever = true});
  ASSERT_TRUE(file->sync().ok());
  EXPECT_EQ(first_byte(0), 'b') << "a lie shows only once the cache is gone";
  ASSERT_TRUE(file->write_at(4096, block('d')).ok());
  file->drop_cache();
  EXPECT_EQ(first_byte(0), 'a');
  EXPECT_EQ(first_byte(4096), 'd') << "written again since the lie";
  EXPECT_EQ(file->size().value(), 8192U);
  env_.fail_nothing();
  ASSERT_TRUE(file->sync().ok());
  file->drop_cache();
  EXPECT_EQ(first_byte(4096), 'd');
  EXPECT_EQ(first_byte(0), 'a');
}

}  // namespace
}  // namespace stillframe::test
