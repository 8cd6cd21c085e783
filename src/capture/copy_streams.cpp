#include "capture/copy_streams.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/bytes.hpp"
#include "base/log.hpp"

namespace stillframe::capture {
namespace {

std::size_t number_on(std::int32_t device, const std::map<std::int32_t, std::size_t>& numbers) {
  const auto found = numbers.find(device);
  return found == numbers.end() ? 0 : found->second;
}

// Makes `list` anew where it is too small.
Status grow(device::Device& device, std::unique_ptr<device::CopyList>& list, std::size_t copies,
            std::vector<std::unique_ptr<device::CopyList>>& outgrown) {
  if (copies == 0 || (list != nullptr && list->most_copies() >= copies)) return {};
  if (list != nullptr) outgrown.push_back(std::move(list));
  SF_ASSIGN(list, device.make_copy_list(std::bit_ceil(copies)));
  return {};
}

void say_how(const device::Device& device, const std::string& why_plain) {
  if (why_plain.empty()) {
    return base::log(base::LogLevel::info, "capture.gather", {{"device", device.name()}, {"by", "kernel"}});
  }
  base::log(base::LogLevel::warn, "capture.gather",
            {{"device", device.name()},
             {"by", "plain copies, one a tensor: slower, with the same result"},
             {"why", why_plain}});
}

}  // namespace

Status CopyStreams::prepare(const Plan& plan, std::uint64_t gpu_scratch_limit_bytes) {
  for (const auto& [device, bytes] : plan.gpu_scratch_bytes) {
    if (bytes <= gpu_scratch_limit_bytes) continue;
    return {Code::no_space, "the tensors on cuda:" + std::to_string(device) +
                                " that no fence guards (buffers, averages, scales) take " + base::human_bytes(bytes) +
                                ", and the scratch memory there is limited to " +
                                base::human_bytes(gpu_scratch_limit_bytes) +
                                ": raise scratch_bytes, or have them guarded and call fence() before they change"};
  }
  for (const std::int32_t device : plan.devices) {
    OneDevice& one = by_device_[device];
    if (one.copies == nullptr) {
      SF_ASSIGN(one.device, devices_->get(device));
      SF_ASSIGN(one.copies, one.device->create_stream("sf-copy"));
    }
    const auto scratch = plan.gpu_scratch_bytes.find(device);
    if (device == kHost) continue;
    SF_TRY(proof_.prepare(plan, device, *one.device));
    const bool beside = scratch != plan.gpu_scratch_bytes.end() || proof_.wants(device);
    if (beside && one.gather == nullptr) {
      SF_ASSIGN(one.gather, one.device->create_stream("sf-gather"));
    }
    if (scratch != plan.gpu_scratch_bytes.end()) SF_TRY(make_scratch(one, scratch->second, gpu_scratch_limit_bytes));
    SF_TRY(make_lists(one, number_on(device, plan.gathered_sources), number_on(device, plan.bundled_pieces)));
  }
  return {};
}

Status CopyStreams::make_scratch(OneDevice& one, std::uint64_t bytes, std::uint64_t limit_bytes) {
  if (one.scratch != nullptr && one.scratch->bytes() >= bytes) return {};
  if (one.scratch != nullptr) one.outgrown_memory.push_back(std::move(one.scratch));
  SF_ASSIGN(one.scratch, one.device->allocate(std::min(std::bit_ceil(bytes), limit_bytes)));
  return {};
}

// What keeps the kernel away is no error: the lists stay away with it.
Status CopyStreams::make_lists(OneDevice& one, std::size_t gathered_sources, std::size_t bundled_pieces) {
  const bool plain_for_good = one.why_plain && !one.why_plain->empty();
  if (plain_for_good || (gathered_sources == 0 && bundled_pieces == 0)) return {};
  Status made = grow(*one.device, one.gathered, gathered_sources, one.outgrown_lists);
  if (made.ok()) made = grow(*one.device, one.bundled, bundled_pieces, one.outgrown_lists);
  if (made.ok() && bundled_pieces != 0 && one.staging == nullptr) {
    auto staging = one.device->allocate(kChunkBytes);
    made = staging.status();
    if (made.ok()) one.staging = std::move(staging).value();
  }
  if (one.device->lost()) return made;
  if (!made.ok()) {
    one.gathered.reset();
    one.bundled.reset();
    one.staging.reset();
  }
  if (!one.why_plain || !made.ok()) say_how(*one.device, made.message());
  one.why_plain = made.message();
  return {};
}

std::vector<GatherWay> CopyStreams::gather_ways() const {
  std::vector<GatherWay> ways;
  for (const auto& [ordinal, one] : by_device_) {
    if (one.why_plain) ways.push_back({one.device->name(), *one.why_plain});
  }
  return ways;
}

Result<std::unique_ptr<device::TrainingStream>> CopyStreams::trainers_stream(std::int32_t device,
                                                                             std::span<const StreamRef> trainers) const {
  std::uintptr_t handle = 0;
  for (const StreamRef& one : trainers) {
    if (one.device == device) handle = one.handle;
  }
  return by_device_.at(device).device->training_stream(handle);
}

Status CopyStreams::refuse_in_capture(const Plan& plan, std::span<const StreamRef> trainers) const {
  for (const std::int32_t device : plan.devices) {
    if (device == kHost || !by_device_.contains(device)) continue;
    SF_ASSIGN(const auto stream, trainers_stream(device, trainers));
    SF_ASSIGN(const bool capturing, stream->capturing());
    if (capturing) {
      return {Code::busy, "a graph is being captured on cuda:" + std::to_string(device) +
                              ", and nothing can be issued there before the capture has ended"};
    }
  }
  return {};
}

Status CopyStreams::begin(const Plan& plan, std::span<const StreamRef> trainers, std::vector<const void*>& data,
                          const base::Deadline& deadline) {
  SF_TRY(refuse_in_capture(plan, trainers));
  proof_.begin(plan);
  for (const std::int32_t device : plan.devices) {
    if (device == kHost) continue;
    SF_ASSIGN(const auto stream, trainers_stream(device, trainers));
    OneDevice& one = by_device_.at(device);
    SF_ASSIGN(const std::shared_ptr<device::Event> ready, stream->record());
    SF_TRY(one.copies->wait(ready));
    const bool gathers = plan.gpu_scratch_bytes.contains(device);
    if (!gathers && !proof_.takes(device)) continue;
    SF_TRY(one.gather->wait(ready));
    SF_TRY(proof_.take(plan, device, data, *one.gather, deadline));
    if (gathers) SF_TRY(gather(one, plan, device, data, deadline));
    SF_ASSIGN(const std::shared_ptr<device::Event> gathered, one.gather->record());
    SF_TRY(one.copies->wait(gathered));
    SF_TRY(stream->wait(gathered, deadline));
  }
  return {};
}

Status CopyStreams::gather(OneDevice& one, const Plan& plan, std::int32_t device, std::vector<const void*>& data,
                           const base::Deadline& deadline) {
  auto* const scratch = static_cast<std::byte*>(one.scratch->data());
  std::vector<device::DeviceCopy> copies;
  copies.reserve(number_on(device, plan.gathered_sources));
  for (std::size_t source = 0; source < data.size(); ++source) {
    const bool taken = plan.source_device[source] == device && !plan.source_guarded[source] && plan.source_bytes[source] != 0;
    if (!taken) continue;
    std::byte* const place = scratch + plan.scratch_offset[source];
    copies.push_back({place, data[source], plan.source_bytes[source]});
    data[source] = place;
  }
  if (one.gathered != nullptr) {
    SF_TRY(one.gather->write_list(*one.gathered, copies, deadline));
    return one.gather->perform(*one.gathered, 0, copies.size(), deadline);
  }
  for (const device::DeviceCopy& copy : copies) {
    SF_TRY(one.gather->copy_on_device(copy.to, copy.from, copy.bytes, deadline));
  }
  return {};
}

Status CopyStreams::open_copies(const Plan& plan, std::span<const void* const> data, const base::Deadline& deadline) {
  for (const std::int32_t device : plan.devices) SF_TRY(proof_.fetch(device, *by_device_.at(device).copies, deadline));
  return list_bundles(plan, data, deadline);
}

Status CopyStreams::list_bundles(const Plan& plan, std::span<const void* const> data, const base::Deadline& deadline) {
  std::map<std::int32_t, std::vector<device::DeviceCopy>> listed;
  for (const auto& [chunk, bundles] : plan.bundles) {
    const std::vector<Piece> pieces = plan.pieces_of_chunk(chunk);
    for (const Bundle& bundle : bundles) {
      const OneDevice& one = by_device_.at(bundle.device);
      if (one.bundled == nullptr) continue;
      auto* const staging = static_cast<std::byte*>(one.staging->data());
      for (const Piece& piece : std::span(pieces).subspan(bundle.first_piece, bundle.pieces)) {
        const auto* const from = static_cast<const std::byte*>(data[piece.source]) + piece.offset;
        listed[bundle.device].push_back({staging + piece.chunk_offset, from, piece.bytes});
      }
    }
  }
  for (const auto& [device, copies] : listed) {
    const OneDevice& one = by_device_.at(device);
    SF_TRY(one.copies->write_list(*one.bundled, copies, deadline));
  }
  return {};
}

// The staging memory is filled anew for each chunk, behind the copy of the one before on the same stream.
Status CopyStreams::give_bundles(const Plan& plan, std::uint64_t chunk, std::span<std::byte> memory,
                                 std::vector<bool>& given, const base::Deadline& deadline) {
  const auto found = plan.bundles.find(chunk);
  if (found == plan.bundles.end()) return {};
  for (const Bundle& bundle : found->second) {
    const OneDevice& one = by_device_.at(bundle.device);
    if (one.bundled == nullptr) continue;
    SF_TRY(one.copies->perform(*one.bundled, bundle.first_listed, bundle.pieces, deadline));
    const auto* const from = static_cast<const std::byte*>(one.staging->data()) + bundle.chunk_offset;
    batches_[bundle.device].push_back({memory.subspan(bundle.chunk_offset, bundle.bytes), from});
    std::fill_n(given.begin() + static_cast<std::ptrdiff_t>(bundle.first_piece), bundle.pieces, true);
  }
  return {};
}

Result<std::vector<std::shared_ptr<device::Event>>> CopyStreams::copy(const Plan& plan, std::uint64_t chunk,
                                                                      std::span<const void* const> data,
                                                                      std::span<std::byte> memory,
                                                                      const base::Deadline& deadline) {
  for (auto& [device, batch] : batches_) batch.clear();
  const std::vector<Piece> pieces = plan.pieces_of_chunk(chunk);
  std::vector<bool> given(pieces.size());
  SF_TRY(give_bundles(plan, chunk, memory, given, deadline));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (given[i]) continue;
    const Piece& piece = pieces[i];
    const auto* const from = static_cast<const std::byte*>(data[piece.source]) + piece.offset;
    batches_[plan.source_device[piece.source]].push_back({memory.subspan(piece.chunk_offset, piece.bytes), from});
  }
  std::vector<std::shared_ptr<device::Event>> behind;
  for (const auto& [device, batch] : batches_) {
    if (batch.empty()) continue;
    device::Stream& stream = *by_device_.at(device).copies;
    SF_TRY(stream.copy_to_host(batch, deadline));
    SF_ASSIGN(std::shared_ptr<device::Event> event, stream.record());
    behind.push_back(std::move(event));
  }
  return behind;
}

Result<std::vector<DeviceEvent>> CopyStreams::record_all(const Plan& plan) {
  std::vector<DeviceEvent> all;
  for (const std::int32_t device : plan.devices) {
    SF_ASSIGN(std::shared_ptr<device::Event> event, by_device_.at(device).copies->record());
    all.push_back({device, std::move(event)});
  }
  return all;
}

std::vector<DeviceEvent> CopyStreams::wait_quiet(const Plan& plan, const base::Deadline& deadline) {
  std::vector<DeviceEvent> left;
  for (const std::int32_t device : plan.devices) {
    const OneDevice& one = by_device_.at(device);
    auto event = one.copies->record();
    if (!event.ok() && !one.device->lost()) event = one.copies->record();  // it may have been of the moment
    const bool ended = event.ok() && (*event)->wait(deadline).ok();
    if (!ended && !one.device->lost()) left.push_back({device, event.ok() ? *event : nullptr});
  }
  return left;
}

bool CopyStreams::has_ended(const DeviceEvent& one) const {
  return by_device_.at(one.device).device->lost() || (one.event != nullptr && one.event->reached());
}

Status CopyStreams::hold_back(std::span<const DeviceEvent> copied, std::span<const StreamRef> trainers,
                              const base::Deadline& deadline) {
  Status in_capture;
  for (const DeviceEvent& one : copied) {
    SF_ASSIGN(const auto stream, trainers_stream(one.device, trainers));
    Status held = stream->wait(one.event, deadline);
    if (held.code() == Code::busy) {
      in_capture = std::move(held);
      continue;
    }
    SF_TRY(std::move(held));
  }
  return in_capture;
}

}  // namespace stillframe::capture
