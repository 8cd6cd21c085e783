#include "contract/copy_list_contract.hpp"
#include "contract/device_contract.hpp"
#include "contract/fingerprint_contract.hpp"
#include "device/copy_crew.hpp"

namespace stillframe::device {
namespace {

DeviceUnderTest host_device(const std::string& label, std::size_t copy_threads) {
  DeviceUnderTest host;
  host.label = label;
  host.make = [copy_threads]() -> Result<std::unique_ptr<Device>> {
    SF_ASSIGN(std::shared_ptr<CopyCrew> crew, CopyCrew::start(copy_threads));
    return make_host_device(std::move(crew));
  };
  return host;
}

const auto kHostDevices = testing::Values(host_device("host", 1), host_device("three_copy_threads", 3));

INSTANTIATE_TEST_SUITE_P(Host, DeviceContract, kHostDevices, [](const auto& test) { return test.param.label; });
INSTANTIATE_TEST_SUITE_P(Host, CopyListContract, kHostDevices, [](const auto& test) { return test.param.label; });
INSTANTIATE_TEST_SUITE_P(Host, FingerprintContract, kHostDevices, [](const auto& test) { return test.param.label; });

TEST(HostDevice, IsNamedHost) { EXPECT_EQ(make_host_device()->name(), "host"); }

TEST(HostDevice, EventsOnAStreamThatIsHeldUpAreBounded) {
  constexpr std::size_t kMostTries = 100'000;
  constexpr std::size_t kLargeBytes = std::size_t{64} << 20;
  const std::vector<std::byte> from(kLargeBytes, std::byte{1});
  std::vector<std::byte> to(kLargeBytes);
  const base::Deadline soon = base::Deadline::after_ms(60'000);
  const auto device = make_host_device();
  const auto slow = device->create_stream("slow");
  const auto held = device->create_stream("held");
  ASSERT_TRUE(slow.ok() && held.ok());
  ASSERT_TRUE((*slow)->copy_to_host(to, from.data(), soon).ok());
  auto copied = (*slow)->record();
  ASSERT_TRUE(copied.ok());
  ASSERT_TRUE((*held)->wait(*copied).ok());

  std::vector<std::shared_ptr<Event>> events;
  Status refused;
  while (refused.ok() && events.size() < kMostTries) {
    auto event = (*held)->record();
    refused = event.status();
    if (event.ok()) events.push_back(std::move(event).value());
  }
  EXPECT_EQ(refused.code(), Code::deadline);
  for (const auto& event : events) EXPECT_TRUE(event->wait(soon).ok());
  EXPECT_EQ(to, from);
  EXPECT_TRUE((*held)->record().ok());
}

TEST(HostDevice, TheTrainingStreamIsTheCallerSoItWaitsUntilTheDeadline) {
  constexpr std::size_t kLargeBytes = std::size_t{64} << 20;
  const std::vector<std::byte> from(kLargeBytes, std::byte{1});
  std::vector<std::byte> to(kLargeBytes);
  const auto device = make_host_device();
  const auto training = device->training_stream(0);
  const auto copies = device->create_stream("copies");
  ASSERT_TRUE(training.ok() && copies.ok());
  ASSERT_TRUE((*copies)->copy_to_host(to, from.data(), base::Deadline::after_ms(60'000)).ok());
  const auto copied = (*copies)->record();
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ((*training)->wait(*copied, base::Deadline::after_ms(0)).code(), Code::deadline);
  EXPECT_TRUE((*training)->wait(*copied, base::Deadline::after_ms(60'000)).ok());
  EXPECT_EQ(to, from);
}

TEST(HostDevice, HasNoTrainingStreamButTheCaller) {
  EXPECT_EQ(make_host_device()->training_stream(2).status().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace stillframe::device
