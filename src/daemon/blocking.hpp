// Work that waits for a disk or for memory, off the event loop: co_await run_blocking(pool, f) resumes on the loop with f().
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/thread.hpp"

namespace stillframe::daemon {

// What `f` captures must outlive the work: capture by value. `f` must not throw.
template <typename F>
boost::asio::awaitable<std::invoke_result_t<F>> run_blocking(base::WorkerPool& pool, F f) {
  using R = std::invoke_result_t<F>;
  const auto executor = co_await boost::asio::this_coro::executor;
  auto answer = std::make_shared<std::optional<R>>();
  co_await boost::asio::async_initiate<decltype(boost::asio::use_awaitable), void()>(
      [&pool, executor, answer, &f](auto handler) {
        // std::function wants a copyable task; the handler moves only.
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        auto guard = std::make_shared<boost::asio::executor_work_guard<boost::asio::any_io_executor>>(executor);
        pool.submit([executor, answer, shared, guard, work = std::move(f)]() mutable {
          answer->emplace(work());
          boost::asio::post(executor, [shared, guard] { std::move (*shared)(); });
        });
      },
      boost::asio::use_awaitable);
  co_return std::move(**answer);
}

}  // namespace stillframe::daemon
