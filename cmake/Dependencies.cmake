# Every third-party library by name. A missing one stops the configuration with the package that brings it.
find_package(Threads REQUIRED)

function(stillframe_require_library target header library package)
  string(TOUPPER ${target} id)
  find_path(${id}_INCLUDE ${header})
  find_library(${id}_LIBRARY ${library})
  if(NOT ${id}_INCLUDE OR NOT ${id}_LIBRARY)
    message(FATAL_ERROR "${header} or lib${library} not found: install ${package} (scripts/setup does)")
  endif()
  set(linked ${${id}_LIBRARY})
  if(STILLFRAME_BUNDLE)
    stillframe_position_independent_archive(archive ${library})
    if(archive)
      set(linked ${archive})
    else()
      stillframe_carry(linked ${linked})
    endif()
  endif()
  add_library(third_party_${target} INTERFACE)
  target_include_directories(third_party_${target} SYSTEM INTERFACE ${${id}_INCLUDE})
  target_link_libraries(third_party_${target} INTERFACE ${linked})
endfunction()

stillframe_require_library(lz4 lz4.h lz4 liblz4-dev)
stillframe_require_library(zstd zstd.h zstd libzstd-dev)
stillframe_require_library(xxhash xxhash.h xxhash libxxhash-dev)
stillframe_require_library(isal isa-l.h isal libisal-dev)

# Experimental in libzstd, and so perhaps missing from one that was built without it.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_INCLUDES ${ZSTD_INCLUDE})
set(CMAKE_REQUIRED_LIBRARIES ${ZSTD_LIBRARY})
check_cxx_source_compiles("#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
int main() { return ZSTD_c_literalCompressionMode + ZSTD_ps_enable + (&ZSTD_compressSequences == nullptr); }"
                          ZSTD_COMPRESSES_SEQUENCES)
unset(CMAKE_REQUIRED_INCLUDES)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT ZSTD_COMPRESSES_SEQUENCES)
  message(FATAL_ERROR "${ZSTD_LIBRARY} does not have ZSTD_compressSequences: install libzstd-dev >= 1.5.1 (scripts/setup does)")
endif()

find_package(Boost 1.81 QUIET)
if(NOT Boost_FOUND)
  message(FATAL_ERROR "Boost >= 1.81 headers not found (1.74's coroutines do not compile): install libboost1.81-dev on "
                      "Debian 12, libboost-dev elsewhere (scripts/setup does)")
endif()
add_library(third_party_asio INTERFACE)
target_include_directories(third_party_asio SYSTEM INTERFACE ${Boost_INCLUDE_DIRS})
target_compile_definitions(third_party_asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ERROR_CODE_HEADER_ONLY)

foreach(pair "nlohmann/json.hpp|nlohmann-json3-dev|json" "toml++/toml.h|libtomlplusplus-dev|toml"
             "CLI/CLI.hpp|libcli11-dev|cli11" "spdlog/spdlog.h|libspdlog-dev|spdlog")
  string(REPLACE "|" ";" parts ${pair})
  list(GET parts 0 header)
  list(GET parts 1 package)
  list(GET parts 2 target)
  string(TOUPPER ${target} id)
  find_path(${id}_INCLUDE ${header})
  if(NOT ${id}_INCLUDE)
    message(FATAL_ERROR "${header} not found: install ${package} (scripts/setup does)")
  endif()
  add_library(third_party_${target} INTERFACE)
  target_include_directories(third_party_${target} SYSTEM INTERFACE ${${id}_INCLUDE})
endforeach()
# spdlog and fmt header-only: the library and the daemon carry no dependency on their shared objects.
target_compile_definitions(third_party_spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
