// The configuration of a whole program, from the variables FAKE_CUDA_*.
#include <dlfcn.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "fake_cuda/state.hpp"

namespace stillframe::fake_cuda {
namespace {

[[noreturn]] void give_up(const std::string& name, std::string_view value, const char* why) {
  std::fprintf(stderr, "fake CUDA driver: %s=%.*s: %s\n", name.c_str(), static_cast<int>(value.size()), value.data(),
               why);
  std::abort();
}

std::optional<std::string> variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

template <typename Number>
Number number_in(const std::string& name, std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) give_up(name, text, "not a number");
  return number;
}

template <typename Number>
void read_number(const char* name, Number& number) {
  if (const auto text = variable(name)) number = number_in<Number>(name, *text);
}

template <typename Choice>
void read_choice(const char* name, Choice& choice, std::initializer_list<std::pair<std::string_view, Choice>> choices,
                 const char* why) {
  const auto text = variable(name);
  if (!text) return;
  for (const auto& [word, value] : choices) {
    if (word == *text) {
      choice = value;
      return;
    }
  }
  give_up(name, *text, why);
}

std::vector<std::string> parts_of(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

}  // namespace

Config config_from_environment() {
  Config config;
  read_choice("FAKE_CUDA_SCHEDULE", config.schedule,
              {{"eager", Schedule::eager}, {"adversarial", Schedule::adversarial}, {"lazy", Schedule::lazy}},
              "not eager, adversarial or lazy");
  read_number("FAKE_CUDA_SEED", config.seed);
  read_number("FAKE_CUDA_DELAY_MS", config.delay_ms);
  read_number("FAKE_CUDA_DTOH_BYTES_PER_S", config.device_to_host_bytes_per_s);
  read_number("FAKE_CUDA_HTOD_BYTES_PER_S", config.host_to_device_bytes_per_s);
  read_number("FAKE_CUDA_DTOD_BYTES_PER_S", config.device_to_device_bytes_per_s);
  read_number("FAKE_CUDA_LATENCY_US", config.latency_us);
  read_number("FAKE_CUDA_MEMORY_BYTES", config.memory_bytes);
  read_number("FAKE_CUDA_DEVICES", config.devices);
  read_number("FAKE_CUDA_DRIVER_VERSION", config.driver_version);
  if (const auto names = variable("FAKE_CUDA_MISSING_CALLS")) config.missing_calls = parts_of(*names, ',');
  read_choice("FAKE_CUDA_RACES", config.races,
              {{"off", RacePolicy::off}, {"count", RacePolicy::count}, {"fatal", RacePolicy::fatal}},
              "not off, count or fatal");
  read_choice("FAKE_CUDA_HOST_CLOCK", config.host_clock,
              {{"shared", HostClock::shared}, {"per_thread", HostClock::per_thread}}, "not shared or per_thread");
  read_choice("FAKE_CUDA_POISON", config.poison, {{"0", false}, {"1", true}}, "not 0 or 1");
  return config;
}

void load_kernels_from_environment() {
  const auto library = variable("FAKE_CUDA_KERNELS");
  if (library && dlopen(library->c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    give_up("FAKE_CUDA_KERNELS", *library, dlerror());
  }
}

std::vector<Injection> injections_from_environment() {
  constexpr const char* kName = "FAKE_CUDA_INJECT";
  constexpr const char* kWhy = "not name:nth:code[:fault|:hang], with commas between";
  std::vector<Injection> injections;
  const auto all = variable(kName);
  if (!all) return injections;
  for (const std::string& text : parts_of(*all, ',')) {
    const std::vector<std::string> parts = parts_of(text, ':');
    if (parts.size() < 3 || parts.size() > 4) give_up(kName, text, kWhy);
    Injection injection{parts[0], number_in<std::uint64_t>(kName, parts[1]), number_in<cuda::CUresult>(kName, parts[2]),
                        Effect::refuse};
    if (parts.size() == 4) {
      if (parts[3] != "fault" && parts[3] != "hang") give_up(kName, text, kWhy);
      injection.effect = parts[3] == "fault" ? Effect::fault : Effect::hang;
    }
    injections.push_back(std::move(injection));
  }
  return injections;
}

}  // namespace stillframe::fake_cuda
