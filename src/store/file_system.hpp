// What a file system promises a store; docs/filesystems.md has the whole table. Pure.
#pragma once

#include <string>
#include <string_view>

namespace stillframe::store {

// Empty when everything Stillframe promises holds there, or when nothing is known of it; else one line for the log:
// what does not hold (or on which mount option it hangs), and what to do. `file_system` as Env::space() names it.
[[nodiscard]] std::string file_system_notice(std::string_view file_system);

}  // namespace stillframe::store
