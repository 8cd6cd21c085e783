#include "crash/oracle.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "crash/actor.hpp"
#include "store/pages.hpp"

namespace stillframe::test {
namespace {

constexpr std::string_view kRun = "main";

std::string wrong(std::string_view what, const Status& status) { return std::string(what) + ": " + status.message(); }

std::uint64_t changes_but_syncs(const FaultEnv& disk) {
  return disk.changes() - disk.calls(EnvOp::sync) - disk.calls(EnvOp::sync_dir);
}

// Beside the checkpoints since the store was made.
bool has_pages(const store::Store& store) {
  return std::ranges::all_of(store::pages(), [&](const store::Page& page) {
    const auto found = env::read_whole(store.env(), env::join(store.path(), page.name), page.text.size());
    return found.ok() && *found == page.text;
  });
}

bool is_mark(std::string_view file) {
  return file == format::kVerifiedMark || file == format::kBadMark || file == format::kPinnedMark;
}

bool is_checkpoints_file(std::string_view file) {
  return file == format::kManifestFile || file.ends_with(".data") || file.ends_with(".safetensors") ||
         file.ends_with(".table") || is_mark(file);
}

bool is_stores_file(std::string_view file) {
  const auto pages = store::pages();
  const bool is_page = std::ranges::any_of(pages, [file](const store::Page& page) { return page.name == file; });
  return file == format::kSequenceFile || file == format::kStoreLockFile || is_page ||
         (file.starts_with("run-") && file.ends_with(".lock"));
}

// Whatever recovery should have collected.
std::string find_leftover(FaultEnv& disk, const store::Store& store) {
  const auto entries = disk.list(store.path());
  if (!entries.ok()) return wrong("the store cannot be listed", entries.status());
  for (const auto& entry : *entries) {
    if (!entry.is_directory) {
      if (!is_stores_file(entry.name)) return "'" + entry.name + "' was left in the store";
      continue;
    }
    if (!format::parse_checkpoint_name(entry.name)) return "the directory '" + entry.name + "' was left in the store";
    const auto inside = disk.list(env::join(store.path(), entry.name));
    if (!inside.ok()) return wrong("a checkpoint cannot be listed", inside.status());
    for (const auto& file : *inside) {
      if (!is_checkpoints_file(file.name)) return "'" + file.name + "' was left in '" + entry.name + "'";
    }
  }
  return {};
}

// A mark is written and synced before it gets its name: whoever sees it sees its text.
std::string find_torn_mark(const store::Store& store, const std::string& name, std::string_view mark) {
  constexpr std::uint64_t kLimitBytes = 4096;
  const auto text = env::read_whole(store.env(), env::join(env::join(store.path(), name), mark), kLimitBytes);
  if (!text.ok()) return wrong("a mark cannot be read", text.status());
  return text->ends_with('\n') ? "" : "the text of the mark '" + std::string(mark) + "' of " + name + " is torn";
}

std::string find_wrong_mark(const store::Store& store, const std::string& name, const KnownCheckpoint& known) {
  const auto marks = store.marks(name);
  if (!marks.ok()) return wrong("marks cannot be read", marks.status());
  const std::array<std::pair<std::string_view, bool>, 3> found{
      {{format::kVerifiedMark, marks->verified}, {format::kBadMark, marks->bad}, {format::kPinnedMark, marks->pinned}}};
  for (const auto& [mark, stands] : found) {
    const auto promise = known.marks.find(mark);
    const Promise expected = promise == known.marks.end() ? Promise::gone : promise->second;
    if (expected == Promise::there && !stands) return "the mark '" + std::string(mark) + "' of " + name + " is lost";
    if (expected == Promise::gone && stands) return name + " bears the mark '" + std::string(mark) + "' unasked";
    if (!stands) continue;
    if (std::string torn = find_torn_mark(store, name, mark); !torn.empty()) return torn;
  }
  return {};
}

bool has_verified_successor(const store::Store& store, const Ledger& ledger, const KnownCheckpoint& gone,
                            const std::vector<std::string>& listed) {
  return std::ranges::any_of(listed, [&](const std::string& name) {
    const KnownCheckpoint& known = ledger.checkpoints.at(name);
    if (known.content->run != gone.content->run || known.sequence <= gone.sequence) return false;
    const auto marks = store.marks(name);
    return marks.ok() && marks->verified && !marks->bad;
  });
}

std::string find_wrong_checkpoint(const store::Store& store, const Ledger& ledger,
                                  const std::vector<std::string>& listed) {
  for (const std::string& name : listed) {
    const auto found = ledger.checkpoints.find(name);
    if (found == ledger.checkpoints.end()) return "there is a checkpoint that nobody wrote: " + name;
    const KnownCheckpoint& known = found->second;
    if (known.standing == Promise::gone) return "the removed checkpoint " + name + " came back";
    if (!known.damaged) {
      if (const Status whole = check_content(store, name, *known.content); !whole.ok()) {
        return wrong(known.standing == Promise::there ? "an acknowledged checkpoint is not whole"
                                                      : "a checkpoint that was under way is neither whole nor absent",
                     whole);
      }
    }
    if (std::string mark = find_wrong_mark(store, name, known); !mark.empty()) return mark;
  }
  for (const auto& [name, known] : ledger.checkpoints) {
    if (std::ranges::find(listed, name) != listed.end()) continue;
    if (known.standing == Promise::there) return "the acknowledged checkpoint " + name + " is lost";
    if (known.expirable && !has_verified_successor(store, ledger, known, listed)) {
      return name + " was removed before a newer one was verified";
    }
  }
  return {};
}

// The power goes again: is what was promised until then on disk?
std::string find_uncertain(const FaultEnv& disk, Ledger ledger, std::string_view when) {
  const auto after = disk.survivor(FaultEnv::kOnlySynced);
  Actor reader(*after, ledger);
  if (const Status opened = reader.open_as_reader(); !opened.ok())
    return wrong("opening after another power loss", opened);
  std::string lost = find_wrong_checkpoint(reader.store(), ledger, reader.names());
  return lost.empty() ? lost : "after a power loss " + std::string(when) + ": " + lost;
}

// Somebody scrubs before anybody has recovered, as the command line may. Verified means durable all the same.
std::string find_wrong_scrub(const FaultEnv& disk, Ledger ledger) {
  const auto world = disk.copy();
  Actor scrubber(*world, ledger);
  if (const Status opened = scrubber.open_as_reader(); !opened.ok()) return wrong("opening to scrub", opened);
  if (const Status scrubbed = scrubber.scrub_all(); !scrubbed.ok()) return wrong("a scrub before recovery", scrubbed);
  return find_uncertain(*world, ledger, "that follows a scrub");
}

// A commit after the crash, and what the power leaves of it.
std::string find_wrong_afterwards(const FaultEnv& disk, Actor& actor, Ledger& ledger, bool deep) {
  constexpr std::int64_t kStep = 999;
  static const ContentPtr kContent = [] {
    Random random(kStep);
    return draw_content(random, std::string(kRun), kStep, Shape::container);
  }();
  if (const Status committed = actor.commit(kContent); !committed.ok()) {
    return wrong("a commit after the crash failed", committed);
  }
  return deep ? find_uncertain(disk, ledger, "that follows a commit") : std::string();
}

}  // namespace

std::string find_wrong(FaultEnv& disk, Ledger ledger, bool deep) {
  if (ledger.store_exists) {
    const auto opened = store::Store::open(disk, std::string(kStorePath));
    if (!opened.ok()) return wrong("the store is lost", opened.status());
    if (deep && ledger.pages_whole && !has_pages(*opened)) return "the page of the format, or the reader, is not what was put there";
    if (std::string found = deep ? find_wrong_scrub(disk, ledger) : ""; !found.empty()) return found;
  }
  Actor actor(disk, ledger);
  if (const Status opened = actor.open(); !opened.ok()) return wrong("the store cannot be opened", opened);
  if (deep && !has_pages(actor.store())) return "a page of the format, or a reader, was not put back";
  if (const Status locked = actor.lock_run(std::string(kRun)); !locked.ok()) return wrong("locking the run", locked);
  if (const Status recovered = actor.recover(); !recovered.ok()) return wrong("recovery", recovered);
  const std::vector<std::string> listed = actor.names();
  if (std::string found = find_wrong_checkpoint(actor.store(), ledger, listed); !found.empty()) return found;
  if (std::string found = find_leftover(disk, actor.store()); !found.empty()) return found;

  if (std::string lost = deep ? find_uncertain(disk, ledger, "that follows recovery") : ""; !lost.empty()) return lost;
  const std::uint64_t changes = changes_but_syncs(disk);
  if (const Status recovered = actor.recover(); !recovered.ok()) return wrong("a second recovery", recovered);
  if (changes_but_syncs(disk) != changes) return "a second recovery changed something";
  return find_wrong_afterwards(disk, actor, ledger, deep);
}

}  // namespace stillframe::test
