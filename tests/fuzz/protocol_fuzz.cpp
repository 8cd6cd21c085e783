// Control messages between trainer and daemon: what decodes is written back the same, however it was written.
#include "harness.hpp"
#include "protocol/messages.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  const fuzz::MemoryBound bound(size, 128, 32 * 1024);
  const auto message = protocol::decode(fuzz::text_of(data, size));
  fuzz::require_words(message);
  if (!message.ok()) return 0;
  const std::string text = protocol::encode(*message);
  const auto again = protocol::decode(text);
  fuzz::require(again.ok(), "a decoded message does not decode once it is encoded");
  fuzz::require(again->index() == message->index(), "a message became one of another type");
  fuzz::require(protocol::encode(*again) == text, "a message changes each time it is encoded");
  return 0;
}
