// stillframe status: how a running daemon and its sessions are.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "client/query.hpp"
#include "env/env.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kQueryDeadlineMs = 5'000;

struct StatusOptions {
  std::string store;
  std::string socket;
  bool json = false;
};

// A later daemon may say more, an earlier one less: a member that is missing prints as "-".
std::string text_of(const ordered_json& object, const char* member) {
  const auto found = object.find(member);
  if (found == object.end() || found->is_null()) return "-";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return found->dump();
}

// "main", and of a group "main, rank 1 of 4".
std::string run_of(const ordered_json& session) {
  const auto size = session.find("world_size");
  const bool of_group = size != session.end() && size->is_number_unsigned() && size->get<std::uint64_t>() > 1;
  const std::string run = text_of(session, "run");
  return of_group ? run + ", rank " + text_of(session, "rank") + " of " + text_of(session, "world_size") : run;
}

std::string bytes_of(const ordered_json& object, const char* member) {
  const auto found = object.find(member);
  return found != object.end() && found->is_number_unsigned() ? base::human_bytes(found->get<std::uint64_t>()) : "-";
}

std::string seconds_of(const ordered_json& object, const char* member) {
  const auto found = object.find(member);
  if (found == object.end() || !found->is_number()) return "-";
  return std::to_string(static_cast<std::int64_t>(found->get<double>())) + " s";
}

ordered_json member_of(const ordered_json& document, const char* member) {
  const auto found = document.find(member);
  return found != document.end() ? *found : ordered_json(nullptr);
}

void print_sessions(const ordered_json& sessions) {
  if (sessions.empty()) {
    std::cout << "no sessions\n";
    return;
  }
  Table table({{"RUN"},
               {"STORE"},
               {"PID", Align::right},
               {"ALIVE"},
               {"MODE"},
               {"ARENA", Align::right},
               {"IMAGE", Align::right},
               {"DURABLE", Align::right},
               {"FAILED", Align::right},
               {"LAST DURABLE STEP", Align::right},
               {"AGE", Align::right},
               {"PERSISTING"},
               {"FOR", Align::right}});
  for (const ordered_json& s : sessions) {
    if (!s.is_object()) continue;
    table.add_row({run_of(s), text_of(s, "store"), text_of(s, "pid"), text_of(s, "alive"), text_of(s, "mode"),
                   bytes_of(s, "arena_bytes"), bytes_of(s, "image_bytes"), text_of(s, "durable"), text_of(s, "failed"),
                   text_of(s, "last_durable_step"), seconds_of(s, "last_durable_age_seconds"), text_of(s, "persisting"),
                   seconds_of(s, "persisting_seconds")});
  }
  std::cout << table.to_text();
  for (const ordered_json& s : sessions) {
    if (!s.is_object() || text_of(s, "last_error").size() < 2) continue;
    std::cout << printable("run " + run_of(s) + ": last error (" + text_of(s, "consecutive_failures") +
                           " failure(s) in a row): " + text_of(s, "last_error"))
              << '\n';
  }
}

// What a crash of each run would cost at this moment, in the daemon's words, and the cadence that it suggests.
void print_outlook(const ordered_json& sessions) {
  for (const ordered_json& s : sessions) {
    if (!s.is_object()) continue;
    for (const auto& [member, words] : {std::pair("crash_cost", ": lost by a crash now: "), std::pair("suggested_cadence", ": suggested: ")}) {
      const ordered_json said = member_of(s, member);
      if (said.is_object()) std::cout << printable("run " + run_of(s) + words + text_of(said, "text")) << '\n';
    }
  }
}

void print_alarms(const ordered_json& sessions) {
  for (const ordered_json& s : sessions) {
    if (!s.is_object()) continue;
    for (const ordered_json& alarm : member_of(s, "alarms")) {
      if (!alarm.is_object()) continue;
      std::cout << printable("run " + run_of(s) + ": alarm " + text_of(alarm, "kind") + " since step " +
                             text_of(alarm, "since_step") + ", " + text_of(alarm, "times") +
                             " time(s): " + text_of(alarm, "text"))
                << '\n';
    }
  }
}

void print_scrubs(const ordered_json& scrubs) {
  if (!scrubs.is_object()) return;
  for (const auto& [store, scrub] : scrubs.items()) {
    if (!scrub.is_object()) continue;
    const std::string last = text_of(scrub, "last");
    const std::string reading = text_of(scrub, "reading");
    std::cout << printable("scrub of " + store + ": " + text_of(scrub, "checked") + " checked, " +
                           text_of(scrub, "bad") + " bad" + (last.size() > 1 ? "; last " + last : "") +
                           (reading.size() > 1 ? "; reading " + reading : ""))
              << '\n';
  }
}

void print_text(const ordered_json& document) {
  const ordered_json daemon = member_of(document, "daemon");
  const ordered_json arena = member_of(document, "arena");
  std::cout << printable("stillframed " + text_of(daemon, "version") + ", pid " + text_of(daemon, "pid") + ", up " +
                         seconds_of(daemon, "uptime_seconds") + ", socket " + text_of(daemon, "socket"))
            << '\n';
  if (const std::string notice = text_of(daemon, "notice"); notice.size() > 1) std::cout << printable(notice) << '\n';
  std::cout << "arena " << bytes_of(arena, "used_bytes") << " of " << bytes_of(arena, "budget_bytes") << '\n';
  const ordered_json sessions = member_of(document, "sessions");
  print_sessions(sessions);
  if (document.contains("sessions_left_out")) {
    std::cout << "and " << printable(text_of(document, "sessions_left_out")) << " more, too many for one message\n";
  }
  print_outlook(sessions);
  print_alarms(sessions);
  print_scrubs(member_of(document, "scrub"));
}

Result<std::string> socket_of(const StatusOptions& options) {
  if (!options.socket.empty()) return options.socket;
  if (options.store.empty()) {
    return Status(Code::invalid_argument, "expected STORE or --socket PATH, found neither");
  }
  SF_ASSIGN(const std::string real_path, env::posix_env().real_path(options.store));
  return client::default_socket_path(real_path);
}

Status print_status(const StatusOptions& options) {
  SF_ASSIGN(const std::string socket, socket_of(options));
  SF_ASSIGN(const std::string text, client::query_status(socket, base::Deadline::after_ms(kQueryDeadlineMs)));
  const ordered_json document = ordered_json::parse(text, nullptr, false);
  if (!document.is_object())
    return {Code::internal, "the daemon at " + socket + " answered with something that is not JSON"};
  if (options.json) {
    std::cout << json_text(document);
  } else {
    print_text(document);
  }
  return {};
}

}  // namespace

Command add_status(CLI::App& root) {
  const auto options = std::make_shared<StatusOptions>();
  CLI::App* parser = root.add_subcommand("status", "Ask a running daemon how it and its sessions are");
  parser->add_option("STORE", options->store, "ask the daemon that was started for this store");
  parser->add_option("--socket", options->socket, "ask the daemon that listens here");
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "Below the sessions stand their errors, what a crash now would cost each (training since its newest captured snapshot\n"
      "when the trainer dies, since its newest durable one when the power goes), how often to snapshot where the trainer\n"
      "was given the time between failures, the alarms that stand, and what the scrub of each store has found.\n\n"
      "JSON: daemon {pid, version, socket, uptime_seconds, level, notice}, arena {budget_bytes, used_bytes}, scrub {STORE: {checked, "
      "bad,\n"
      "last, reading}}, sessions [{run, store, pid, rank, world_size, alive, mode, arena_bytes, image_bytes, durable,\n"
      "verified, failed, "
      "consecutive_failures, last_error, persisting, persisting_seconds, alarms [{kind, text, since_step, times}],\n"
      "last_durable_step, last_durable_age_seconds, crash_cost {trainer_crash_seconds, power_loss_seconds, text},\n"
      "suggested_cadence {snapshot_every_seconds, mean_block_seconds, mean_time_between_failures_seconds, text}}],\n"
      "sessions_left_out (only when they did not fit in one "
      "message).\n\n"
      "Example:\n  stillframe status runs/gpt\n  stillframe status --socket /run/stillframe/stillframed.sock "
      "--json\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe status", print_status(*options)); }};
}

}  // namespace stillframe::apps
