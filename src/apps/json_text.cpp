#include "apps/json_text.hpp"

namespace stillframe::apps {

using nlohmann::ordered_json;

std::string json_text(const ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json to_json(const Summary& summary) {
  const bool readable = !summary.run.empty();
  const auto known = [readable](auto value) { return readable ? ordered_json(value) : ordered_json(nullptr); };
  return {{"name", summary.name},
          {"sequence", summary.sequence},
          {"step", summary.step},
          {"run", known(summary.run)},
          {"created_utc", summary.utc},
          {"state", state_name(summary.state)},
          {"pinned", summary.pinned},
          {"world_size", known(summary.world_size)},
          {"tensors", known(summary.tensors)},
          {"raw_bytes", known(summary.raw_bytes)},
          {"stored_bytes", known(summary.stored_bytes)},
          {"problem", summary.problem.empty() ? ordered_json(nullptr) : ordered_json(summary.problem)}};
}

}  // namespace stillframe::apps
