#include "store/scrub.hpp"

#include "base/clock.hpp"
#include "store/pace.hpp"
#include "store/verification.hpp"

namespace stillframe::store {
namespace {

std::string now_utc() { return base::utc_iso(base::system_clock().unix_ns()); }

// Verified means durable as well: its writer may have died between the rename and the sync.
Status mark_verified(const Store& store, ScrubReport& report) {
  SF_TRY(store.env().sync_dir(store.path()));
  SF_TRY(store.set_mark(report.name, format::kVerifiedMark, "re-read and checked by scrub " + now_utc() + "\n"));
  report.marked = true;
  return Status();
}

// First bad, then no longer verified: a crash in between leaves both, and bad wins.
void mark_bad(const Store& store, bool was_verified, ScrubReport& report) {
  report.outcome = ScrubOutcome::bad;
  report.mark_error = store.set_mark(report.name, format::kBadMark, "scrub " + now_utc() + ": " + report.reason + "\n");
  report.marked = report.mark_error.ok();
  // Also without the bad mark: nothing may be removed on the strength of a checkpoint that is damaged.
  const Status cleared = was_verified ? store.clear_mark(report.name, format::kVerifiedMark) : Status();
  if (report.mark_error.ok()) report.mark_error = cleared;
}

Status judge(const Store& store, const VerifyReport& found, bool was_verified, ScrubReport& report) {
  report.reason = first_finding(found);
  if (found.damaged) {
    mark_bad(store, was_verified, report);
    return Status();
  }
  if (!found.ok) {
    return Status(Code::io_error, "'" + report.name +
                                      "' could not be read whole, which proves no damage, so it was not " +
                                      "marked: " + report.reason);
  }
  // Its trainer may have confirmed it between the commit and the mark: the mark says so.
  report.outcome = found.confirmed || was_verified ? ScrubOutcome::verified : ScrubOutcome::intact_unconfirmed;
  return found.confirmed && !was_verified ? mark_verified(store, report) : Status();
}

// True when the marks alone decide, and the checkpoint need not be read.
Result<bool> decided_by_marks(const Store& store, const Marks& marks, bool recheck, ScrubReport& report) {
  if (marks.bad) {
    report.outcome = ScrubOutcome::bad;
    const auto text = mark_text(store, report.name, format::kBadMark);
    report.reason = text.ok() ? *text : "marked bad; the mark cannot be read: " + text.status().message();
    // Left by a crash between the two steps of mark_bad().
    if (marks.verified) SF_TRY(store.clear_mark(report.name, format::kVerifiedMark));
    return true;
  }
  report.outcome = ScrubOutcome::already_verified;
  return marks.verified && !recheck;
}

Status scrub(const Store& store, const Pace& pace, bool recheck, ScrubReport& report) {
  // The lock comes first: a checkpoint that is held cannot be removed under the marks.
  const auto opened = open_manifest(store, report.name, ReadFrom::device);
  if (opened.status().code() == Code::not_found) return opened.status();
  SF_ASSIGN(const Marks marks, store.marks(report.name));
  SF_ASSIGN(const bool decided, decided_by_marks(store, marks, recheck, report));
  if (decided) return Status();
  Pacer pacer(pace);
  const auto tell = [&pace](std::uint64_t done, std::uint64_t total) {
    if (pace.progress) pace.progress(done, total);
    return true;
  };
  const VerifyHooks hooks{tell, [&](std::uint64_t bytes) {
                            report.bytes_read += bytes;
                            return pacer.pay(bytes);
                          }};
  const auto found = opened.ok() ? verify_opened(store, *opened, VerifyDepth::full, hooks)
                                 : verify_unopened(report.name, opened.status());
  if (found.status().code() == Code::deadline) {
    report.outcome = ScrubOutcome::ended;
    return Status();
  }
  if (!found.ok()) return found.status();
  return judge(store, *found, marks.verified, report);
}

}  // namespace

Result<ScrubReport> scrub_checkpoint(const Store& store, const std::string& name, const Pace& pace, bool recheck) {
  ScrubReport report;
  report.name = name;
  const Status done = scrub(store, pace, recheck, report);
  if (done.code() == Code::not_found) {
    report.outcome = ScrubOutcome::gone;
    return report;
  }
  if (!done.ok()) return done;
  return report;
}

}  // namespace stillframe::store
