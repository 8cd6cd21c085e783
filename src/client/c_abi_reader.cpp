// stillframe.h: restore.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/c_abi.hpp"
#include "restore/chooser.hpp"
#include "restore/load.hpp"

namespace restore = stillframe::restore;
using stillframe::Code;
using stillframe::Status;
using stillframe::client::abi::guarded;

struct sf_reader {
  explicit sf_reader(restore::Chooser made) : chooser(std::move(made)) {}
  restore::Chooser chooser;
  std::string skipped;
};

namespace {

Status null_argument(const char* name) { return {Code::invalid_argument, std::string(name) + " is NULL"}; }

}  // namespace

extern "C" {

sf_code sf_reader_open(const char* address, sf_reader** out) {
  return guarded([&]() -> Status {
    if (address == nullptr || out == nullptr) return null_argument("address or out");
    SF_ASSIGN(const stillframe::format::Address parsed, stillframe::format::parse_address(address));
    SF_ASSIGN(restore::Chooser chooser, restore::Chooser::open(stillframe::env::posix_env(), parsed));
    *out = std::make_unique<sf_reader>(std::move(chooser)).release();
    return {};
  });
}

void sf_reader_destroy(sf_reader* reader) { delete reader; }

sf_code sf_reader_next(sf_reader* reader, const char* reason) {
  return guarded([&]() -> Status {
    if (reader == nullptr) return null_argument("reader");
    return reader->chooser.next(reason != nullptr ? reason : "given up by the caller");
  });
}

sf_code sf_reader_manifest(sf_reader* reader, const char** json) {
  return guarded([&]() -> Status {
    if (reader == nullptr || json == nullptr) return null_argument("reader or json");
    *json = reader->chooser.current().manifest_text().c_str();
    return {};
  });
}

sf_code sf_reader_name(sf_reader* reader, const char** name) {
  return guarded([&]() -> Status {
    if (reader == nullptr || name == nullptr) return null_argument("reader or name");
    *name = reader->chooser.current().name().c_str();
    return {};
  });
}

sf_code sf_reader_skipped(sf_reader* reader, const char** json) {
  return guarded([&]() -> Status {
    if (reader == nullptr || json == nullptr) return null_argument("reader or json");
    nlohmann::json list = nlohmann::json::array();
    for (const restore::Skipped& one : reader->chooser.skipped()) {
      list.push_back({{"name", one.name}, {"step", one.step}, {"reason", one.reason}});
    }
    reader->skipped = list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    *json = reader->skipped.c_str();
    return {};
  });
}

sf_code sf_reader_read(sf_reader* reader, uint32_t rank, const sf_target* targets, size_t count, uint32_t threads) {
  return guarded([&]() -> Status {
    if (reader == nullptr || (targets == nullptr && count != 0)) return null_argument("reader or targets");
    std::vector<restore::Target> wanted;
    wanted.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (targets[i].name == nullptr || (targets[i].data == nullptr && targets[i].bytes != 0)) {
        return null_argument("a target's name or data");
      }
      wanted.push_back({targets[i].name, {static_cast<std::byte*>(targets[i].data), targets[i].bytes}});
    }
    const auto& ranks = reader->chooser.current().manifest().ranks;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i].rank == rank) return restore::load(reader->chooser.current(), i, wanted, threads, {});
    }
    return {Code::mismatch, "checkpoint " + reader->chooser.current().name() + " has no rank " + std::to_string(rank)};
  });
}

}  // extern "C"
