// The daemon's event loop: accepts, sessions as coroutines, the registry of runs, stop and idle. One thread runs it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/thread.hpp"
#include "daemon/config.hpp"
#include "daemon/generation.hpp"
#include "daemon/run_session.hpp"
#include "daemon/served_path.hpp"
#include "transport/transport.hpp"

namespace stillframe::daemon {

class DaemonCore {
 public:
  DaemonCore(const Config& config, ServedPath served, std::unique_ptr<persist::Encoders> encoders,
             std::unique_ptr<base::WorkerPool> blocking);
  [[nodiscard]] Status run(const std::function<void()>& ready);

 private:
  struct Client {
    transport::Connection connection;
    pid_t pid = 0;  // in the daemon's eyes, which may count otherwise than those of a trainer in a container; 0: not seen
    std::shared_ptr<RunSession> session;  // null until Hello, and for clients that only ask
    std::shared_ptr<RunSession> hot;      // a dead predecessor whose memory this client reads
    bool said_bye = false;
  };
  using ClientPtr = std::shared_ptr<Client>;
  using Task = boost::asio::awaitable<void>;

  Task accept_loop();
  // Until nobody can come there any more.
  Task accept_at(int listener);
  void welcome(transport::Connection connection);
  Task watch_path();
  Task serve(ClientPtr client);
  Task serve_messages(ClientPtr client);
  Task handle(ClientPtr client, transport::Message message);
  Task handle_hello(ClientPtr client, protocol::Hello hello, std::vector<base::UniqueFd> descriptors);
  Task greet(ClientPtr client, protocol::Hello hello, std::vector<base::UniqueFd> descriptors);
  Task handle_settle(ClientPtr client, protocol::Settle settle);
  Task handle_arena(ClientPtr client, protocol::ArenaRequest request);
  Task handle_bye(ClientPtr client);
  Task handle_hot_request(ClientPtr client, protocol::HotRequest request);
  void handle_hot_done(const ClientPtr& client);
  void let_go_of_hot(const ClientPtr& client);
  // Memory that only waits for a successor goes where an arena needs the room.
  Task make_room(std::shared_ptr<RunSession> session, protocol::ArenaRequest request);
  void let_go_of_stored(const RunSession& successor) const;
  [[nodiscard]] bool somebody_goes() const;
  [[nodiscard]] bool is_short_of(const RunSession& session, const protocol::ArenaRequest& request) const;
  [[nodiscard]] std::shared_ptr<RunSession> who_makes_room(bool else_refused) const;
  Task stay_for_successor(std::shared_ptr<RunSession> session);
  Task watch_trainer(std::shared_ptr<RunSession> session);
  Task retire(std::shared_ptr<RunSession> session, ClientPtr farewell);
  Task stop_on_signal();
  Task stop();
  Task watch_idle();
  // Polls until `done` or the deadline; true when done.
  boost::asio::awaitable<bool> poll_until(const std::function<bool()>& done, base::Deadline deadline);

  [[nodiscard]] Result<Placement> admit(const protocol::Hello& hello,
                                        const std::vector<base::UniqueFd>& descriptors) const;
  [[nodiscard]] std::vector<std::shared_ptr<RunSession>> sessions_of(const std::string& store, const std::string& run) const;
  [[nodiscard]] std::vector<std::shared_ptr<RunSession>> predecessors(const RunSession& session) const;
  [[nodiscard]] std::shared_ptr<Scrubber> scrubber_for(const RunSession& session) const;
  [[nodiscard]] std::uint64_t used_arena_bytes() const;
  [[nodiscard]] std::uint64_t progress_of(const RunSession& session) const;
  [[nodiscard]] std::uint64_t free_arena_bytes() const;
  [[nodiscard]] protocol::StatusReply status() const;
  [[nodiscard]] std::function<void(const persist::News&)> news_to(const ClientPtr& client);
  void reply(const Client& client, const protocol::Message& message, int descriptor = -1) const;
  void end_what_begins_anew(const protocol::Hello& hello);
  void trainer_gone(const std::shared_ptr<RunSession>& session, const char* how);
  void line_broken(const std::shared_ptr<RunSession>& session);

  const Config config_;
  ServedPath served_;
  // Before the loop: what its coroutines hold at the end may still use them.
  std::unique_ptr<persist::Encoders> encoders_;
  std::unique_ptr<base::WorkerPool> blocking_;
  bool granting_ = false;  // an arena is being given memory: the budget is counted by one at a time
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_;
  std::function<void()> end_accepting_;  // at the listener before
  bool moved_ = false;                   // to another listener, and the one before is not to be looked at again
  boost::asio::steady_timer accept_again_;
  std::vector<std::shared_ptr<RunSession>> sessions_;  // living and draining
  std::vector<std::weak_ptr<Client>> clients_;
  std::map<const RunSession*, std::function<void()>> stop_watching_;  // ends watch_trainer() of that session
  std::int64_t started_ns_ = 0;
  std::int64_t last_used_ns_ = 0;
  std::set<std::pair<std::string, std::string>> greeting_;  // (store, run) of a hello that is being answered
  bool stopping_ = false;
};

}  // namespace stillframe::daemon
