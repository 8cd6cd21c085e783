#include "fake_cuda/state.hpp"

#include <cstdio>
#include <cstdlib>
#include <limits>

#include "fake_cuda/capture.hpp"
#include "fake_cuda/copies.hpp"
#include "fake_cuda/product_kernels.hpp"
#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda {

World::World(Config with)
    : config(std::move(with)), dice(config.seed), engines_free_at(static_cast<std::size_t>(config.devices)) {
  for (int device = 0; device < config.devices; ++device) contexts.push_back(std::make_unique<Context>(device));
}

World::~World() = default;

State& state() {
  static State& kept = *[] {
    auto* made = new State;
    made->world = std::make_unique<World>(config_from_environment());
    for (Kernel& kernel : product_kernels()) {
      std::string name = kernel.name;
      made->kernels.emplace(std::move(name), std::make_shared<const Kernel>(std::move(kernel)));
    }
    for (Injection& injection : injections_from_environment()) made->world->injections.push_back(std::move(injection));
    return made;
  }();
  return kept;
}

ThreadState& thread_state(State& state) {
  thread_local ThreadState thread;
  if (thread.generation == state.generation) return thread;
  thread = ThreadState{};
  thread.generation = state.generation;
  thread.id = ++state.threads_seen;
  World& world = *state.world;
  if (world.host_clocks.empty() || world.config.host_clock == HostClock::per_thread) {
    thread.host_entity = new_entity(world);
    world.done[thread.host_entity] = std::numeric_limits<std::uint64_t>::max();
    if (world.host_clocks.size() <= thread.host_entity) world.host_clocks.resize(thread.host_entity + 1);
    world.host_clocks[thread.host_entity].raise(thread.host_entity, 1);
  }
  return thread;
}

Entity new_entity(World& world) {
  world.done.push_back(0);
  return static_cast<Entity>(world.done.size() - 1);
}

VectorClock& host_clock(World& world, const ThreadState& thread) { return world.host_clocks[thread.host_entity]; }

Moment host_moment(World& world, const ThreadState& thread, const char* what) {
  return {thread.host_entity, host_clock(world, thread).at(thread.host_entity), what};
}

void report_race(World& world, std::string text) {
  ++world.races;
  world.last_race = std::move(text);
  if (world.config.races != RacePolicy::fatal) return;
  std::fprintf(stderr, "fake CUDA driver: race: %s\n", world.last_race.c_str());
  std::abort();
}

void note_access(World& world, const Access& access, const Moment& moment, const VectorClock& clock) {
  if (world.config.races == RacePolicy::off) return;
  const ByteRange range{access.address, access.address + access.bytes};
  auto race = world.detector.access(range, access.writes, moment, clock);
  if (race) report_race(world, std::move(*race));
}

Call::Call(const char* of, Needs needs, WhileCapturing safety)
    : name(of),
      lock(fake_cuda::state().mutex),
      state(fake_cuda::state()),
      world(*state.world),
      thread(thread_state(state)),
      context(thread.stack.empty() ? nullptr : thread.stack.back()) {
  ++world.calls[name];
  refusal_ = decide(needs, safety);
}

std::pair<cuda::CUresult, bool> Call::take_effect() {
  return {std::exchange(fault_of_work_, cuda::kSuccess), std::exchange(work_hangs_, false)};
}

cuda::CUresult Call::decide(Needs needs, WhileCapturing safety) {
  if (needs != Needs::nothing && !world.initialised) return cuda::kErrorNotInitialized;
  if (needs == Needs::context) {
    if (context == nullptr) return cuda::kErrorInvalidContext;
    if (context->retained == 0) return kErrorContextIsDestroyed;
    if (context->fault != cuda::kSuccess) return context->fault;
  }
  if (const cuda::CUresult code = injected(); code != cuda::kSuccess) return code;
  return safety == WhileCapturing::unsafe ? refuse_while_capturing(world, thread) : cuda::kSuccess;
}

cuda::CUresult Call::injected() {
  cuda::CUresult refusal = cuda::kSuccess;
  for (auto at = world.injections.begin(); at != world.injections.end();) {
    if (at->call != name || --at->nth != 0) {
      ++at;
      continue;
    }
    if (at->effect == Effect::refuse) refusal = at->code;
    if (at->effect == Effect::fault) fault_of_work_ = at->code;
    if (at->effect == Effect::hang) work_hangs_ = true;
    at = world.injections.erase(at);
  }
  return refusal;
}

}  // namespace stillframe::fake_cuda
