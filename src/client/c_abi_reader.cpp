// stillframe.h: restore.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/c_abi.hpp"
#include "client/hot_restore.hpp"
#include "restore/chooser.hpp"
#include "restore/load.hpp"

namespace base = stillframe::base;
namespace restore = stillframe::restore;
using stillframe::Code;
using stillframe::Status;
using stillframe::client::abi::guarded;

struct sf_reader {
  std::unique_ptr<restore::Chooser> chooser;        // of the store; else
  std::unique_ptr<stillframe::client::HotRestore> hot;
  std::string hot_manifest;
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
    auto reader = std::make_unique<sf_reader>();
    reader->chooser = std::make_unique<restore::Chooser>(std::move(chooser));
    *out = reader.release();
    return {};
  });
}

sf_code sf_client_hot_reader(sf_client* handle, uint64_t deadline_ms, sf_reader** out) {
  return guarded([&]() -> Status {
    if (handle == nullptr || out == nullptr) return null_argument("client or out");
    auto core = stillframe::client::abi::core_of(handle);
    if (core->in_child()) return stillframe::client::abi::forked();
    auto reader = std::make_unique<sf_reader>();
    SF_ASSIGN(reader->hot, stillframe::client::HotRestore::open(std::move(core), base::Deadline::after_ms(deadline_ms)));
    if (reader->hot == nullptr) return {Code::not_found, "no killed predecessor has left an image in the daemon's memory"};
    reader->hot_manifest = reader->hot->manifest_text();
    *out = reader.release();
    return {};
  });
}

sf_code sf_reader_source(sf_reader* reader, const char** source) {
  return guarded([&]() -> Status {
    if (reader == nullptr || source == nullptr) return null_argument("reader or source");
    *source = reader->hot ? "memory" : "store";
    return {};
  });
}

void sf_reader_destroy(sf_reader* reader) { delete reader; }

sf_code sf_reader_next(sf_reader* reader, const char* reason) {
  return guarded([&]() -> Status {
    if (reader == nullptr) return null_argument("reader");
    if (reader->hot) return {Code::not_found, "there is no other image in memory"};
    return reader->chooser->next(reason != nullptr ? reason : "given up by the caller");
  });
}

sf_code sf_reader_manifest(sf_reader* reader, const char** json) {
  return guarded([&]() -> Status {
    if (reader == nullptr || json == nullptr) return null_argument("reader or json");
    *json = reader->hot ? reader->hot_manifest.c_str() : reader->chooser->current().manifest_text().c_str();
    return {};
  });
}

sf_code sf_reader_name(sf_reader* reader, const char** name) {
  return guarded([&]() -> Status {
    if (reader == nullptr || name == nullptr) return null_argument("reader or name");
    *name = (reader->hot ? reader->hot->image().name() : reader->chooser->current().name()).c_str();
    return {};
  });
}

sf_code sf_reader_skipped(sf_reader* reader, const char** json) {
  return guarded([&]() -> Status {
    if (reader == nullptr || json == nullptr) return null_argument("reader or json");
    nlohmann::json list = nlohmann::json::array();
    const std::vector<restore::Skipped> none;
    for (const restore::Skipped& one : reader->chooser ? reader->chooser->skipped() : none) {
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
    if (reader->hot) return restore::load(reader->hot->image(), wanted, threads, {});
    const auto& current = reader->chooser->current();
    const auto& ranks = current.manifest().ranks;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i].rank == rank) return restore::load(current, i, wanted, threads, {});
    }
    return {Code::mismatch, "checkpoint " + current.name() + " has no rank " + std::to_string(rank)};
  });
}

}  // extern "C"
