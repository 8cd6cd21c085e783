// What tests set and ask (fake_cuda.hpp).
#include <utility>

#include "fake_cuda/copies.hpp"
#include "fake_cuda/memory.hpp"
#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda {
namespace {

void note_host_access(const char* what, const void* address, std::size_t bytes, bool writes) {
  State& all = state();
  const std::unique_lock lock(all.mutex);
  const ThreadState& thread = thread_state(all);
  note_access(*all.world, {reinterpret_cast<std::uintptr_t>(address), bytes, writes},
              host_moment(*all.world, thread, what), host_clock(*all.world, thread));
}

// The name of a created stream, or every default stream of the kind in whatever context.
bool is_named(const Stream& stream, const World& world, cuda::CUstream handle) {
  const auto value = reinterpret_cast<std::uintptr_t>(handle);
  if (value == 0 || value == cuda::kStreamLegacy) return stream.kind == StreamKind::legacy;
  if (value == cuda::kStreamPerThread) return stream.kind == StreamKind::per_thread;
  const auto found = world.streams.find(value);
  return found != world.streams.end() && found->second.get() == &stream;
}

}  // namespace

void reset(const Config& config) {
  State& all = state();
  std::vector<std::pair<std::shared_ptr<Stream>, std::thread>> workers;
  {
    const std::unique_lock lock(all.mutex);
    workers = std::exchange(all.world->workers, {});
  }
  stop_workers(std::move(workers));
  const std::unique_lock lock(all.mutex);
  all.world = std::make_unique<World>(config);
  ++all.generation;
}

std::uint64_t races() {
  const std::unique_lock lock(state().mutex);
  return state().world->races;
}

std::string last_race() {
  const std::unique_lock lock(state().mutex);
  return state().world->last_race;
}

void host_reads(const void* address, std::size_t bytes) { note_host_access("the host", address, bytes, false); }
void host_writes(void* address, std::size_t bytes) { note_host_access("the host", address, bytes, true); }

void host_threads_met() {
  State& all = state();
  const std::unique_lock lock(all.mutex);
  const ThreadState& thread = thread_state(all);
  for (const VectorClock& clock : all.world->host_clocks) host_clock(*all.world, thread).join(clock);
}

void inject(const Injection& injection) {
  const std::unique_lock lock(state().mutex);
  state().world->injections.push_back(injection);
}

void hang_stream(cuda::CUstream handle) {
  const std::unique_lock lock(state().mutex);
  World& world = *state().world;
  for (const auto& [stream, thread] : world.workers) {
    if (is_named(*stream, world, handle)) stream->hangs = true;
  }
}

void release_streams() {
  const std::unique_lock lock(state().mutex);
  for (const auto& [stream, thread] : state().world->workers) {
    stream->hangs = false;
    for (Operation& given : stream->queue) given.hangs = false;  // before which it would hang, once it has come so far
    stream->wake.notify_all();
  }
}

void die_after_dtoh_bytes(std::uint64_t bytes) {
  const std::unique_lock lock(state().mutex);
  state().world->dtoh_bytes_to_death = bytes;
}

Statistics statistics() {
  const std::unique_lock lock(state().mutex);
  const World& world = *state().world;
  Statistics found;
  found.allocations = world.allocations.size();
  found.registrations = world.registrations.size();
  for (const auto& [address, registration] : world.registrations) found.registered_bytes += registration.bytes;
  for (const auto& context : world.contexts) {
    found.allocated_bytes += context->allocated_bytes;
    found.contexts_retained += context->retained;
  }
  found.streams = world.streams.size();
  found.events = world.events.size();
  found.modules = world.modules.size();
  found.operations_done = world.operations_done;
  found.operations_captured = world.operations_captured;
  found.calls = world.calls;
  return found;
}

std::byte* backing(cuda::CUdeviceptr address) {
  const std::unique_lock lock(state().mutex);
  const Place place = place_of(*state().world, nullptr, address, 1);
  const bool known = place.kind == Place::Kind::device || place.kind == Place::Kind::registered;
  return known ? place.data : nullptr;
}

const std::byte* coming(cuda::CUdeviceptr address, std::size_t bytes) {
  {
    const std::unique_lock lock(state().mutex);
    if (const std::byte* const from = arriving(*state().world, address, bytes)) return from;
  }
  return backing(address);
}

void register_kernel(Kernel kernel) {
  const std::unique_lock lock(state().mutex);
  std::string name = kernel.name;
  state().kernels.insert_or_assign(std::move(name), std::make_shared<const Kernel>(std::move(kernel)));
}

void register_image(std::span<const std::byte> image) {
  const std::unique_lock lock(state().mutex);
  state().image_addresses.push_back(image.data());
  if (!image.empty()) state().images.emplace_back(image.begin(), image.end());
}

}  // namespace stillframe::fake_cuda
