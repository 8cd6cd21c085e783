#include "daemon/served_path.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "support/store_fixture.hpp"

namespace stillframe::daemon {
namespace {

using Found = ServedPath::Found;

class ServedPathTest : public testing::Test {
 protected:
  [[nodiscard]] std::string socket() const { return dir_.path() + "/d.sock"; }
  [[nodiscard]] std::string lock() const { return socket() + ".lock"; }
  [[nodiscard]] Result<transport::Connection> come() const {
    return transport::connect(socket(), base::Deadline::after_ms(10'000));
  }
  void SetUp() override {
    auto taken = ServedPath::take(socket(), transport::Reach::owner);
    ASSERT_TRUE(taken.ok()) << taken.status().message();
    served_.emplace(std::move(taken).value());
  }

  test::TempDir dir_;
  std::optional<ServedPath> served_;
};

TEST_F(ServedPathTest, InPlaceNothingIsMadeAgain) {
  const auto look = served_->look();
  EXPECT_EQ(look.found, Found::in_place);
  EXPECT_FALSE(look.locked_again);
}

TEST_F(ServedPathTest, ASecondOneIsBusy) { EXPECT_EQ(ServedPath::take(socket(), transport::Reach::owner).status().code(), Code::busy); }

TEST_F(ServedPathTest, AFileThatIsGoneIsMadeAgainAndWhoHadConnectedBeforeIsNotLost) {
  const auto early = come();
  ASSERT_TRUE(early.ok());
  std::filesystem::remove(socket());
  auto look = served_->look();
  EXPECT_EQ(look.found, Found::bound_again);
  ASSERT_EQ(look.waiting.size(), 1U);
  ASSERT_TRUE(look.waiting.front().send("welcome", {}, base::Deadline::after_ms(1000)).ok());
  EXPECT_EQ((*early->receive(base::Deadline::after_ms(10'000)))->text, "welcome");
  const auto late = come();
  EXPECT_TRUE(late.ok()) << late.status().message();
  EXPECT_TRUE(served_->listener().try_accept().ok());
  EXPECT_EQ(served_->look().found, Found::in_place);
}

TEST_F(ServedPathTest, WhatIsMadeAgainIsAsPrivateOrAsOpenAsBefore) {
  using std::filesystem::perms;
  constexpr perms kAll = perms::owner_read | perms::owner_write | perms::group_read | perms::group_write |
                         perms::others_read | perms::others_write;
  const auto mode_made_again = [this](const std::string& path, transport::Reach reach) {
    auto taken = ServedPath::take(path, reach);
    EXPECT_TRUE(taken.ok()) << path;
    EXPECT_TRUE(std::filesystem::remove(path));
    EXPECT_EQ(taken->look().found, Found::bound_again);
    return std::filesystem::status(path).permissions();
  };
  EXPECT_EQ(mode_made_again(dir_.path() + "/own.sock", transport::Reach::owner), perms::owner_read | perms::owner_write);
  EXPECT_EQ(mode_made_again(dir_.path() + "/open.sock", transport::Reach::everybody), kAll);
}

TEST_F(ServedPathTest, ADeadSocketInItsPlaceIsReplaced) {
  std::filesystem::remove(socket());
  {
    auto other = transport::Listener::listen(dir_.path() + "/other.sock");
    ASSERT_TRUE(other.ok());
    std::filesystem::create_hard_link(dir_.path() + "/other.sock", socket());
  }
  EXPECT_EQ(served_->look().found, Found::bound_again);
  EXPECT_TRUE(come().ok());
}

TEST_F(ServedPathTest, WithoutItsLockFileItLocksAgainAndKeepsOthersOut) {
  std::filesystem::remove(lock());
  EXPECT_TRUE(served_->look().locked_again);
  std::filesystem::remove(socket());
  EXPECT_EQ(ServedPath::take(socket(), transport::Reach::owner).status().code(), Code::busy);
  EXPECT_FALSE(served_->look().locked_again);
}

TEST_F(ServedPathTest, OfTwoThatLostBothFilesTheOneAtThePathStaysAndItsFileOutlivesTheOther) {
  std::filesystem::remove(socket());
  std::filesystem::remove(lock());
  auto other = ServedPath::take(socket(), transport::Reach::owner);
  ASSERT_TRUE(other.ok()) << other.status().message();
  const auto look = served_->look();
  EXPECT_EQ(look.found, Found::taken);
  EXPECT_EQ(look.why.code(), Code::busy);
  EXPECT_EQ(other->look().found, Found::in_place);
  served_.reset();
  EXPECT_TRUE(come().ok());
}

TEST_F(ServedPathTest, AFileThatIsNoSocketIsLeftAndTheNextLookTriesAgain) {
  std::filesystem::remove(socket());
  std::ofstream(socket()) << "notes";
  const auto look = served_->look();
  EXPECT_EQ(look.found, Found::not_bound);
  EXPECT_THAT(look.why.message(), testing::HasSubstr("not a socket"));
  EXPECT_TRUE(std::filesystem::is_regular_file(socket()));
  std::filesystem::remove(socket());
  EXPECT_EQ(served_->look().found, Found::bound_again);
}

TEST_F(ServedPathTest, AWholeDirectoryThatIsGoneIsFoundAgain) {
  const std::string away = dir_.path() + "/run";
  std::filesystem::create_directory(away);
  auto taken = ServedPath::take(away + "/d.sock", transport::Reach::owner);
  ASSERT_TRUE(taken.ok());
  std::filesystem::remove_all(away);
  EXPECT_EQ(taken->look().found, Found::not_bound);
  std::filesystem::create_directory(away);
  const auto look = taken->look();
  EXPECT_EQ(look.found, Found::bound_again);
  EXPECT_TRUE(look.locked_again);
}

}  // namespace
}  // namespace stillframe::daemon
