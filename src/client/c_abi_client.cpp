// stillframe.h: client, plan, snapshot, fence, ticket.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "client/c_abi.hpp"
#include "client/core.hpp"
#include "retention/policy.hpp"

namespace client = stillframe::client;
namespace capture = stillframe::capture;
namespace base = stillframe::base;
using client::abi::finish;
using client::abi::forked;
using client::abi::guarded;
using stillframe::Code;
using stillframe::SnapshotState;
using stillframe::Status;

struct sf_client {
  std::shared_ptr<client::Core> core;
  std::string status;
  std::string warning;
};
struct sf_plan {
  std::shared_ptr<client::Core> core;
  std::shared_ptr<const capture::Plan> plan;
  std::string description;
};
struct sf_ticket {
  std::weak_ptr<client::Core> core;
  client::Snapshot snapshot;
  stillframe::TicketInfo info;
  std::string alarms, torn;
  pid_t pid = ::getpid();  // the client may be gone before the ticket

  [[nodiscard]] bool in_child() const noexcept { return ::getpid() != pid; }
};

namespace {

thread_local std::string last_error;

std::string text_or(const char* text, const char* otherwise) { return text != nullptr ? text : otherwise; }

Status null_argument(const char* name) { return {Code::invalid_argument, std::string(name) + " is NULL"}; }

stillframe::Result<capture::EntrySpec> to_spec(const sf_entry& entry) {
  if (entry.name == nullptr || entry.dtype == nullptr || (entry.shape == nullptr && entry.dims != 0)) {
    return Status(Code::invalid_argument, "an entry has a NULL name, dtype or shape");
  }
  const auto dtype = stillframe::dtype_from_name(entry.dtype);
  if (!dtype) {
    return Status(Code::unsupported, "entry '" + std::string(entry.name) + "' has the unknown dtype '" + entry.dtype + "'");
  }
  capture::EntrySpec spec;
  spec.entry.name = entry.name;
  spec.entry.dtype = *dtype;
  spec.entry.shape.assign(entry.shape, entry.shape + entry.dims);
  spec.guarded = (entry.flags & SF_ENTRY_GUARDED) != 0;
  spec.trainable = (entry.flags & SF_ENTRY_TRAINABLE) != 0;
  if (entry.device < SF_HOST) {
    return Status(Code::invalid_argument, "entry '" + spec.entry.name + "' is on device " + std::to_string(entry.device) +
                                              ": SF_HOST or the ordinal of a GPU is expected");
  }
  spec.device = entry.device;
  return spec;
}

std::vector<capture::StreamRef> to_streams(const sf_stream* streams, size_t count) {
  std::vector<capture::StreamRef> refs;
  refs.reserve(count);
  for (size_t i = 0; i < count; ++i) refs.push_back({streams[i].device, static_cast<std::uintptr_t>(streams[i].handle)});
  return refs;
}

std::string alarms_json(const std::vector<stillframe::Alarm>& alarms) {
  nlohmann::json list = nlohmann::json::array();
  for (const stillframe::Alarm& alarm : alarms) list.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

stillframe::Result<client::StateSize> to_state_size(uint64_t image_bytes, uint64_t tensor_count, int32_t gpu) {
  if (image_bytes > stillframe::kMaxImageBytes || tensor_count > stillframe::kMaxImageBytes / stillframe::kChunkBytes) {
    return Status(Code::invalid_argument, "a state of " + std::to_string(image_bytes) + " bytes in " +
                                              std::to_string(tensor_count) + " tensors is more than an image can hold");
  }
  return client::StateSize{image_bytes, tensor_count, gpu};
}

}  // namespace

namespace stillframe::client::abi {

sf_code finish(const Status& status) noexcept {
  try {
    if (!status.ok()) last_error = status.message();
  } catch (const std::bad_alloc&) {
    last_error.clear();
  }
  return static_cast<sf_code>(status.code());
}

std::shared_ptr<Core> core_of(sf_client* handle) { return handle->core; }

Status forked() {
  return {Code::unavailable, "this handle belongs to the parent process: a forked child takes no snapshots"};
}

}  // namespace stillframe::client::abi

extern "C" {

uint32_t sf_abi_version(void) { return SF_ABI_VERSION; }
const char* sf_version(void) { return STILLFRAME_VERSION; }
const char* sf_last_error(void) { return last_error.c_str(); }

sf_code sf_client_open(const sf_client_options* given, sf_client** out) {
  return guarded([&]() -> Status {
    if (given == nullptr || out == nullptr) return null_argument("options or out");
    sf_client_options options{};
    std::memcpy(&options, given, std::min<std::size_t>(given->struct_bytes, sizeof options));
    if (options.rank < 0 || options.world_size < 0) {
      return {Code::invalid_argument, "rank and world_size must not be negative"};
    }
    stillframe::CheckpointerOptions wanted;
    wanted.store = text_or(options.store, "");
    wanted.run = text_or(options.run, "main");
    wanted.group = text_or(options.group, "default");
    wanted.rank = static_cast<std::uint32_t>(options.rank);
    wanted.world_size = options.world_size == 0 ? 1 : static_cast<std::uint32_t>(options.world_size);
    if (options.retention_json != nullptr) {
      SF_ASSIGN(wanted.retention, stillframe::retention::policy_from_json(options.retention_json));
    }
    wanted.socket = text_or(options.socket, "");
    wanted.daemon_path = text_or(options.daemon_path, "");
    wanted.daemon_config = text_or(options.daemon_config, "");
    wanted.budget_bytes = options.budget_bytes;
    if (options.scratch_bytes != 0) wanted.scratch_bytes = options.scratch_bytes;
    if (options.copy_threads != 0) {
      wanted.copy_threads = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.copy_threads, UINT32_MAX));
    }
    if (options.connect_deadline_ms != 0) wanted.connect_deadline_ms = options.connect_deadline_ms;
    if (options.overrun < SF_OVERRUN_SKIP || options.overrun > SF_OVERRUN_LATEST) {
      return {Code::invalid_argument, "overrun is one of SF_OVERRUN_SKIP, SF_OVERRUN_WAIT and SF_OVERRUN_LATEST, not " +
                                          std::to_string(options.overrun)};
    }
    wanted.overrun = static_cast<stillframe::Overrun>(options.overrun);
    wanted.mean_time_between_failures_seconds = options.mean_time_between_failures_seconds;
    if (options.capture_check < SF_CAPTURE_CHECK_SAMPLE || options.capture_check > SF_CAPTURE_CHECK_OFF) {
      return {Code::invalid_argument, "capture_check is one of SF_CAPTURE_CHECK_SAMPLE, SF_CAPTURE_CHECK_FIRST and "
                                      "SF_CAPTURE_CHECK_OFF, not " + std::to_string(options.capture_check)};
    }
    wanted.capture_check = static_cast<stillframe::CaptureCheck>(options.capture_check);
    if (options.fence_deadline_ms != 0) wanted.fence_deadline_ms = options.fence_deadline_ms;
    wanted.persist_every_steps = options.persist_every_steps;
    wanted.persist_every_seconds = options.persist_every_seconds;
    auto handle = std::make_unique<sf_client>();
    SF_ASSIGN(handle->core, client::Core::open(std::move(wanted)));
    *out = handle.release();
    return {};
  });
}

sf_code sf_client_settle(sf_client* handle, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr) return null_argument("client");
    if (handle->core->in_child()) return forked();
    return handle->core->settle(base::Deadline::after_ms(deadline_ms));
  });
}

sf_code sf_client_reserve(sf_client* handle, uint64_t image_bytes, uint64_t tensor_count, int32_t gpu, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr) return null_argument("client");
    if (handle->core->in_child()) return forked();
    SF_ASSIGN(const client::StateSize size, to_state_size(image_bytes, tensor_count, gpu));
    return handle->core->reserve(size, base::Deadline::after_ms(deadline_ms));
  });
}

sf_code sf_client_reserve_behind(sf_client* handle, uint64_t image_bytes, uint64_t tensor_count, int32_t gpu) {
  return guarded([&]() -> Status {
    if (handle == nullptr) return null_argument("client");
    if (handle->core->in_child()) return forked();
    SF_ASSIGN(const client::StateSize size, to_state_size(image_bytes, tensor_count, gpu));
    return handle->core->reserve_behind(size);
  });
}

sf_code sf_client_reserved(sf_client* handle, int64_t for_step, uint64_t wait_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr) return null_argument("client");
    if (handle->core->in_child()) return forked();
    return handle->core->reserved(for_step, base::Deadline::after_ms(wait_ms));
  });
}

sf_code sf_client_close(sf_client* handle, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr) return null_argument("client");
    if (handle->core->in_child()) return forked();
    return handle->core->close(base::Deadline::after_ms(deadline_ms));
  });
}

void sf_client_destroy(sf_client* handle) { delete handle; }

sf_code sf_client_status(sf_client* handle, const char** json) {
  return guarded([&]() -> Status {
    if (handle == nullptr || json == nullptr) return null_argument("client or json");
    if (handle->core->in_child()) return forked();
    handle->status = handle->core->status_json();
    *json = handle->status.c_str();
    return {};
  });
}

sf_code sf_client_set_block_seconds(sf_client* handle, double seconds) {
  return guarded([&]() -> Status {
    if (handle == nullptr) return null_argument("client");
    if (handle->core->in_child()) return forked();
    if (!(seconds >= 0)) return {Code::invalid_argument, "seconds must not be negative"};
    handle->core->set_block_seconds(seconds);
    return {};
  });
}

sf_code sf_client_next_warning(sf_client* handle, const char** text) {
  return guarded([&]() -> Status {
    if (handle == nullptr || text == nullptr) return null_argument("client or text");
    *text = nullptr;
    if (handle->core->in_child()) return forked();
    if (auto warning = handle->core->next_warning()) {
      handle->warning = std::move(*warning);
      *text = handle->warning.c_str();
    }
    return {};
  });
}

sf_code sf_plan_create(sf_client* handle, const sf_entry* entries, size_t count, uint64_t deadline_ms, sf_plan** out) {
  return guarded([&]() -> Status {
    if (handle == nullptr || out == nullptr || (entries == nullptr && count != 0)) return null_argument("client, entries or out");
    if (handle->core->in_child()) return forked();
    std::vector<capture::EntrySpec> specs;
    specs.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      SF_ASSIGN(capture::EntrySpec spec, to_spec(entries[i]));
      specs.push_back(std::move(spec));
    }
    auto plan = std::make_unique<sf_plan>();
    plan->core = handle->core;
    SF_ASSIGN(plan->plan, handle->core->make_plan(std::move(specs), base::Deadline::after_ms(deadline_ms)));
    *out = plan.release();
    return {};
  });
}

void sf_plan_destroy(sf_plan* plan) { delete plan; }

sf_code sf_plan_describe(sf_plan* plan, const char** json) {
  return guarded([&]() -> Status {
    if (plan == nullptr || json == nullptr) return null_argument("plan or json");
    if (plan->core->in_child()) return forked();
    plan->description = plan->core->plan_json(*plan->plan);
    *json = plan->description.c_str();
    return {};
  });
}

sf_code sf_snapshot(sf_plan* plan, const sf_snapshot_request* given, sf_ticket** out) {
  return guarded([&]() -> Status {
    if (plan == nullptr || given == nullptr || out == nullptr) return null_argument("plan, request or out");
    if (plan->core->in_child()) return forked();
    sf_snapshot_request request{};
    std::memcpy(&request, given, std::min<std::size_t>(given->struct_bytes, sizeof request));
    const std::size_t count = plan->plan->source_bytes.size();
    if (request.data == nullptr && count != 0) return null_argument("request.data");
    client::SnapshotRequest wanted;
    wanted.step = request.step;
    for (std::size_t i = 0; i < count; ++i) {
      if (request.data[i] == nullptr && plan->plan->source_bytes[i] != 0) {
        return Status(Code::invalid_argument, "the address of entry " + std::to_string(i) + " is NULL");
      }
    }
    if (request.streams == nullptr && request.stream_count != 0) return null_argument("request.streams");
    wanted.data.assign(request.data, request.data + count);
    wanted.streams = to_streams(request.streams, request.stream_count);
    wanted.tree_json = text_or(request.tree_json, "");
    wanted.metrics_json = text_or(request.metrics_json, "");
    wanted.wait = (request.flags & SF_SNAPSHOT_WAIT) != 0;
    wanted.deadline_ms = request.deadline_ms;
    auto ticket = std::make_unique<sf_ticket>();
    ticket->core = plan->core;
    ticket->snapshot = plan->core->snapshot(plan->plan, std::move(wanted));
    *out = ticket.release();
    return {};
  });
}

sf_code sf_fence(sf_client* handle, const sf_stream* streams, size_t count, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr || (streams == nullptr && count != 0)) return null_argument("client or streams");
    if (handle->core->in_child()) return forked();
    return handle->core->fence(deadline_ms, to_streams(streams, count));
  });
}

sf_code sf_wait_copied(sf_client* handle, const sf_stream* streams, size_t count, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr || (streams == nullptr && count != 0)) return null_argument("client or streams");
    if (handle->core->in_child()) return forked();
    return handle->core->wait_copied(deadline_ms, to_streams(streams, count));
  });
}

sf_code sf_place(sf_client* handle, const sf_stream* stream, const sf_placement* copies, size_t count, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (handle == nullptr || stream == nullptr || (copies == nullptr && count != 0)) {
      return null_argument("client, stream or copies");
    }
    if (handle->core->in_child()) return forked();
    if (stream->device < 0) return {Code::invalid_argument, "bytes are placed on a GPU, which has an ordinal from 0"};
    std::vector<client::Placement> wanted;
    wanted.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (copies[i].bytes == 0) continue;
      if (copies[i].to == nullptr || copies[i].from == nullptr) return null_argument("the memory of a copy");
      wanted.push_back({copies[i].to, {static_cast<const std::byte*>(copies[i].from), copies[i].bytes}});
    }
    return handle->core->place_on_gpu(to_streams(stream, 1).front(), wanted, deadline_ms);
  });
}

sf_code sf_ticket_get(sf_ticket* ticket, sf_ticket_info* out) {
  return guarded([&]() -> Status {
    if (ticket == nullptr || out == nullptr) return null_argument("ticket or info");
    if (ticket->in_child()) return forked();
    ticket->info = ticket->snapshot.progress->info();
    ticket->alarms = alarms_json(ticket->info.alarms);
    const stillframe::TicketInfo& info = ticket->info;
    ticket->torn = nlohmann::json(info.torn).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const uint32_t wanted_bytes = out->struct_bytes;
    const sf_ticket_info full{wanted_bytes, static_cast<int32_t>(info.state), info.step, info.sequence, info.name.c_str(),
                              info.error.c_str(), info.raw_bytes, info.stored_bytes, info.call_seconds, info.fence_seconds,
                              info.captured_seconds, info.durable_seconds, info.verified_seconds,
                              static_cast<int32_t>(info.code), ticket->alarms.c_str(), info.trainer_crash_seconds,
                              info.power_loss_seconds, info.persisted ? 1 : 0, info.checked ? 1 : 0, ticket->torn.c_str()};
    std::memcpy(out, &full, std::min<std::size_t>(wanted_bytes, sizeof full));
    return {};
  });
}

int32_t sf_ticket_state(const sf_ticket* ticket) {
  if (ticket == nullptr || ticket->in_child()) return -1;
  return static_cast<int32_t>(ticket->snapshot.progress->state());
}

sf_code sf_ticket_wait(sf_ticket* ticket, int32_t wanted, uint64_t deadline_ms) {
  return guarded([&]() -> Status {
    if (ticket == nullptr) return null_argument("ticket");
    if (ticket->in_child()) return forked();
    if (wanted < SF_STATE_CAPTURED || wanted > SF_STATE_VERIFIED) {
      return {Code::invalid_argument, "one waits for captured, durable or verified"};
    }
    return ticket->snapshot.progress->wait(static_cast<SnapshotState>(wanted), base::Deadline::after_ms(deadline_ms));
  });
}

sf_code sf_ticket_confirm(sf_ticket* ticket) {
  return guarded([&]() -> Status {
    if (ticket == nullptr) return null_argument("ticket");
    const auto core = ticket->core.lock();
    if (core == nullptr) return {Code::unavailable, "the client of this ticket is gone"};
    if (core->in_child()) return forked();
    core->confirm(ticket->snapshot);
    return {};
  });
}

sf_code sf_ticket_withdraw(sf_ticket* ticket, const char* reason) {
  return guarded([&]() -> Status {
    if (ticket == nullptr) return null_argument("ticket");
    const auto core = ticket->core.lock();
    if (core == nullptr) return {Code::unavailable, "the client of this ticket is gone"};
    if (core->in_child()) return forked();
    core->withdraw(ticket->snapshot, text_or(reason, "withdrawn"));
    return {};
  });
}

void sf_ticket_destroy(sf_ticket* ticket) { delete ticket; }

}  // extern "C"
