// stillframe.h: pins.
#include <string>
#include <string_view>

#include "client/c_abi.hpp"
#include "restore/chooser.hpp"
#include "store/catalog.hpp"
#include "store/checkpoint_files.hpp"

namespace {

using stillframe::Code;
using stillframe::Result;
using stillframe::Status;
namespace restore = stillframe::restore;
namespace store = stillframe::store;
namespace format = stillframe::format;

struct Chosen {
  store::Store store;
  std::string name;
};

// A step in any state, so that one marked bad can be kept for a look and let go; else what a restore would take.
Result<Chosen> choose(const char* address, store::Prefer prefer) {
  if (address == nullptr) return Status(Code::invalid_argument, "address is NULL");
  SF_ASSIGN(const format::Address parsed, format::parse_address(address));
  SF_ASSIGN(store::Store opened, store::Store::open(stillframe::env::posix_env(), parsed.store));
  if (parsed.select == format::Select::step) {
    const std::string run = parsed.run.empty() ? std::string(store::kDefaultRun) : parsed.run;
    SF_ASSIGN(const auto entry, store::find_step(opened, run, parsed.step, prefer));
    return Chosen{std::move(opened), entry.ref.name};
  }
  SF_ASSIGN(const auto chooser, restore::Chooser::open(stillframe::env::posix_env(), parsed));
  std::string name = chooser.current().name();
  return Chosen{std::move(opened), std::move(name)};
}

// The reader's lock is held until the mark stands, so that retention cannot take the checkpoint in between.
Status pin(const char* address, std::string_view reason) {
  SF_ASSIGN(const Chosen chosen, choose(address, store::Prefer::newest));
  SF_ASSIGN(const auto held, store::open_manifest(chosen.store, chosen.name, store::ReadFrom::cache));
  return store::pin(chosen.store, chosen.name, reason);
}

Status unpin(const char* address) {
  SF_ASSIGN(const Chosen chosen, choose(address, store::Prefer::pinned));
  return chosen.store.clear_mark(chosen.name, format::kPinnedMark);
}

}  // namespace

extern "C" {

sf_code sf_pin(const char* address, const char* reason) {
  return stillframe::client::abi::guarded([&] { return pin(address, reason != nullptr ? reason : ""); });
}

sf_code sf_unpin(const char* address) {
  return stillframe::client::abi::guarded([&] { return unpin(address); });
}

}  // extern "C"
