// The controls of the CUDA driver fake: libcuda.so.1 over host memory. A test links the fake (CMake target fake_cuda)
// and calls reset(); the product then finds the fake when it loads "libcuda.so.1". A whole program finds it with
// LD_LIBRARY_PATH and is configured by the variables FAKE_CUDA_* (config_from_environment). Every function may be
// called from any thread, but reset() only while no other thread is in a call of the driver.
//
// Stricter than the driver: every call but those about devices, versions and contexts wants a current context; work on
// a stream wants the stream's context current; memory that is freed or unregistered while work on it is under way is a
// race.
// While a thread's capture mode forbids them, these are refused and break the capture: cuMemAlloc, cuMemFree,
// cuMemHostRegister, cuMemHostUnregister, cuEventQuery, cuEventSynchronize, cuStreamQuery, cuStreamSynchronize,
// cuCtxSynchronize, cuModuleLoadData, cuModuleUnload. A stream that waits for a captured event joins the capture.
// Not there: graphs that can be launched, device-side allocation, managed memory, IPC, a process forked after the first
// stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "device/cuda_api.hpp"

#define FAKE_CUDA_EXPORT __attribute__((visibility("default")))

namespace stillframe::fake_cuda {

// When an operation runs that nothing holds back. Something waits for it when the host synchronises with it or queries
// an event or stream behind it, and when other work that is waited for depends on it.
enum class Schedule {
  eager,        // at once
  adversarial,  // late, by a time drawn from the seed around Config::delay_ms, unless something waits for it
  lazy,         // only when something waits for it
};

enum class RacePolicy { off, count, fatal };  // fatal: the text goes to stderr, the process aborts

// What the detector believes about host threads.
enum class HostClock {
  shared,      // they tell each other everything: what one of them has waited for, each has
  per_thread,  // they tell each other nothing, but for host_threads_met()
};

struct Config {
  Schedule schedule = Schedule::eager;
  std::uint64_t seed = 1;
  std::uint64_t delay_ms = 40;                   // adversarial: an operation is late by half of it up to one and a half
  std::uint64_t device_to_host_bytes_per_s = 0;  // 0: as fast as memory
  std::uint64_t host_to_device_bytes_per_s = 0;
  std::uint64_t device_to_device_bytes_per_s = 0;
  std::uint64_t latency_us = 0;                     // of every copy
  std::size_t memory_bytes = std::size_t{1} << 30;  // of each device
  int devices = 1;
  int driver_version = 13000;              // 12040: 12.4; a call that came later is not there
  std::vector<std::string> missing_calls;  // names that cuGetProcAddress does not find
  RacePolicy races = RacePolicy::fatal;
  HostClock host_clock = HostClock::shared;
  // The target of an asynchronous copy to the host is filled with kPoison when the copy is given, unless work under way
  // touches it. Never with RacePolicy::off, which does not know of any.
  bool poison = true;
};
inline constexpr std::byte kPoison{0xCD};

// FAKE_CUDA_SCHEDULE (eager, adversarial, lazy), _SEED, _DELAY_MS, _DTOH_BYTES_PER_S, _HTOD_BYTES_PER_S,
// _DTOD_BYTES_PER_S, _LATENCY_US, _MEMORY_BYTES, _DEVICES, _DRIVER_VERSION, _MISSING_CALLS (names with commas), _RACES
// (off, count, fatal), _HOST_CLOCK (shared, per_thread), _POISON (0, 1). Besides, read when the library is first used:
// _INJECT (name:nth:code[:fault|:hang] with commas) and _KERNELS, a library that registers host twins when it is
// loaded. A value that means nothing ends the process with a message.
[[nodiscard]] FAKE_CUDA_EXPORT Config config_from_environment();

// Starts over: streams stop where they are, memory, handles, counts, errors and injections go. Images and kernels stay.
FAKE_CUDA_EXPORT void reset(const Config& config);

// ---- Races: two accesses to one byte, one of them a write, that no stream, event or host wait puts in an order.
[[nodiscard]] FAKE_CUDA_EXPORT std::uint64_t races();
[[nodiscard]] FAKE_CUDA_EXPORT std::string last_race();  // empty when there was none
// The host reads or writes registered memory: a race when it has not waited for work that touches the range.
FAKE_CUDA_EXPORT void host_reads(const void* address, std::size_t bytes);
FAKE_CUDA_EXPORT void host_writes(void* address, std::size_t bytes);
// HostClock::per_thread: all threads have met; the caller knows now what any of them has waited for.
FAKE_CUDA_EXPORT void host_threads_met();

// ---- Errors
enum class Effect {
  refuse,  // the call returns the code and does nothing
  fault,  // the call succeeds; its work fails, the next call of the context shows the code, and so does every one after
  hang,   // the call succeeds; its stream stands before its work until release_streams()
};
struct Injection {
  std::string call;       // "cuMemAlloc"
  std::uint64_t nth = 1;  // counted from now on, the first is 1
  device::cuda::CUresult code = device::cuda::kErrorUnknown;
  Effect effect = Effect::refuse;  // fault and hang are for calls that give work to a stream
};
FAKE_CUDA_EXPORT void inject(const Injection& injection);
FAKE_CUDA_EXPORT void hang_stream(device::cuda::CUstream stream);  // before the next operation that has not begun
FAKE_CUDA_EXPORT void release_streams();  // every one that hangs, or would for what it has been given so far
// The process kills itself (SIGKILL) as soon as so many bytes more have been copied from devices to the host, be it in
// the middle of a copy; 0: before the first of them. The later call stands.
FAKE_CUDA_EXPORT void die_after_dtoh_bytes(std::uint64_t bytes);

// ---- What is there
struct Statistics {
  std::size_t allocations = 0;
  std::size_t allocated_bytes = 0;
  std::size_t registrations = 0;
  std::size_t registered_bytes = 0;
  std::size_t streams = 0;  // made by cuStreamCreate and not destroyed
  std::size_t events = 0;
  std::size_t modules = 0;
  std::size_t contexts_retained = 0;  // cuDevicePrimaryCtxRetain without its release
  std::uint64_t operations_done = 0;
  std::uint64_t operations_captured = 0;
  std::map<std::string, std::uint64_t> calls;  // by name, refused ones as well

  [[nodiscard]] std::uint64_t calls_of(const std::string& name) const {
    const auto found = calls.find(name);
    return found == calls.end() ? 0 : found->second;
  }
};
[[nodiscard]] FAKE_CUDA_EXPORT Statistics statistics();

// ---- Memory and kernels
// Where the bytes of a device address lie, for host twins and for tests to look at. A registered host address is its
// own. Null when no live memory is there.
[[nodiscard]] FAKE_CUDA_EXPORT std::byte* backing(device::cuda::CUdeviceptr address);

// Where the bytes lie that the range will hold once the copies from the host given so far have run: for a kernel that says
// which ranges it touches while what it will read is still on its way.
[[nodiscard]] FAKE_CUDA_EXPORT const std::byte* coming(device::cuda::CUdeviceptr address, std::size_t bytes);

struct Access {
  device::cuda::CUdeviceptr address = 0;  // of device memory or of registered host memory
  std::size_t bytes = 0;
  bool writes = false;
};

struct Launch {
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  std::vector<std::vector<std::byte>> arguments;  // as they were when the kernel was launched

  template <typename Value>
  [[nodiscard]] Value argument(std::size_t index) const {
    Value value;
    std::memcpy(&value, arguments.at(index).data(), sizeof value);
    return value;
  }
};

struct Kernel {
  std::string name;
  std::vector<std::size_t> argument_bytes;
  // Every byte that the launch may touch; asked when it is given to the stream. Ranges outside of live memory fail it.
  std::function<std::vector<Access>(const Launch&)> accesses;
  // Runs on the stream's thread; turns device addresses into host ones with backing().
  std::function<void(const Launch&)> run;
};
// In place of one of the same name. The product's own are there from the start.
FAKE_CUDA_EXPORT void register_kernel(Kernel kernel);

// cuModuleLoadData takes a registered image (by address, or by equal bytes) and every fat binary (by its first four
// bytes).
FAKE_CUDA_EXPORT void register_image(std::span<const std::byte> image);

}  // namespace stillframe::fake_cuda
