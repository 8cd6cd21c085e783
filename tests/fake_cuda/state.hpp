// Everything that the fake knows, under one lock. Kept for the life of the process on purpose: stream threads may still
// wait for work when the process ends.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fake_cuda/clocks.hpp"
#include "fake_cuda/codes.hpp"
#include "fake_cuda/fake_cuda.hpp"

namespace stillframe::fake_cuda {

struct Allocation;
struct Capture;
struct Event;
struct Stream;

// The primary context of a device. The handle is its address, and stays good over release and retain.
struct Context {
  explicit Context(int of_device) : device(of_device) {}
  int device;
  unsigned retained = 0;
  cuda::CUresult fault = cuda::kSuccess;  // sticky
  std::shared_ptr<Stream> legacy_stream;  // made at first use
  std::size_t allocated_bytes = 0;
};

struct Registration {
  std::size_t bytes = 0;
  unsigned flags = 0;
  Context* context = nullptr;
};

struct Function {
  std::uintptr_t module = 0;
  std::shared_ptr<const Kernel> kernel;
};

// A copy from the host that was given and may not have run.
struct Arrival;

inline constexpr std::size_t kDirections = 3;  // see copies.hpp
using EngineTimes = std::array<std::chrono::steady_clock::time_point, kDirections>;

// What one reset() makes anew.
struct World {
  explicit World(Config with);
  ~World();

  Config config;
  bool initialised = false;
  std::mt19937_64 dice;
  std::vector<std::unique_ptr<Context>> contexts;  // by device
  std::uintptr_t next_handle = 0x5f0000;           // never used twice, so that a handle that has gone is known
  std::map<std::uintptr_t, std::shared_ptr<Stream>> streams;
  std::map<std::uintptr_t, std::shared_ptr<Event>> events;
  std::map<std::uintptr_t, Context*> modules;
  std::map<std::uintptr_t, Function> functions;
  std::map<std::uintptr_t, std::shared_ptr<Allocation>> allocations;  // by device address
  std::map<std::uintptr_t, Registration> registrations;               // by host address
  std::list<Arrival> arrivals;                                        // in the order given
  std::vector<EngineTimes> engines_free_at;                           // by device: when the copies so far will be done
  std::vector<std::shared_ptr<Capture>> captures;                     // under way, invalidated ones as well
  std::vector<std::pair<std::shared_ptr<Stream>, std::thread>> workers;

  RaceDetector detector;
  std::vector<VectorClock> host_clocks;  // one, or one for each thread
  std::vector<std::uint64_t> done;       // by entity: the operations of that stream that are done
  std::uint64_t races = 0;
  std::string last_race;

  std::list<Injection> injections;                   // nth counts down
  std::optional<std::uint64_t> dtoh_bytes_to_death;  // counts down
  std::map<std::string, std::uint64_t> calls;
  std::uint64_t operations_done = 0;
  std::uint64_t operations_captured = 0;
};

// What the driver knows of a thread.
struct ThreadState {
  std::uint64_t generation = 0;
  std::uint64_t id = 0;
  std::vector<Context*> stack;
  int capture_mode = cuda::kCaptureModeGlobal;
  Entity host_entity = 0;
  std::map<Context*, std::shared_ptr<Stream>> default_streams;
};

struct State {
  std::mutex mutex;
  std::condition_variable progress;  // of any stream, for the host's waits
  std::uint64_t host_waiters = 0;
  std::uint64_t generation = 1;
  std::unique_ptr<World> world;
  std::uint64_t threads_seen = 0;
  std::map<std::string, std::shared_ptr<const Kernel>> kernels;
  std::vector<std::vector<std::byte>> images;
  std::vector<const void*> image_addresses;
};

// From the environment at first use.
[[nodiscard]] State& state();
// Of the calling thread; made anew after a reset. The lock is held.
[[nodiscard]] ThreadState& thread_state(State& state);
[[nodiscard]] Entity new_entity(World& world);
[[nodiscard]] VectorClock& host_clock(World& world, const ThreadState& thread);
// The host does something that is ordered after all it knows.
[[nodiscard]] Moment host_moment(World& world, const ThreadState& thread, const char* what);
// Counts a race, or ends the process, by the policy.
void report_race(World& world, std::string text);
// Notes the access and reports the race that it makes.
void note_access(World& world, const Access& access, const Moment& moment, const VectorClock& clock);
[[nodiscard]] std::vector<Injection> injections_from_environment();
// Without the lock: the library registers its kernels while it is loaded.
void load_kernels_from_environment();

enum class Needs { nothing, initialised, context };
enum class WhileCapturing { safe, unsafe };

// A call of the driver under way: counted, refused where the state or an injection says so, else with the lock held.
class Call {
 public:
  explicit Call(const char* name, Needs needs = Needs::context, WhileCapturing safety = WhileCapturing::safe);

  [[nodiscard]] bool refused() const { return refusal_ != cuda::kSuccess; }
  [[nodiscard]] cuda::CUresult refusal() const { return refusal_; }
  // An injected fault or hang that the work of this call takes with it, once.
  [[nodiscard]] std::pair<cuda::CUresult, bool> take_effect();

  const char* const name;
  std::unique_lock<std::mutex> lock;
  State& state;
  World& world;
  ThreadState& thread;
  Context* const context;  // current; null when there is none

 private:
  [[nodiscard]] cuda::CUresult decide(Needs needs, WhileCapturing safety);
  [[nodiscard]] cuda::CUresult injected();

  cuda::CUresult fault_of_work_ = cuda::kSuccess;
  bool work_hangs_ = false;
  cuda::CUresult refusal_ = cuda::kSuccess;
};

}  // namespace stillframe::fake_cuda
