// What the daemon says of itself and its sessions.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "daemon/daemon_core.hpp"
#include "daemon/status_fit.hpp"

namespace stillframe::daemon {
namespace {

nlohmann::json crash_cost_json(const arena::CrashCost& cost) {
  return {{"trainer_crash_seconds", cost.trainer_crash_seconds},
          {"power_loss_seconds", cost.power_loss_seconds},
          {"text", arena::describe(cost)}};
}

nlohmann::json cadence_json(const arena::Cadence& cadence) {
  return {{"snapshot_every_seconds", cadence.snapshot_every_seconds},
          {"mean_block_seconds", cadence.mean_block_seconds},
          {"mean_time_between_failures_seconds", cadence.mean_time_between_failures_seconds},
          {"text", arena::describe(cadence)}};
}

nlohmann::json session_json(const RunSession& session, std::int64_t now_ns) {
  const persist::PersistCounters counters = session.counters();
  const RunSession::ArenaFacts arena = session.arena_facts();
  nlohmann::json json{{"run", session.run()},
                      {"store", session.store_path()},
                      {"pid", session.pid()},
                      {"rank", session.rank()},
                      {"world_size", session.world_size()},
                      {"alive", !session.gone()},
                      {"mode", arena::mode_name(arena.mode)},
                      {"arena_bytes", arena.committed_bytes},
                      {"image_bytes", arena.image_bytes},
                      {"durable", counters.durable},
                      {"verified", counters.verified},
                      {"failed", counters.failed},
                      {"consecutive_failures", counters.consecutive_failures},
                      {"last_error", counters.last_error},
                      {"persisting", counters.phase},
                      {"persisting_seconds", nullptr},
                      {"alarms", nlohmann::json::array()},
                      {"last_durable_step", nullptr},
                      {"last_durable_age_seconds", nullptr},
                      {"crash_cost", nullptr},
                      {"suggested_cadence", nullptr}};
  // A disk that hangs is seen by this figure, which grows.
  if (counters.phase != "idle") {
    json["persisting_seconds"] = static_cast<double>(now_ns - counters.phase_since_monotonic_ns) * 1e-9;
  }
  if (counters.last_durable_monotonic_ns != 0) {
    json["last_durable_step"] = counters.last_durable_step;
    json["last_durable_age_seconds"] = static_cast<double>(now_ns - counters.last_durable_monotonic_ns) * 1e-9;
  }
  if (const auto outlook = session.gone() ? std::nullopt : session.crash_outlook(now_ns)) {
    json["crash_cost"] = crash_cost_json(outlook->cost);
    if (outlook->cadence) json["suggested_cadence"] = cadence_json(*outlook->cadence);
  }
  for (const persist::StandingAlarm& alarm : counters.alarms) {
    json["alarms"].push_back(
        {{"kind", alarm.kind}, {"text", alarm.text}, {"since_step", alarm.since_step}, {"times", alarm.times}});
  }
  return json;
}

nlohmann::json scrub_json(const ScrubCounters& counters) {
  return {{"checked", counters.checked}, {"bad", counters.bad}, {"last", counters.last}, {"reading", counters.reading}};
}

}  // namespace

protocol::StatusReply DaemonCore::status() const {
  const std::int64_t now_ns = base::system_clock().monotonic_ns();
  nlohmann::json sessions = nlohmann::json::array();
  for (const auto& session : sessions_) sessions.push_back(session_json(*session, now_ns));
  nlohmann::json scrubs = nlohmann::json::object();
  for (const auto& session : sessions_) {
    if (const auto scrubber = session->scrubber()) scrubs[session->store_path()] = scrub_json(scrubber->counters());
  }
  nlohmann::json json{{"daemon",
                       {{"pid", ::getpid()},
                        {"version", STILLFRAME_VERSION},
                        {"socket", config_.socket},
                        {"uptime_seconds", static_cast<double>(now_ns - started_ns_) * 1e-9},
                        {"level", codec::level_name(config_.level)},
                        {"notice", encoders_->notice()}}},
                      {"arena", {{"budget_bytes", config_.budget_bytes}, {"used_bytes", used_arena_bytes()}}},
                      {"scrub", std::move(scrubs)},
                      {"sessions", std::move(sessions)}};
  return fitted_status(std::move(json));
}

}  // namespace stillframe::daemon
