// make_dirs_synced() built from the other calls of an Env, so that every Env makes and syncs in the same order.
#pragma once

#include <string>

#include "env/env.hpp"

namespace stillframe::env {

[[nodiscard]] Status make_dirs_synced_over(Env& env, const std::string& path);

}  // namespace stillframe::env
