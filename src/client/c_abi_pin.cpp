// stillframe.h: pins.
#include <string>

#include "base/clock.hpp"
#include "client/c_abi.hpp"
#include "restore/chooser.hpp"

namespace {

using stillframe::Code;
using stillframe::Result;
using stillframe::Status;
namespace restore = stillframe::restore;
namespace store = stillframe::store;
namespace format = stillframe::format;

struct Chosen {
  store::Store store;
  restore::Chooser chooser;  // its reader holds the checkpoint: retention passes over it until the mark stands
};

Result<Chosen> choose(const char* address) {
  if (address == nullptr) return Status(Code::invalid_argument, "address is NULL");
  SF_ASSIGN(const format::Address parsed, format::parse_address(address));
  SF_ASSIGN(store::Store opened, store::Store::open(stillframe::env::posix_env(), parsed.store));
  SF_ASSIGN(restore::Chooser chooser, restore::Chooser::open(stillframe::env::posix_env(), parsed));
  return Chosen{std::move(opened), std::move(chooser)};
}

}  // namespace

extern "C" {

sf_code sf_pin(const char* address, const char* reason) {
  return stillframe::client::abi::guarded([&]() -> Status {
    SF_ASSIGN(const Chosen chosen, choose(address));
    const std::string when = stillframe::base::utc_iso(stillframe::base::system_clock().unix_ns());
    const std::string why = reason != nullptr && *reason != '\0' ? std::string(": ") + reason : "";
    return chosen.store.set_mark(chosen.chooser.current().name(), format::kPinnedMark, "pinned " + when + why + "\n");
  });
}

sf_code sf_unpin(const char* address) {
  return stillframe::client::abi::guarded([&]() -> Status {
    SF_ASSIGN(const Chosen chosen, choose(address));
    return chosen.store.clear_mark(chosen.chooser.current().name(), format::kPinnedMark);
  });
}

}  // extern "C"
