#include "store/file_system.hpp"

#include <array>

namespace stillframe::store {
namespace {

struct Notice {
  std::string_view file_system;
  std::string_view text;
};

constexpr std::array kNotices{
    Notice{"tmpfs",
           "it lives in memory: a checkpoint survives the end of any process, but no reboot and no power loss, and it "
           "takes memory from the training job; choose a directory on a disk"},
    Notice{"ramfs",
           "it lives in memory: a checkpoint survives the end of any process, but no reboot and no power loss, and "
           "nothing bounds it but the machine's memory; choose a directory on a disk"},
    Notice{"overlay",
           "it is usually a container's own layer, which goes with the container, and mounted 'volatile' it drops "
           "every sync; choose a mounted volume"},
    Notice{"nfs",
           "it keeps what was acknowledged if the server exports it 'sync', and one writer per run if locks reach the "
           "server (mounted without 'nolock' and 'local_lock'); check both"},
    Notice{"lustre",
           "one writer per run holds across nodes if it is mounted with 'flock' ('localflock' sees this node only, "
           "'noflock' refuses the store's lock); check the mount options"},
    Notice{"cifs",
           "syncs and locks are the server's business: power-loss safety is what the server makes of a flush, and "
           "'nobrl' keeps locks on this node; prefer a local disk"},
    Notice{"smb2",
           "syncs and locks are the server's business: power-loss safety is what the server makes of a flush, and "
           "'nobrl' keeps locks on this node; prefer a local disk"},
    Notice{"fuse",
           "what a sync means is up to the program behind it: one that does not implement it answers 'done' all the "
           "same, and locks may be seen on this node only; prefer a local disk"},
    Notice{"9p",
           "syncs are passed to the host of this virtual machine, which decides what they are worth, and locks may be "
           "seen in this machine only; prefer a disk of the machine's own"},
};

}  // namespace

std::string file_system_notice(std::string_view file_system) {
  for (const Notice& notice : kNotices) {
    if (notice.file_system != file_system) continue;
    return "the store is on " + std::string(file_system) + ": " + std::string(notice.text) + " (docs/filesystems.md)";
  }
  return {};
}

}  // namespace stillframe::store
