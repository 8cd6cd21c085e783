// Work that waits for a disk or for memory, off the event loop: `co_await run_blocking(pool, work)` resumes on the loop with
// work()'s answer.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/thread.hpp"

namespace stillframe::daemon {

// For the one thread that runs the loop. `work` must not throw; it is a named object of the caller's, since g++ 12 destroys
// temporaries with captures in a co_await expression twice.
template <typename R>
boost::asio::awaitable<R> run_blocking(base::WorkerPool& pool, const std::function<R()>& work) {
  struct State {
    explicit State(const boost::asio::any_io_executor& executor)
        : answered(executor, boost::asio::steady_timer::time_point::max()) {}
    boost::asio::steady_timer answered;  // cancelled on the loop when the answer is there
    std::optional<R> answer;
  };
  const boost::asio::any_io_executor executor = co_await boost::asio::this_coro::executor;
  const auto state = std::make_shared<State>(executor);
  pool.submit([executor, state, work] {
    // Handed over on the loop: the coroutine looks at the answer only there.
    const auto answer = std::make_shared<R>(work());
    boost::asio::post(executor, [state, answer] {
      state->answer.emplace(std::move(*answer));
      state->answered.cancel();
    });
  });
  boost::system::error_code cancelled;
  while (!state->answer) {
    co_await state->answered.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
  }
  co_return std::move(*state->answer);
}

}  // namespace stillframe::daemon
