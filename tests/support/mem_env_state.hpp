// What a MemEnv, its open files and its locks share.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "support/mem_env.hpp"
#include "support/mem_tree.hpp"

namespace stillframe::test {

struct MemEnvState {
  std::mutex mutex;  // guards everything below, and every node of the tree
  MemTree tree;
  std::array<std::uint64_t, static_cast<std::size_t>(EnvOp::count_)> calls{};
  std::vector<EnvFailure> failures;  // nth_call counts down; 0: has failed for ever since
  env::SpaceInfo space{std::uint64_t{1} << 40, std::uint64_t{1} << 40, "mem"};

  // Counts the call and returns the failure planned for it. The mutex is held.
  [[nodiscard]] Status enter(EnvOp op, const std::string& path);
};

[[nodiscard]] std::unique_ptr<env::File> make_mem_file(std::shared_ptr<MemEnvState> state, MemNodePtr node,
                                                       std::string path, bool writable);

}  // namespace stillframe::test
