// What the writers of a checkpoint's files share.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "env/env.hpp"
#include "stillframe/status.hpp"

namespace stillframe::store {

// The caller's mistake: nothing has changed.
[[nodiscard]] Status misuse(const std::string& what);
// What was encoded does not come back: nothing of it may be published.
[[nodiscard]] Status differs(const std::string& file);
[[nodiscard]] Status write_new_file_synced(env::Env& env, const std::string& path, std::span<const std::byte> bytes);

}  // namespace stillframe::store
