#include "support/fault_fs/server.hpp"

#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

namespace stillframe::test {
namespace {

constexpr std::uint32_t kBlockBytes = 4096;
constexpr std::uint64_t kUnlimitedBytes = 1ULL << 40;
constexpr std::uint32_t kNoReplace = 1;  // RENAME_NOREPLACE

constexpr std::uint32_t kBulkBytes = 64 << 10;

struct Kind {
  const char* op;
  bool changes;
};

// The word of faults.hpp for a request; "" for those that are always served at once.
Kind kind_of(std::uint32_t opcode) noexcept {
  switch (opcode) {
    case FUSE_LOOKUP: return {"lookup", false};
    case FUSE_OPEN: return {"open", false};
    case FUSE_READ: return {"read", false};
    case FUSE_STATFS: return {"statfs", false};
    case FUSE_WRITE: return {"write", true};
    case FUSE_FSYNC: return {"fsync", true};
    case FUSE_FSYNCDIR: return {"fsyncdir", true};
    case FUSE_CREATE: return {"create", true};
    case FUSE_MKDIR: return {"mkdir", true};
    case FUSE_RENAME:
    case FUSE_RENAME2: return {"rename", true};
    case FUSE_UNLINK: return {"unlink", true};
    case FUSE_RMDIR: return {"rmdir", true};
    case FUSE_LINK: return {"link", true};
    case FUSE_SETATTR: return {"setattr", true};
    default: return {"", false};
  }
}

// The first bytes of `body` as a T; the kernel's messages are as long as they say.
template <typename T>
T head(const std::string& body) noexcept {
  T value{};
  std::memcpy(&value, body.data(), std::min(sizeof value, body.size()));
  return value;
}

template <typename T>
std::string bytes_of(const T& value) {
  return {static_cast<const char*>(static_cast<const void*>(&value)), sizeof value};
}

// The name that stands `at` bytes into `body`, with its closing zero.
std::string name_at(const std::string& body, std::size_t at) {
  return at < body.size() ? std::string(body.c_str() + at) : std::string();
}

}  // namespace

bool Server::serve() {
  for (;;) {
    const ssize_t got = ::read(device_.get(), buffer_.data(), buffer_.size());
    if (got < 0 && (errno == EINTR || errno == ENOENT)) continue;  // ENOENT: whoever asked has been killed meanwhile
    if (got < 0) return errno == EAGAIN;
    if (static_cast<std::size_t>(got) < sizeof(fuse_in_header)) return false;
    request(Bytes(buffer_.data(), static_cast<std::size_t>(got)));
  }
}

void Server::request(const Bytes& request) {
  const auto header = head<fuse_in_header>(request);
  if (header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET || header.opcode == FUSE_INTERRUPT) return;
  Kind kind = kind_of(header.opcode);
  if (header.opcode == FUSE_READ && head<fuse_read_in>(request.substr(sizeof header)).size >= kBulkBytes) kind.op = "bulkread";
  if (*kind.op != '\0') {
    if (faults_.holds(kind.op, kind.changes)) {
      held_.push_back(request);
      return;
    }
    if (const int error = faults_.failure(kind.op); error != 0) return answer(header, {error, {}});
  }
  answer(header, dispatch(header, request.substr(sizeof header)));
}

void Server::answer(const fuse_in_header& header, const Answer& answer) const {
  fuse_out_header out{};
  out.len = static_cast<std::uint32_t>(sizeof out + (answer.error == 0 ? answer.bytes.size() : 0));
  out.error = -answer.error;
  out.unique = header.unique;
  const iovec parts[2]{{&out, sizeof out}, {const_cast<char*>(answer.bytes.data()), out.len - sizeof out}};
  // Nobody waits for an answer that the kernel does not take: the process was killed, or the file system is gone.
  static_cast<void>(!::writev(device_.get(), parts, 2));
}

Server::Answer Server::dispatch(const fuse_in_header& header, const Bytes& body) {
  const NodeId id = header.nodeid;
  Node* node = tree_.find(id);
  if (header.opcode == FUSE_INIT) return init(body);
  if (header.opcode == FUSE_STATFS) return statistics();
  if (node == nullptr) return {ESTALE, {}};
  switch (header.opcode) {
    case FUSE_LOOKUP: {
      const auto found = node->names.find(name_at(body, 0));
      return found == node->names.end() ? Answer{ENOENT, {}} : entry(found->second);
    }
    case FUSE_GETATTR: return attributes(id);
    case FUSE_SETATTR: return set_attributes(id, body);
    case FUSE_MKDIR: return make(header, body);
    case FUSE_CREATE: return create(header, body);
    case FUSE_UNLINK: return {tree_.remove(id, name_at(body, 0), false), {}};
    case FUSE_RMDIR: return {tree_.remove(id, name_at(body, 0), true), {}};
    case FUSE_RENAME:
    case FUSE_RENAME2: return rename(header, body);
    case FUSE_LINK: {
      const NodeId existing = head<fuse_link_in>(body).oldnodeid;
      const int error = tree_.link(existing, id, name_at(body, sizeof(fuse_link_in)));
      return error != 0 ? Answer{error, {}} : entry(existing);
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: return open(id);
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
      if (node->opened > 0) --node->opened;
      return {};
    case FUSE_READ: return read(id, body);
    case FUSE_READDIR: return list(id, body);
    case FUSE_WRITE: return write(id, body);
    case FUSE_FSYNC: Tree::sync_file(*node); return {};
    case FUSE_FSYNCDIR: tree_.sync_dir(id); return {};
    case FUSE_FLUSH:
    case FUSE_DESTROY: return {};
    default: return {ENOSYS, {}};
  }
}

Server::Answer Server::init(const Bytes& body) const {
  const auto asked = head<fuse_init_in>(body);
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = std::min<std::uint32_t>(asked.minor, 31);
  out.flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES;
  out.max_background = 64;
  out.congestion_threshold = 48;
  out.max_write = kMaxWriteBytes;
  out.time_gran = 1;
  out.max_pages = kMaxWriteBytes / kBlockBytes;
  return {0, bytes_of(out)};
}

Server::Answer Server::make(const fuse_in_header& header, const Bytes& body) {
  const auto asked = head<fuse_mkdir_in>(body);
  NodeId made = 0;
  const mode_t mode = S_IFDIR | (asked.mode & ~asked.umask & 07777);
  const int error = tree_.make(header.nodeid, name_at(body, sizeof asked), mode, header.uid, header.gid, made);
  return error != 0 ? Answer{error, {}} : entry(made);
}

Server::Answer Server::create(const fuse_in_header& header, const Bytes& body) {
  const auto asked = head<fuse_create_in>(body);
  NodeId made = 0;
  const mode_t mode = S_IFREG | (asked.mode & ~asked.umask & 07777);
  const int error = tree_.make(header.nodeid, name_at(body, sizeof asked), mode, header.uid, header.gid, made);
  return error != 0 ? Answer{error, {}} : Answer{0, entry(made).bytes + open(made).bytes};
}

Server::Answer Server::rename(const fuse_in_header& header, const Bytes& body) {
  const bool has_flags = header.opcode == FUSE_RENAME2;
  const auto asked = head<fuse_rename2_in>(body);  // `newdir` stands first in both
  const std::uint32_t flags = has_flags ? asked.flags : 0;
  if ((flags & ~kNoReplace) != 0) return {EINVAL, {}};
  const std::size_t at = has_flags ? sizeof asked : sizeof(fuse_rename_in);
  const std::string from = name_at(body, at);
  const std::string to = name_at(body, at + from.size() + 1);
  return {tree_.rename(header.nodeid, from, asked.newdir, to, (flags & kNoReplace) != 0), {}};
}

Server::Answer Server::open(NodeId id) {
  ++tree_.find(id)->opened;
  fuse_open_out out{};
  // Nothing stays in the page cache: the kernel would still show it after a power loss.
  if (!tree_.find(id)->is_directory) out.open_flags = FOPEN_DIRECT_IO;
  return {0, bytes_of(out)};
}

Server::Answer Server::read(NodeId id, const Bytes& body) {
  const auto asked = head<fuse_read_in>(body);
  const std::string& bytes = tree_.find(id)->bytes;
  return asked.offset < bytes.size() ? Answer{0, bytes.substr(asked.offset, asked.size)} : Answer{};
}

Server::Answer Server::write(NodeId id, const Bytes& body) {
  const auto asked = head<fuse_write_in>(body);
  Node& file = *tree_.find(id);
  const std::string_view given = std::string_view(body).substr(sizeof asked).substr(0, asked.size);
  const std::string_view taken = given.substr(0, faults_.write_limit(given.size()));
  const std::uint64_t end = asked.offset + taken.size();
  const std::uint64_t grows = end > file.bytes.size() ? end - file.bytes.size() : 0;
  if (faults_.space() && grows != 0 && tree_.bytes() + grows > *faults_.space()) return {ENOSPC, {}};
  Tree::write(file, asked.offset, taken);
  fuse_write_out out{};
  out.size = static_cast<std::uint32_t>(taken.size());
  return {0, bytes_of(out)};
}

Server::Answer Server::list(NodeId id, const Bytes& body) {
  const auto asked = head<fuse_read_in>(body);
  Bytes bytes;
  std::uint64_t position = 0;
  for (const auto& [name, child] : tree_.find(id)->names) {
    if (position++ < asked.offset) continue;
    fuse_dirent out{};
    out.ino = child;
    out.off = position;
    out.namelen = static_cast<std::uint32_t>(name.size());
    out.type = tree_.find(child)->is_directory ? S_IFDIR >> 12 : S_IFREG >> 12;
    Bytes one = bytes_of(out) + name;
    one.resize(FUSE_DIRENT_ALIGN(one.size()));
    if (bytes.size() + one.size() > asked.size) break;
    bytes += one;
  }
  return {0, bytes};
}

Server::Answer Server::set_attributes(NodeId id, const Bytes& body) {
  const auto asked = head<fuse_setattr_in>(body);
  Node& node = *tree_.find(id);
  if ((asked.valid & FATTR_SIZE) != 0) node.bytes.resize(asked.size);
  if ((asked.valid & FATTR_MODE) != 0) node.mode = (node.mode & S_IFMT) | (asked.mode & 07777);
  if ((asked.valid & FATTR_UID) != 0) node.uid = asked.uid;
  if ((asked.valid & FATTR_GID) != 0) node.gid = asked.gid;
  return attributes(id);
}

Server::Answer Server::statistics() const {
  const std::uint64_t size = faults_.space().value_or(kUnlimitedBytes);
  const std::uint64_t used = std::min(size, tree_.bytes());
  fuse_statfs_out out{};
  out.st.bsize = out.st.frsize = kBlockBytes;
  out.st.blocks = size / kBlockBytes;
  out.st.bfree = out.st.bavail = (size - used) / kBlockBytes;
  out.st.files = out.st.ffree = 1 << 20;
  out.st.namelen = 255;
  return {0, bytes_of(out)};
}

Server::Answer Server::entry(NodeId id) {
  fuse_entry_out out{};  // valid for no time at all: every look comes here
  out.nodeid = id;
  out.attr = attributes_of(id, *tree_.find(id));
  return {0, bytes_of(out)};
}

Server::Answer Server::attributes(NodeId id) {
  fuse_attr_out out{};
  out.attr = attributes_of(id, *tree_.find(id));
  return {0, bytes_of(out)};
}

fuse_attr Server::attributes_of(NodeId id, const Node& node) {
  fuse_attr attributes{};
  attributes.ino = id;
  attributes.size = node.bytes.size();
  attributes.blocks = node.bytes.size() / 512 + 1;
  attributes.mode = node.mode;
  attributes.nlink = node.links;
  attributes.uid = node.uid;
  attributes.gid = node.gid;
  attributes.blksize = kBlockBytes;
  return attributes;
}

std::string Server::take(const std::string& line) {
  if (line == "release") {
    faults_.release();
    for (const Bytes& one : std::exchange(held_, {})) request(one);
  } else if (line.starts_with("forget")) {
    power_loss(line.substr(std::min(line.size(), std::string("forget ").size())));
  } else if (!faults_.take(line)) {
    return "not understood: " + line;
  }
  return "ok";
}

void Server::power_loss(const std::string& seed) {
  tree_ = tree_.after_power_loss(seed.empty() ? std::nullopt : std::optional(std::stoull(seed)));
  faults_.release();
  for (const Bytes& one : std::exchange(held_, {})) answer(head<fuse_in_header>(one), {EIO, {}});
}

}  // namespace stillframe::test
