// The line to the daemon: connects (starting a daemon when asked), asks and answers, takes news, and comes back with the
// arena when the daemon has died. One monitor thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>
#include <string>

#include "base/thread.hpp"
#include "client/fork_guard.hpp"
#include "client/persist_cadence.hpp"
#include "client/spawn.hpp"
#include "protocol/messages.hpp"
#include "transport/transport.hpp"

namespace stillframe::client {

struct LinkOptions {
  SpawnOptions spawn;
  bool may_spawn = true;  // false: the socket was named by the user
  protocol::Hello hello;
  std::uint64_t connect_deadline_ms = 20'000;
};

// Called on the monitor thread.
struct LinkEvents {
  std::function<void(const protocol::SnapshotNews&)> on_news;
  std::function<void(const std::string& why)> on_lost;
  std::function<void(std::int64_t daemon_pid)> on_back;
  std::function<void(const std::string& why)> on_still_lost;  // once, after several attempts
  std::function<void()> on_tick;     // at least every 200 ms
  std::function<int()> arena_memfd;  // to hand over when coming back; -1: none yet
};

// What the daemon is told of a deadline, so that its own answer (what was not done in time) comes before we stop listening.
[[nodiscard]] std::uint64_t daemons_share_ms(const base::Deadline& deadline) noexcept;

class Link {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Link>> open(LinkOptions options, LinkEvents events);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  struct Reply {
    protocol::Message message;
    std::vector<base::UniqueFd> descriptors;
    std::uint64_t connection_number = 0;  // of connections_made(): the one that it came on
  };
  // One request at a time; waits for its reply. A Failure comes back as its Status. When the daemon dies meanwhile, the
  // next one is asked; unavailable when none comes within some attempts.
  [[nodiscard]] Result<Reply> ask(const protocol::Message& request, const base::Deadline& deadline);
  // The same for a question that may be dropped: by `dropped`, once wake() was called behind it, or by the deadline. The line
  // stays as it is, and the answer is passed over when it comes.
  [[nodiscard]] Result<Reply> ask_patiently(const protocol::Message& request, const base::Deadline& deadline,
                                            const std::atomic<bool>& dropped);
  void wake() noexcept;
  // What the next daemon is told that this trainer knows of its store.
  void set_newest_checkpoint(const std::string& name);
  // So far; the number of the present one, or of the last.
  [[nodiscard]] std::uint64_t connections_made() const;
  // Ends the connection of that number, if it is the present one: the next one says hello with what there is to hand over then.
  void begin_anew(std::uint64_t connection_number);
  // Says goodbye without waiting: the daemon lets go of the arena when it reads it.
  void leave_unanswered();
  // Says goodbye; from now on the end of the line is expected.
  [[nodiscard]] Status leave(const base::Deadline& deadline);
  [[nodiscard]] bool connected() const noexcept { return connected_; }
  [[nodiscard]] std::int64_t daemon_pid() const noexcept { return daemon_pid_; }
  // What the daemon said of it last; a new daemon may say something else.
  [[nodiscard]] PersistCadence cadence() const;

 private:
  Link(LinkOptions options, LinkEvents events) : options_(std::move(options)), events_(std::move(events)) {}
  [[nodiscard]] Status connect(int memfd);
  // `dropped`: null where the line starts anew instead.
  [[nodiscard]] Result<Reply> ask_until(const protocol::Message& request, const base::Deadline& deadline,
                                        const std::atomic<bool>* dropped);
  [[nodiscard]] Result<Reply> ask_once(const std::shared_ptr<transport::Connection>& current,
                                       const protocol::Message& request, const base::Deadline& deadline,
                                       const std::atomic<bool>* dropped);
  [[nodiscard]] bool has_other(const std::shared_ptr<transport::Connection>& old, const base::Deadline& deadline,
                               const std::atomic<bool>* dropped);
  void monitor();
  void receive_once();
  void lose(const std::string& why);
  void come_back();
  [[nodiscard]] std::shared_ptr<transport::Connection> connection() const;

  const LinkOptions options_;
  const LinkEvents events_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> leaving_{false};
  std::atomic<bool> connected_{false};
  std::atomic<std::int64_t> daemon_pid_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<transport::Connection> connection_;
  ForkGuard guard_;
  PersistCadence cadence_;
  std::uint64_t connections_made_ = 0;
  std::uint64_t store_file_id_ = options_.hello.store_file_id;  // once welcome: as the daemon has said
  std::string newest_checkpoint_ = options_.hello.newest_checkpoint;
  bool asking_ = false;
  std::uint64_t answers_to_pass_over_ = 0;  // on this connection, before that of the question asked now
  bool in_trouble_ = false;  // some attempts to come back have failed in a row
  std::optional<Reply> reply_;
  bool reached_ = false;        // a daemon was there, whatever it then said; the thread that connects only
  std::string generation_;      // of the group, as the first daemon said; the thread that connects only
  std::uint64_t attempts_ = 0;  // monitor thread only
  base::Thread thread_;
};

}  // namespace stillframe::client
