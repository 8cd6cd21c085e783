// Copies, bounds, pins and faults of the CUDA device on the driver fake.
#include "device/cuda_device.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

using fake_cuda::Config;
using fake_cuda::Effect;
using fake_cuda::inject;
using fake_cuda::statistics;

// Addresses whose pages nobody touches.
class Reservation {
 public:
  explicit Reservation(std::size_t bytes)
      : bytes_(bytes),
        address_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    EXPECT_NE(address_, MAP_FAILED);
  }
  ~Reservation() { ::munmap(address_, bytes_); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  [[nodiscard]] std::span<std::byte> range() const { return {static_cast<std::byte*>(address_), bytes_}; }

 private:
  const std::size_t bytes_;
  void* const address_;
};

class CudaDeviceTest : public CudaTest {
 protected:
  static constexpr std::size_t kGiB = std::size_t{1} << 30;
  static constexpr std::size_t kCopies = 3000;

  // 3000 copies of 16 bytes each, in one call.
  void copy_many(Stream& work) {
    Bytes target(kCopies * 16);
    const Bytes source(target.size(), std::byte{7});
    const auto memory = allocate(target.size());
    std::vector<HostCopy> copies;
    for (std::size_t i = 0; i < kCopies; ++i) {
      copies.push_back({std::span(target).subspan(i * 16, 16), static_cast<std::byte*>(memory->data()) + i * 16});
    }
    expect_ok(work.copy_to_device(memory->data(), source, soon()));
    expect_ok(work.copy_to_host(copies, soon()));
    expect_ok(taken(work.record())->wait(soon()));
    EXPECT_EQ(target, source);
  }
};

TEST_F(CudaDeviceTest, ManyCopiesAreFewCallsOfADriverThatTakesBatches) {
  copy_many(*stream());
  EXPECT_EQ(statistics().calls_of("cuMemcpyBatchAsync"), 3U);
  EXPECT_EQ(statistics().calls_of("cuMemcpyDtoHAsync"), 0U);
}

TEST_F(CudaDeviceTest, ManyCopiesAreOneCallEachOfADriverWithoutBatches) {
  start(with(&Config::driver_version, 12040));
  copy_many(*stream());
  EXPECT_EQ(statistics().calls_of("cuMemcpyBatchAsync"), 0U);
  EXPECT_EQ(statistics().calls_of("cuMemcpyDtoHAsync"), kCopies);
}

TEST_F(CudaDeviceTest, ABatchThatTheDeviceDoesNotSupportIsAskedForOnce) {
  inject({"cuMemcpyBatchAsync", 1, cuda::kErrorNotSupported, Effect::refuse});
  copy_many(*stream());
  EXPECT_EQ(statistics().calls_of("cuMemcpyBatchAsync"), 1U);
  EXPECT_EQ(statistics().calls_of("cuMemcpyDtoHAsync"), kCopies);
}

TEST_F(CudaDeviceTest, ABatchThatIsRefusedOnceIsCopiedOneByOne) {
  inject({"cuMemcpyBatchAsync", 2, cuda::kErrorInvalidValue, Effect::refuse});
  copy_many(*stream());
  EXPECT_EQ(statistics().calls_of("cuMemcpyBatchAsync"), 3U);
}

TEST_F(CudaDeviceTest, ACopyFromAnAddressOfNobodyIsRefusedInWords) {
  void* const stray = reinterpret_cast<void*>(std::uintptr_t{64});  // NOLINT(performance-no-int-to-ptr)
  Bytes target(64);
  const auto memory = allocate(64);
  const auto work = stream("restore");
  expect_says(work->copy_to_host(target, stray, soon()), Code::invalid_argument,
              {"copying to the host on stream 'restore' of cuda:0", "CUDA_ERROR_INVALID_VALUE", "addresses"});
  const HostCopy copies[] = {{target, memory->data()}, {target, stray}};
  expect_says(work->copy_to_host(copies, soon()), Code::invalid_argument, {"stream 'restore' of cuda:0"});
}

TEST_F(CudaDeviceTest, HandlesOfManyEventsAreLetGoAsTheyAreReached) {
  Bytes target(4096);
  const auto pinned = pin(target);
  const auto memory = allocate(target.size());
  const auto work = stream();
  for (int i = 0; i < 2000; ++i) {
    expect_ok(work->copy_to_host(target, memory->data(), soon()));
    expect_ok(taken(work->record())->wait(soon()));
  }
  EXPECT_LE(statistics().events, 2U);
}

TEST_F(CudaDeviceTest, ARangeIsPinnedInRunsOfAtMostOneGibibyte) {
  const Reservation large(2 * kGiB + 8192);
  auto pinned = pin(large.range());
  EXPECT_EQ(statistics().registrations, 3U);
  EXPECT_EQ(statistics().registered_bytes, large.range().size());
  pinned.reset();
  EXPECT_EQ(statistics().registrations, 0U);
}

TEST_F(CudaDeviceTest, RunsOfARangeThatStartsInsideAPageShareNoPage) {
  const Reservation large(2 * kGiB);
  const auto pinned = pin(large.range().subspan(100));
  EXPECT_EQ(statistics().registrations, 2U);
  EXPECT_EQ(statistics().registered_bytes, large.range().size() - 100);
}

TEST_F(CudaDeviceTest, NothingToPinIsAllowed) { EXPECT_NE(pin({}), nullptr); }

TEST_F(CudaDeviceTest, ARefusedPinSaysThatCopiesGoOnAndHowToRaiseTheLimit) {
  const Reservation large(2 * kGiB);
  inject({"cuMemHostRegister", 2, cuda::kErrorOutOfMemory, Effect::refuse});
  expect_says(device_->pin(large.range()).status(), Code::no_space,
              {"cuda:0", "CUDA_ERROR_OUT_OF_MEMORY", "Copies go on", "not pinned", "ulimit -l", "LimitMEMLOCK"});
  EXPECT_EQ(statistics().registrations, 0U) << "the run before the refused one stayed pinned";
  EXPECT_NE(pin(large.range()), nullptr);
}

TEST_F(CudaDeviceTest, MemoryThatIsPinnedAlreadyIsAnErrorOfTheCaller) {
  Bytes bytes(8192);
  const auto pinned = pin(bytes);
  expect_says(device_->pin(bytes).status(), Code::invalid_argument, {"pinned already", "CUDA_ERROR_HOST_MEMORY"});
}

TEST_F(CudaDeviceTest, MoreMemoryThanTheDeviceHasIsRefused) {
  expect_says(device_->allocate(std::size_t{1} << 50).status(), Code::no_space,
              {"allocating 1125899906842624 bytes of memory of cuda:0", "CUDA_ERROR_OUT_OF_MEMORY"});
}

TEST_F(CudaDeviceTest, AfterAFaultEveryCallSaysThatTheDeviceIsLost) {
  Bytes target(4096);
  const auto pinned = pin(target);
  const auto memory = allocate(target.size());
  const auto work = stream();
  const auto of_trainer = training();
  const auto before = taken(work->record());
  expect_ok(before->wait(soon()));
  inject({"cuMemcpyDtoHAsync", 1, cuda::kErrorIllegalAddress, Effect::fault});
  expect_ok(work->copy_to_host(target, memory->data(), soon()));
  const auto after = work->record();
  const auto expect_lost = [](const Status& status) {
    expect_says(
        status, Code::io_error,
        {"CUDA_ERROR_ILLEGAL_ADDRESS (700)", "the device is lost for this process", "captured are safe", "restore"});
  };
  expect_lost(after.ok() ? (*after)->wait(soon()) : after.status());
  expect_lost(work->copy_to_host(target, memory->data(), soon()));
  expect_lost(work->copy_to_device(memory->data(), target, soon()));
  expect_lost(work->record().status());
  expect_lost(work->wait(before));
  expect_lost(of_trainer->capturing().status());
  expect_lost(of_trainer->record().status());
  expect_lost(device_->allocate(16).status());
  expect_lost(device_->pin(target).status());
  expect_lost(device_->create_stream("another").status());
  EXPECT_TRUE(before->reached()) << "what was reached before the fault was forgotten";
}

TEST_F(CudaDeviceTest, AFaultFoundInAFullQueueIsToldBeforeTheDeadline) {
  Bytes target(16);
  Bytes other_target(16);
  auto pinned = pin(target);
  auto other_pinned = pin(other_target);
  auto memory = allocate(target.size());
  auto held = stream("held");
  auto work = stream();
  inject({"cuMemcpyDtoHAsync", 1, cuda::kSuccess, Effect::hang});
  expect_ok(held->copy_to_host(target, memory->data(), soon()));
  expect_ok(work->wait(taken(held->record())));
  Status refused;
  while (refused.ok()) refused = work->copy_to_host(target, memory->data(), base::Deadline::after_ms(0));
  EXPECT_EQ(refused.code(), Code::deadline);
  expect_says(refused, Code::deadline, {"stream 'copies' of cuda:0", "16384 copies under way", "not queued"});
  inject({"cuMemcpyDtoHAsync", 1, cuda::kErrorIllegalAddress, Effect::fault});
  expect_ok(stream("faulty")->copy_to_host(other_target, memory->data(), soon()));
  expect_says(work->copy_to_host(target, memory->data(), soon()), Code::io_error, {"lost for this process"});
  // The device goes before the bytes that its queue would have written.
  held.reset();
  work.reset();
  pinned.reset();
  other_pinned.reset();
  memory.reset();
  start({});
}

TEST_F(CudaDeviceTest, AStreamThatHangsEndsItsWaitsAtTheDeadlineAndHoldsNoOtherUp) {
  Bytes target(64);
  const auto pinned = pin(target);
  const auto memory = allocate(target.size());
  const auto hung = stream("hung");
  const auto other = stream("other");
  inject({"cuMemcpyDtoHAsync", 1, cuda::kSuccess, Effect::hang});
  expect_ok(hung->copy_to_host(target, memory->data(), soon()));
  const auto copied = taken(hung->record());
  expect_says(copied->wait(base::Deadline::after_ms(20)), Code::deadline, {"stream 'hung' of cuda:0", "goes on"});
  expect_ok(taken(other->record())->wait(soon()));
  expect_ok(training()->wait(copied, soon()));
  fake_cuda::release_streams();
  expect_ok(copied->wait(soon()));
}

// The order of destruction is that of a checkpointer that is closed: the stream, then what its copies go to.
TEST_F(CudaDeviceTest, ADeviceThatNoLongerAnswersIsLeftAsItIs) {
  Bytes target(64);
  auto pinned = pin(target);
  auto memory = allocate(target.size());
  auto hung = stream("hung");
  inject({"cuMemcpyDtoHAsync", 1, cuda::kSuccess, Effect::hang});
  expect_ok(hung->copy_to_host(target, memory->data(), soon()));
  testing::internal::CaptureStderr();
  hung.reset();
  const std::string logged = testing::internal::GetCapturedStderr();
  EXPECT_NE(logged.find("device.stream.abandoned"), std::string::npos) << logged;
  EXPECT_NE(logged.find("stream 'hung' of cuda:0"), std::string::npos) << logged;
  pinned.reset();
  memory.reset();
  device_.reset();
  const fake_cuda::Statistics left = statistics();
  EXPECT_EQ(left.streams, 1U);
  EXPECT_EQ(left.registrations, 1U) << "memory that the device may still write to was unpinned";
  EXPECT_EQ(left.allocations, 1U) << "memory that the device may still read was freed";
  EXPECT_EQ(left.contexts_retained, 1U);
  EXPECT_EQ(fake_cuda::races(), 0U) << fake_cuda::last_race();
  start({});
}

TEST_F(CudaDeviceTest, AStreamOfOneDeviceWaitsForAnEventOfAnother) {
  start(with(&Config::devices, 2));
  const auto second = open(1);
  Bytes source(1 << 20, std::byte{3});
  Bytes middle(source.size());
  Bytes target(source.size());
  const auto pinned = pin(middle);
  const auto first_memory = allocate(source.size());
  const auto second_memory = taken(second->allocate(source.size()));
  const auto first_work = stream("first");
  const auto second_work = taken(second->create_stream("second"));
  expect_ok(first_work->copy_to_device(first_memory->data(), source, soon()));
  expect_ok(first_work->copy_to_host(middle, first_memory->data(), soon()));
  expect_ok(second_work->wait(taken(first_work->record())));
  expect_ok(second_work->copy_to_device(second_memory->data(), middle, soon()));
  expect_ok(second_work->copy_to_host(target, second_memory->data(), soon()));
  const auto copied = taken(second_work->record());
  expect_ok(training()->wait(copied, soon()));
  expect_ok(copied->wait(soon()));
  EXPECT_EQ(target, source);
}

}  // namespace
}  // namespace stillframe::device
