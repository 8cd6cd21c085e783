#include "client/query.hpp"

#include "protocol/messages.hpp"
#include "transport/transport.hpp"

namespace stillframe::client {

Result<std::string> query_status(const std::string& socket, const base::Deadline& deadline) {
  const auto connection = transport::connect(socket, deadline);
  if (!connection.ok()) {
    return Status(Code::unavailable, "no daemon answers at " + socket + " (" + connection.status().message() +
                                         "); what is durable in the store is safe, and a trainer starts one when it needs it");
  }
  const Status sent = connection->send(protocol::encode(protocol::StatusRequest{}), {}, deadline);
  if (!sent.ok() && sent.code() != Code::unavailable) return sent;  // one that refuses whoever comes has said why, and closed
  SF_ASSIGN(const auto received, connection->receive(deadline));
  if (!received) return Status(Code::unavailable, "the daemon at " + socket + " closed the connection");
  SF_ASSIGN(auto message, protocol::decode(received->text));
  if (auto* reply = std::get_if<protocol::StatusReply>(&message)) return std::move(reply->json);
  if (auto* failure = std::get_if<protocol::Failure>(&message)) return Status(failure->code, failure->message);
  return Status(Code::corrupt, "the daemon at " + socket + " answered with something else");
}

}  // namespace stillframe::client
