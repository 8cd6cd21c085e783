#include "capture/copy_streams.hpp"

#include <utility>

#include "base/bytes.hpp"

namespace stillframe::capture {

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
    if (scratch != plan.gpu_scratch_bytes.end()) SF_TRY(make_scratch(one, scratch->second));
  }
  return {};
}

Status CopyStreams::make_scratch(OneDevice& one, std::uint64_t bytes) {
  if (one.gather == nullptr) {
    SF_ASSIGN(one.gather, one.device->create_stream("sf-gather"));
  }
  if (one.scratch != nullptr && one.scratch->bytes() >= bytes) return {};
  one.scratch.reset();
  SF_ASSIGN(one.scratch, one.device->allocate(bytes));
  return {};
}

Result<std::unique_ptr<device::TrainingStream>> CopyStreams::trainers_stream(std::int32_t device,
                                                                             std::span<const StreamRef> trainers) const {
  std::uintptr_t handle = 0;
  for (const StreamRef& one : trainers) {
    if (one.device == device) handle = one.handle;
  }
  return by_device_.at(device).device->training_stream(handle);
}

Status CopyStreams::begin(const Plan& plan, std::span<const StreamRef> trainers, std::vector<const void*>& data,
                          const base::Deadline& deadline) {
  std::map<std::int32_t, std::unique_ptr<device::TrainingStream>> streams;
  for (const std::int32_t device : plan.devices) {
    if (device == kHost) continue;
    SF_ASSIGN(streams[device], trainers_stream(device, trainers));
    SF_ASSIGN(const bool capturing, streams[device]->capturing());
    if (capturing) return {Code::busy, "a graph is being captured on cuda:" + std::to_string(device)};
  }
  for (const auto& [device, stream] : streams) {
    OneDevice& one = by_device_.at(device);
    SF_ASSIGN(const std::shared_ptr<device::Event> ready, stream->record());
    SF_TRY(one.copies->wait(ready));
    if (!plan.gpu_scratch_bytes.contains(device)) continue;
    SF_TRY(one.gather->wait(ready));
    SF_TRY(gather(one, plan, device, data, deadline));
    SF_ASSIGN(const std::shared_ptr<device::Event> gathered, one.gather->record());
    SF_TRY(one.copies->wait(gathered));
    SF_TRY(stream->wait(gathered, deadline));
  }
  return {};
}

Status CopyStreams::gather(OneDevice& one, const Plan& plan, std::int32_t device, std::vector<const void*>& data,
                           const base::Deadline& deadline) {
  auto* const scratch = static_cast<std::byte*>(one.scratch->data());
  for (std::size_t source = 0; source < data.size(); ++source) {
    const bool taken = plan.source_device[source] == device && !plan.source_guarded[source] && plan.source_bytes[source] != 0;
    if (!taken) continue;
    std::byte* const place = scratch + plan.scratch_offset[source];
    SF_TRY(one.gather->copy_on_device(place, data[source], plan.source_bytes[source], deadline));
    data[source] = place;
  }
  return {};
}

Result<std::vector<std::shared_ptr<device::Event>>> CopyStreams::copy(const Plan& plan, std::span<const Piece> pieces,
                                                                      std::span<const void* const> data,
                                                                      std::span<std::byte> memory,
                                                                      const base::Deadline& deadline) {
  for (auto& [device, batch] : batches_) batch.clear();
  for (const Piece& piece : pieces) {
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
  for (const DeviceEvent& one : copied) {
    SF_ASSIGN(const auto stream, trainers_stream(one.device, trainers));
    SF_TRY(stream->wait(one.event, deadline));
  }
  return {};
}

}  // namespace stillframe::capture
