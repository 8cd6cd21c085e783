#include "client/hot_restore.hpp"

#include <nlohmann/json.hpp>

namespace stillframe::client {
namespace {

constexpr std::uint64_t kGoodbyeMs = 2000;

}  // namespace

Result<std::unique_ptr<restore::MemoryImage>> Core::hot_image(const base::Deadline& deadline) {
  end_reserving();
  const protocol::HotRequest request{daemons_share_ms(deadline)};
  SF_ASSIGN(Link::Reply reply, link_->ask(request, deadline));
  if (std::holds_alternative<protocol::HotNone>(reply.message)) return std::unique_ptr<restore::MemoryImage>();
  const auto* there = std::get_if<protocol::HotImage>(&reply.message);
  if (there == nullptr || reply.descriptors.empty()) {
    return Status(Code::corrupt, "unexpected answer to the request for an image in memory");
  }
  return restore::MemoryImage::open(std::move(reply.descriptors.front()),
                                    {there->record, there->snapshot_id, there->step, there->image_bytes,
                                     there->descriptor_bytes, there->name});
}

void Core::hot_done() {
  end_reserving();
  link_->ask(protocol::HotDone{}, base::Deadline::after_ms(kGoodbyeMs))
      .status()
      .ignore("a daemon that does not hear it lets go at the first plan, or at the deadline");
}

Result<std::unique_ptr<HotRestore>> HotRestore::open(std::shared_ptr<Core> core, const base::Deadline& deadline) {
  Result<std::unique_ptr<restore::MemoryImage>> image = core->hot_image(deadline);
  if (!image.ok()) {
    core->hot_done();
    return std::move(image).status();
  }
  if (*image == nullptr) return std::unique_ptr<HotRestore>();
  return std::unique_ptr<HotRestore>(new HotRestore(std::move(core), std::move(image).value()));
}

HotRestore::~HotRestore() {
  if (core_->in_child()) {
    static_cast<void>(image_.release());  // it is not mapped here, and what is mapped there now is not ours
    return;
  }
  image_.reset();  // first: the memory is let go of when the daemon hears of it
  core_->hot_done();
}

std::string HotRestore::manifest_text() const {
  const arena::RecordView& view = image_->view();
  nlohmann::ordered_json head{{"sequence", view.sequence},
                              {"run", core_->run()},
                              {"step", view.step},
                              {"created_utc", base::utc_iso(view.taken_unix_ns)},
                              {"confirmed", (view.flags & arena::kConfirmed) != 0}};
  nlohmann::ordered_json entries = nlohmann::ordered_json::array();
  for (const Entry& entry : image_->layout().entries) {
    entries.push_back({{"name", entry.name},
                       {"dtype", dtype_name(entry.dtype)},
                       {"shape", entry.shape},
                       {"offset", entry.offset},
                       {"bytes", entry.bytes}});
  }
  // Metrics and tree are JSON texts already, and stay as they were given.
  std::string text = head.dump();
  text.back() = ',';
  text += R"("metrics":)" + image_->descriptor().metrics_json + R"(,"ranks":[{"rank":0,"image_bytes":)" +
          std::to_string(view.image_bytes) + R"(,"entries":)" + entries.dump() + R"(,"tree":)" +
          image_->descriptor().tree_json + "}]}";
  return text;
}

}  // namespace stillframe::client
