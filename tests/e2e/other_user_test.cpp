// A daemon and trainers of different users, as between a node and its containers.
#include <sys/stat.h>

#include <filesystem>

#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uid_t kDaemonUser = 61'234;
constexpr uid_t kTrainer = 61'235;
constexpr uid_t kStranger = 61'236;

class OtherUser : public DaemonTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
    // The directory of the socket and of the store: its owner's, and everybody may pass.
    ASSERT_EQ(::chown(dir_.path().c_str(), kDaemonUser, kDaemonUser), 0);
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  }
  [[nodiscard]] static Process as_user(uid_t uid, const std::vector<std::string>& role) {
    std::vector<std::string> arguments{"/proc/self/exe", "--as-user", std::to_string(uid)};
    arguments.insert(arguments.end(), role.begin(), role.end());
    return Process(arguments);
  }
  void start_daemon_that_allows(const std::string& uids) {
    daemon_ = as_user(kDaemonUser, {"--role-daemon", "daemon.socket=" + socket(), "arena.budget_bytes=67108864",
                                    "daemon.allowed_uids=" + uids});
    ASSERT_EQ(daemon_.line(), "ready");
  }
  [[nodiscard]] Process trainer_of(uid_t uid, std::int64_t step) const {
    return as_user(uid, {"--role-trainer", socket(), store_path(), "plain", std::to_string(step)});
  }
  // Restores and goes on: "from 4", then what it takes.
  [[nodiscard]] Process resumed_of(uid_t uid) const {
    return as_user(uid, {"--role-rank", socket(), store_path(), "train", "0", "1", "0"});
  }
  // What a trainer hears that only opens.
  [[nodiscard]] std::string answer_to(uid_t uid) const {
    return as_user(uid, {"--role-rank", socket(), store_path(), "join", "0", "1", "0"}).line().value_or("(nothing)");
  }
};

TEST_F(OtherUser, WhenAllowedTrainsAndResumesThroughThisDaemonAndTheNextAndAllFilesAreTheDaemons) {
  ASSERT_NO_FATAL_FAILURE(start_daemon_that_allows(std::to_string(kTrainer)));
  Process first = trainer_of(kTrainer, 7);
  ASSERT_EQ(first.line(), "captured");
  // Nobody would be welcome before the daemon has seen its end: by the pidfd that it brought.
  first.kill();
  Process second = resumed_of(kTrainer);
  ASSERT_EQ(second.line(), "from 7");
  ASSERT_EQ(second.line(), "sealed 8");
  ASSERT_TRUE(wait_until([this] { return steps().size() > 1; }));
  second.kill();
  daemon_.kill();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(store_path())) {
    struct stat info {};
    ASSERT_EQ(::lstat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, kDaemonUser) << entry.path();
  }
  ASSERT_NO_FATAL_FAILURE(start_daemon_that_allows(std::to_string(kTrainer)));
  Process third = resumed_of(kTrainer);
  const auto from = third.line();
  ASSERT_TRUE(from.has_value());
  EXPECT_THAT(*from, testing::MatchesRegex("from ([89]|[1-9][0-9])"));
}

TEST_F(OtherUser, WhenNotAllowedIsToldItsNumberAndTheKeyAndRootIsServedAllTheSame) {
  ASSERT_NO_FATAL_FAILURE(start_daemon_that_allows(std::to_string(kTrainer)));
  EXPECT_THAT(answer_to(kStranger),
              AllOf(HasSubstr("user " + std::to_string(kStranger)), HasSubstr("daemon.allowed_uids")));
  EXPECT_TRUE(daemon_answers()) << "this process is root's";
  EXPECT_EQ(answer_to(kTrainer), "joined");
}

TEST_F(OtherUser, CannotReachADaemonThatAllowsNobody) {
  ASSERT_NO_FATAL_FAILURE(start_daemon_that_allows(""));
  EXPECT_THAT(answer_to(kTrainer), HasSubstr("Permission denied"));
  EXPECT_EQ(answer_to(kDaemonUser), "joined");
}

}  // namespace
}  // namespace stillframe::test
