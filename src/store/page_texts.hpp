// The texts that cmake/Embed.cmake compiles in. Private to this folder.
#pragma once

#include <string_view>

namespace stillframe::store {

[[nodiscard]] std::string_view format_page() noexcept;       // docs/format.md
[[nodiscard]] std::string_view reader_script() noexcept;     // src/store/read-v1.py
[[nodiscard]] std::string_view format_page_v2() noexcept;    // docs/format-v2.md
[[nodiscard]] std::string_view reader_script_v2() noexcept;  // src/store/read-v2.py

}  // namespace stillframe::store
