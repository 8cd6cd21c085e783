#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "transport/transport.hpp"

namespace stillframe::transport {
namespace {

using base::Deadline;

class ListenerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / "sf-listener-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    path_ = folder_ + "/daemon.sock";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] static Deadline soon() { return Deadline::after_ms(10'000); }

  [[nodiscard]] Listener listening() const {
    auto listener = Listener::listen(path_);
    if (!listener.ok()) throw std::runtime_error(listener.status().message());
    return std::move(listener).value();
  }
  // What a daemon that was killed leaves behind.
  void leave_dead_socket(int type) const {
    const base::UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  [[nodiscard]] mode_t mode_of_socket() const {
    struct stat info {};
    EXPECT_EQ(::lstat(path_.c_str(), &info), 0);
    EXPECT_TRUE(S_ISSOCK(info.st_mode));
    return info.st_mode & 07777;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(ListenerTest, TheSocketIsForItsOwnerAloneWhateverTheUmask) {
  for (const mode_t umask_of_the_user : {mode_t{0}, mode_t{022}, mode_t{0777}}) {
    const mode_t before = ::umask(umask_of_the_user);
    {
      const Listener listener = listening();
      EXPECT_EQ(mode_of_socket(), 0600U) << "umask " << umask_of_the_user;
    }
    ::umask(before);
  }
}

TEST_F(ListenerTest, OpenToEverybodyItIsSoWhateverTheUmask) {
  const mode_t before = ::umask(0077);
  const auto listener = Listener::listen(path_, Reach::everybody);
  ::umask(before);
  ASSERT_TRUE(listener.ok()) << listener.status().message();
  EXPECT_EQ(mode_of_socket(), 0666U);
}

TEST_F(ListenerTest, ADeadSocketIsReplaced) {
  for (const int type : {SOCK_SEQPACKET, SOCK_STREAM}) {
    ASSERT_NO_FATAL_FAILURE(leave_dead_socket(type));
    const Listener listener = listening();
    EXPECT_TRUE(connect(path_, soon()).ok());
  }
}

TEST_F(ListenerTest, ALivingSocketIsLeftAlone) {
  const Listener first = listening();
  EXPECT_EQ(Listener::listen(path_).status().code(), Code::busy);
  EXPECT_TRUE(connect(path_, soon()).ok());
}

TEST_F(ListenerTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(path_) << "the user's notes";
  const auto refused = Listener::listen(path_);
  EXPECT_EQ(refused.status().code(), Code::invalid_argument);
  EXPECT_NE(refused.status().message().find(path_), std::string::npos);
  std::string kept;
  std::getline(std::ifstream(path_), kept);
  EXPECT_EQ(kept, "the user's notes");
}

TEST_F(ListenerTest, TheFileGoesWithTheListenerAndNotWithOneMovedFrom) {
  {
    Listener first = listening();
    {
      const Listener second = std::move(first);
      EXPECT_TRUE(std::filesystem::exists(path_));
    }
    EXPECT_FALSE(std::filesystem::exists(path_));
    std::ofstream(path_) << "somebody else's";
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ListenerTest, TheListenerIsCloseOnExecAndDoesNotBlock) {
  const Listener listener = listening();
  EXPECT_NE(::fcntl(listener.native_handle(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(listener.try_accept().status().code(), Code::deadline);
}

TEST_F(ListenerTest, SeveralClientsConnectAndAreToldApart) {
  const Listener listener = listening();
  auto first = connect(path_, soon());
  auto second = connect(path_, soon());
  ASSERT_TRUE(first.ok() && second.ok());
  auto first_server = listener.try_accept();
  auto second_server = listener.try_accept();
  ASSERT_TRUE(first_server.ok() && second_server.ok());
  ASSERT_TRUE(second->send("second", {}, soon()).ok());
  ASSERT_TRUE(first->send("first", {}, soon()).ok());
  EXPECT_EQ((*first_server->receive(soon()))->text, "first");
  EXPECT_EQ((*second_server->receive(soon()))->text, "second");
}

TEST_F(ListenerTest, AClientThatLeftBeforeItWasAcceptedIsAnEndedConnection) {
  const Listener listener = listening();
  { const auto client = connect(path_, soon()); }
  const auto server = listener.try_accept();
  ASSERT_TRUE(server.ok()) << server.status().message();
  const auto received = server->receive(soon());
  ASSERT_TRUE(received.ok());
  EXPECT_FALSE(received->has_value());
}

TEST_F(ListenerTest, AFullBacklogIsADeadline) {
  constexpr std::size_t kMostClients = 10'000;
  const Listener listener = listening();
  std::vector<Connection> waiting;
  Status refused;
  while (refused.ok() && waiting.size() < kMostClients) {
    auto client = connect(path_, Deadline::after_ms(20));
    if (client.ok()) {
      waiting.push_back(std::move(client).value());
    } else {
      refused = client.status();
    }
  }
  EXPECT_EQ(refused.code(), Code::deadline) << refused.message();
}

TEST_F(ListenerTest, ConnectingWhereNothingIsIsNotFound) {
  EXPECT_EQ(connect(path_, soon()).status().code(), Code::not_found);
  EXPECT_EQ(connect(folder_ + "/no/such/folder.sock", soon()).status().code(), Code::not_found);
}

TEST_F(ListenerTest, ConnectingToADeadSocketIsUnavailable) {
  ASSERT_NO_FATAL_FAILURE(leave_dead_socket(SOCK_SEQPACKET));
  const auto refused = connect(path_, soon());
  EXPECT_EQ(refused.status().code(), Code::unavailable);
  EXPECT_NE(refused.status().message().find(path_), std::string::npos);
}

TEST_F(ListenerTest, ConnectingToAnotherKindOfServerIsUnavailable) {
  const base::UniqueFd other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
  ASSERT_EQ(::bind(other.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(other.get(), 1), 0);
  EXPECT_EQ(connect(path_, soon()).status().code(), Code::unavailable);
  EXPECT_EQ(Listener::listen(path_).status().code(), Code::busy);
}

TEST_F(ListenerTest, TheLongestPathWorksAndALongerOneIsRefusedWithItsLengthAndTheLimit) {
  ASSERT_LT(folder_.size() + 1, kMaxSocketPathBytes);
  path_ = folder_ + "/" + std::string(kMaxSocketPathBytes - folder_.size() - 1, 's');
  {
    const Listener listener = listening();
    EXPECT_TRUE(connect(path_, soon()).ok());
  }
  path_ += "s";
  for (const Status& refused : {Listener::listen(path_).status(), connect(path_, soon()).status()}) {
    EXPECT_EQ(refused.code(), Code::invalid_argument);
    EXPECT_NE(refused.message().find("108"), std::string::npos) << refused.message();
    EXPECT_NE(refused.message().find("107"), std::string::npos) << refused.message();
  }
}

TEST_F(ListenerTest, AnEmptyOrAbstractPathIsRefused) {
  for (const std::string& path : {std::string(), std::string("\0daemon", 7)}) {
    EXPECT_EQ(Listener::listen(path).status().code(), Code::invalid_argument);
    EXPECT_EQ(connect(path, soon()).status().code(), Code::invalid_argument);
  }
}

TEST_F(ListenerTest, ListeningInAFolderThatDoesNotExistIsNotFound) {
  EXPECT_EQ(Listener::listen(folder_ + "/missing/daemon.sock").status().code(), Code::not_found);
}

}  // namespace
}  // namespace stillframe::transport
