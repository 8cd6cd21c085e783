#include "contract/device_contract.hpp"

namespace stillframe::device {
namespace {

DeviceUnderTest host_device() {
  return {"host", make_host_device, [](std::size_t bytes) {
            const std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
            return std::shared_ptr<void>(memory, memory.get());
          }};
}

INSTANTIATE_TEST_SUITE_P(Host, DeviceContract, testing::Values(host_device()),
                         [](const auto& test) { return test.param.label; });

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

TEST(HostDevice, AnEventOfAnotherKindOfDeviceIsRefused) {
  class ForeignEvent final : public Event {
   public:
    [[nodiscard]] bool reached() const noexcept override { return true; }
    [[nodiscard]] Status wait(const base::Deadline& /*deadline*/) const override { return {}; }
  };
  const auto device = make_host_device();
  const auto stream = device->create_stream("host");
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->wait(std::make_shared<ForeignEvent>()).code(), Code::invalid_argument);
}

}  // namespace
}  // namespace stillframe::device
