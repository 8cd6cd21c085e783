/* Stillframe's C ABI. Everything a training process needs: connect, plan, snapshot, fence, wait, restore.
 *
 * Rules of every call
 *  - Returns an sf_code; SF_OK is 0. After any other code, sf_last_error() gives the message of this thread's last failed call.
 *  - Handles are opaque; each has one destroy function, which accepts NULL. Strings are UTF-8 and NUL-terminated.
 *  - A `const char*` returned through an out parameter lives as long as the handle it came from, or until the next call of
 *    the same function on that handle, whichever is sooner.
 *  - Deadlines are milliseconds from the call; 0 means: do not wait. No call waits longer than its deadline.
 *  - No exception leaves a call. Thread-safe per handle unless said otherwise.
 *  - A forked child must not use a handle of its parent: calls fail with SF_UNAVAILABLE there and touch nothing.
 */
#ifndef STILLFRAME_H
#define STILLFRAME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SF_API __attribute__((visibility("default")))
#define SF_ABI_VERSION 4u

typedef int32_t sf_code;
enum {
  SF_OK = 0, SF_INVALID_ARGUMENT = 1, SF_NOT_FOUND = 2, SF_CORRUPT = 3, SF_MISMATCH = 4, SF_BUSY = 5,
  SF_NO_SPACE = 6, SF_IO_ERROR = 7, SF_DEADLINE = 8, SF_UNAVAILABLE = 9, SF_UNSUPPORTED = 10, SF_INTERNAL = 11
};

typedef struct sf_client sf_client; /* a connection to the daemon, with its arena and copier */
typedef struct sf_plan sf_plan;     /* the layout of one state, made once and reused while the structure does not change */
typedef struct sf_ticket sf_ticket; /* one snapshot */
typedef struct sf_reader sf_reader; /* a way through the checkpoints of a run, newest first */

SF_API uint32_t sf_abi_version(void);
SF_API const char* sf_version(void); /* "0.1.0" */
SF_API const char* sf_last_error(void);

/* ---- client ------------------------------------------------------------------------------------------------------ */

typedef struct {
  uint32_t struct_bytes;       /* sizeof(sf_client_options); newer fields of an older caller read as 0 */
  int32_t rank;                /* of this process in its group, from 0; nothing is read from the environment here */
  int32_t world_size;          /* ranks that commit together; 0 means 1 */
  const char* store;           /* directory; made when missing */
  const char* run;             /* NULL: "main" */
  const char* group;           /* NULL: "default" */
  const char* socket;          /* of a running daemon; NULL: one is started for this user and store when none is there */
  const char* daemon_path;     /* the stillframed to start; NULL: beside this library, then on PATH */
  const char* daemon_config;   /* TOML for a started daemon; NULL: defaults */
  const char* retention_json;  /* of this run: {"keep_last": 3, "keep_best": [{"metric": "loss", "mode": "min", "count": 1}], …}
                                  (docs/retention.md); a word left out has its default; NULL: the daemon's configuration stands */
  uint64_t budget_bytes;       /* hard limit of the arena; 0: the daemon's configuration stands */
  uint64_t scratch_bytes;      /* limit of memory for unguarded entries copied in the call; 0: 64 MiB */
  uint64_t connect_deadline_ms;/* 0: 20000 */
  uint64_t fence_deadline_ms;  /* longest wait of a fence before its snapshot is abandoned; 0: 60000 */
  int32_t overrun;             /* sf_overrun: of a snapshot for which there is no room */
  double mean_time_between_failures_seconds; /* of the run; 0: not known. Status then suggests how often to snapshot */
  uint64_t persist_every_steps;   /* every snapshot is captured; of these the first at or after each multiple of so many steps
                                     goes to the store, */
  uint64_t persist_every_seconds; /* and the first so many seconds after the last that did; 0: not counted; both 0: the daemon's
                                     configuration stands, by default every snapshot. The others stay in memory until a newer
                                     one is captured: the budget must hold two images, or sf_plan_create refuses it with
                                     SF_INVALID_ARGUMENT. The newest goes to the store at sf_client_close, and when this process
                                     dies. Of a group of ranks every snapshot goes to the store: SF_UNSUPPORTED there */
  int32_t capture_check;       /* sf_capture_check: which snapshots of what is on a GPU are checked against it */
  uint64_t copy_threads;       /* so many copy tensors in host memory at the same time, at most 16, each on a core while it does: in
                                  the call the caller is one of them (but it waits for them when more is unguarded than
                                  scratch_bytes), behind it a thread of ours; 0: 1. More: SF_INVALID_ARGUMENT */
} sf_client_options;

/* Of a checked snapshot the fingerprint of every tensor on a GPU is taken there when the snapshot is, and compared with that of
 * the bytes captured. A snapshot of which one differs is torn: it is never sealed, its ticket ends as abandoned with SF_CORRUPT and
 * the alarm missed_fence, and the three after it are checked. It finds what no version counter shows, and copies that went
 * wrong. Meanwhile the trainer's streams stand for bytes / the memory bandwidth of their GPU, and the snapshot is sealed later by
 * the time that a core takes to read the bytes once. Nothing is checked where the kernel is missing (sf_client_status says so), nor
 * tensors on the host. */
typedef enum {
  SF_CAPTURE_CHECK_SAMPLE = 0, /* the first three snapshots, and one of each hundred */
  SF_CAPTURE_CHECK_FIRST = 1,  /* the first three */
  SF_CAPTURE_CHECK_OFF = 2
} sf_capture_check;

/* What happens to a snapshot for which there is no room, since earlier ones are still being copied or written. */
typedef enum {
  SF_OVERRUN_SKIP = 0,  /* it is not taken; its ticket says so */
  SF_OVERRUN_WAIT = 1,  /* every snapshot as with SF_SNAPSHOT_WAIT */
  SF_OVERRUN_LATEST = 2 /* captured ones that the daemon has not begun to write give way, the oldest first: their tickets end as
                           abandoned. When the only one gives way, a crash of the trainer leaves the one being written until
                           the new one is captured. Only for groups of one rank. Without one to give way: as skip */
} sf_overrun;

/* SF_BUSY names the living writer of the run. SF_IO_ERROR when the store cannot be made or written. Starts two threads. */
SF_API sf_code sf_client_open(const sf_client_options* options, sf_client** out);

/* Waits until what a dead predecessor of this run had captured is durable (or known lost), so that a restore sees it. */
SF_API sf_code sf_client_settle(sf_client* client, uint64_t deadline_ms);

/* Waits until every captured snapshot that goes to the store (the newest always does) is durable and verified or has failed,
 * then says goodbye to the daemon. SF_DEADLINE when that took too long: what is captured stays with the daemon. When the
 * newest snapshot could not be copied or written, its failure is returned: the end of the run is not in the store. Earlier
 * failures are in tickets, warnings and status. */
SF_API sf_code sf_client_close(sf_client* client, uint64_t deadline_ms);
SF_API void sf_client_destroy(sf_client* client); /* without close: what is captured stays with the daemon */

/* Makes the arena for states of about this size now, so that the first snapshot costs what a later one does; a plan that turns
 * out larger makes it grow. `gpu`: ordinal of a GPU that the state lives on, which pins the arena, or SF_HOST. SF_DEADLINE: the
 * memory of a dead predecessor is not free yet, and nothing was made. SF_NO_SPACE, with the figures, when the budget is too
 * small. */
SF_API sf_code sf_client_reserve(sf_client* client, uint64_t image_bytes, uint64_t tensor_count, int32_t gpu,
                                 uint64_t deadline_ms);

/* The same on a thread of its own, however long it takes; does nothing where there is an arena already. What a dead
 * predecessor left in memory goes where there is no room for both: call it after the restore, with no hot reader open (its end
 * ends this too). The first plan ends it, and makes what is missing itself; sf_client_settle, sf_client_hot_reader, sf_place and
 * sf_client_close end it. */
SF_API sf_code sf_client_reserve_behind(sf_client* client, uint64_t image_bytes, uint64_t tensor_count, int32_t gpu);
/* Waits for the end of that, at most wait_ms (0: not at all), and ends nothing. SF_BUSY: it goes on, and a plan made now would
 * wait in its place, for as long as a dead predecessor's writing takes; the snapshot of this step counts as skipped. */
SF_API sf_code sf_client_reserved(sf_client* client, int64_t for_step, uint64_t wait_ms);

/* {"daemon": {...} or null, "mode": "double|single|ring", "budget_bytes":…, "snapshots": {"taken":…, "memory_only":…,
 * "skipped":…, "superseded":…, "durable":…, "failed":…}, "last_durable_step":…, "last_durable_age_s":…, "consecutive_failures":…,
 * "last_error":…, "crash_cost": {"trainer_crash_seconds":…, "power_loss_seconds":…, "text": "trainer crash: 41 s; power loss:
 * 4 min 10 s"}, "suggested_cadence": null or {"snapshot_every_seconds":…, "mean_block_seconds":…,
 * "mean_time_between_failures_seconds":…, "text":…}, "gather": {"cuda:0": "kernel", or "plain copies: " and why},
 * "capture_check": {"cuda:0": "checked", or "not checked: " and why}}, the last two for the GPUs that have had anything to
 * gather or to copy. Costs are seconds of training to be done again; the suggestion is Daly's
 * optimum for the measured host time of a snapshot and the time between failures that was given. */
SF_API sf_code sf_client_status(sf_client* client, const char** json);

/* Host time that all snapshots so far cost the loop, measured by a caller that does more around a snapshot than this library
 * does; it stands in the place of the library's own figure for the suggested cadence. */
SF_API sf_code sf_client_set_block_seconds(sf_client* client, double seconds);

/* The oldest unread warning ("the daemon died; …"); *text is NULL when there is none. At most 64 are kept. */
SF_API sf_code sf_client_next_warning(sf_client* client, const char** text);

/* ---- plan -------------------------------------------------------------------------------------------------------- */

enum { SF_HOST = -1 };

enum {
  SF_ENTRY_GUARDED = 1u,  /* mutated only behind a fence: copied by the copier after the call has returned */
  SF_ENTRY_TRAINABLE = 2u /* training changes it from step to step: alarms say when it does not */
};

typedef struct {
  const char* name;      /* unique in the plan */
  const char* dtype;     /* safetensors name: "F32", "BF16", … */
  const uint64_t* shape;
  uint32_t dims;
  uint32_t flags;
  int32_t device;        /* where its bytes are: SF_HOST, or the ordinal of a GPU */
} sf_entry;

/* Lays out the image and makes room in the arena for it, waiting for a dead predecessor's memory when needed. Entries are
 * contiguous, C order. GPUs are opened here, in the context that is current on this thread (else their primary one), and the
 * arena is pinned for them: SF_UNAVAILABLE without a driver, SF_UNSUPPORTED when it is too old, SF_NO_SPACE when unguarded
 * entries on one GPU exceed scratch_bytes. The plan belongs to the client and must be destroyed before it. */
SF_API sf_code sf_plan_create(sf_client* client, const sf_entry* entries, size_t count, uint64_t deadline_ms, sf_plan** out);
SF_API void sf_plan_destroy(sf_plan* plan);
/* {"mode":…, "image_bytes":…, "chunks":…, "budget_bytes":…, "guarded_bytes":…, "unguarded_bytes":…} */
SF_API sf_code sf_plan_describe(sf_plan* plan, const char** json);

/* ---- snapshot ---------------------------------------------------------------------------------------------------- */

/* The stream on which a GPU of the plan computes at this moment: a CUstream as an integer, 0 for the legacy default stream. A
 * GPU that is not named stands with 0. */
typedef struct {
  int32_t device;
  uint64_t handle;
} sf_stream;

enum { SF_SNAPSHOT_WAIT = 1u }; /* when a snapshot is still being copied: wait for it (deadline) instead of skipping this one */

typedef struct {
  uint32_t struct_bytes;
  uint32_t flags;
  int64_t step;
  const void* const* data;  /* one pointer per entry of the plan, in the order given to sf_plan_create */
  const char* tree_json;    /* typed state tree (docs/format.md); NULL: a flat tree of the entries */
  const char* metrics_json; /* flat object; NULL: {}. A value {"$entry": "name"} is the number that this entry of the plan holds:
                               one element of a real or integer dtype; another fails the snapshot */
  uint64_t deadline_ms;     /* of the wait when unguarded entries exceed scratch_bytes, and of SF_SNAPSHOT_WAIT; 0: fence_deadline_ms */
  const sf_stream* streams; /* the values are those after the work given to these streams so far */
  uint64_t stream_count;
} sf_snapshot_request;

/* Unguarded entries are copied before return, those on a GPU in the order of its stream, without the host waiting. Memory of
 * guarded entries must stay unchanged until sf_fence() has returned, and valid until then on the host; on a GPU until the
 * ticket is at least captured or has ended. A skipped snapshot is SF_OK with a ticket in SF_STATE_SKIPPED; so is one that is
 * asked for while a graph is being captured from one of the streams. */
SF_API sf_code sf_snapshot(sf_plan* plan, const sf_snapshot_request* request, sf_ticket** out);

/* Call before the next in-place update: what is changed after this call is changed after every byte of the pending snapshot
 * has left the live tensors. On the host it waits for that; on a GPU the given streams do (`streams` as in the request; the
 * update must run on them), and the call waits only until the copies are enqueued. On the deadline (0: fence_deadline_ms) the
 * snapshot is abandoned, SF_DEADLINE is returned, and the update may go on. SF_OK at once when nothing is pending and nothing is
 * being copied; a fence on a further stream makes that one wait too, as often as it is called. SF_BUSY
 * when a graph is being captured from one of the streams: nothing was issued there, the other streams wait, and the snapshot
 * stays pending; call it again behind the capture, before the graph is replayed. */
SF_API sf_code sf_fence(sf_client* client, const sf_stream* streams, size_t count, uint64_t deadline_ms);

/* The waiting half of sf_fence(), without its word that nothing had moved: a caller that watches its tensors looks at them
 * after this, and then calls sf_fence() (which returns at once) or sf_ticket_withdraw(). A checkpoint is never called
 * verified before sf_fence() was passed. */
SF_API sf_code sf_wait_copied(sf_client* client, const sf_stream* streams, size_t count, uint64_t deadline_ms);

typedef enum {
  SF_STATE_COPYING = 0,
  SF_STATE_CAPTURED = 1,  /* survives a SIGKILL of this process */
  SF_STATE_DURABLE = 2,   /* survives power loss */
  SF_STATE_VERIFIED = 3,  /* re-read, every checksum right */
  SF_STATE_FAILED = 4,    /* sf_ticket_info.error says why; older checkpoints are whole */
  SF_STATE_ABANDONED = 5, /* cut off before its seal, torn, or superseded by a newer one; error says why */
  SF_STATE_SKIPPED = 6    /* not taken: the previous one was still being copied */
} sf_state;

typedef struct {
  uint32_t struct_bytes;
  int32_t state;          /* sf_state */
  int64_t step;
  uint64_t sequence;      /* 0 until durable */
  const char* name;       /* of the checkpoint; "" until durable. Lives as long as the ticket */
  const char* error;      /* "" when there is none. Lives until the next sf_ticket_get on this ticket */
  uint64_t raw_bytes;
  uint64_t stored_bytes;  /* 0 until durable */
  double call_seconds;    /* host time inside sf_snapshot() */
  double fence_seconds;   /* host time inside sf_fence() for this snapshot */
  double captured_seconds;/* from the call; 0 until then; likewise the next two */
  double durable_seconds;
  double verified_seconds;
  int32_t error_code;     /* sf_code of the error: SF_NO_SPACE, SF_IO_ERROR, …; SF_OK when there is none */
  const char* alarms;     /* [{"kind": "stale_state", "text": "…"}, …]: what this snapshot says about the training, once it is
                             durable or torn. Lives until the next sf_ticket_get on this ticket */
  double trainer_crash_seconds; /* of training that a crash of the trainer at this moment would cost the run */
  double power_loss_seconds;    /* likewise the loss of power, or of trainer and daemon */
  int32_t persisted;      /* 0: kept in memory only (persist_every_steps, persist_every_seconds), captured is its last state; 1 */
  int32_t checked;        /* 1: all that is on GPUs was compared with them (sf_capture_check); 0 */
  const char* torn;       /* ["weight", …]: entries that the check found torn. Lives until the next sf_ticket_get on this ticket */
} sf_ticket_info;

SF_API sf_code sf_ticket_get(sf_ticket* ticket, sf_ticket_info* info);
/* Its sf_state alone, for whoever asks often; -1 for NULL and in a forked child. */
SF_API int32_t sf_ticket_state(const sf_ticket* ticket);
/* Until the state is at least `wanted` (captured, durable or verified). SF_DEADLINE when not in time; the error's code
 * when the snapshot failed, was abandoned or skipped; SF_UNSUPPORTED at once when durable is wanted of one that is kept in
 * memory only. */
SF_API sf_code sf_ticket_wait(sf_ticket* ticket, int32_t wanted, uint64_t deadline_ms);
/* Nothing guarded had moved before this snapshot was copied. sf_fence() says so for the newest one; this is for one after
 * which the loop took the next without an update between. No effect while it is being copied. */
SF_API sf_code sf_ticket_confirm(sf_ticket* ticket);
/* The snapshot is torn (a guarded tensor changed without a fence): abandoned when not published, marked bad when it was. */
SF_API sf_code sf_ticket_withdraw(sf_ticket* ticket, const char* reason);
SF_API void sf_ticket_destroy(sf_ticket* ticket);

/* ---- restore ----------------------------------------------------------------------------------------------------- */

/* `address`: "<store>[:<run>][@latest|@<step>]". Opens the newest candidate whose manifest and tables are right; what was
 * passed over is in sf_reader_skipped. SF_NOT_FOUND when the store, the run or the step has no checkpoint; SF_CORRUPT when
 * it has, and none can be read. Needs no daemon. Not thread-safe. */
SF_API sf_code sf_reader_open(const char* address, sf_reader** out);
SF_API void sf_reader_destroy(sf_reader* reader);
/* Gives up the current checkpoint for `reason` and opens the next older; SF_NOT_FOUND when there is none left. */
SF_API sf_code sf_reader_next(sf_reader* reader, const char* reason);
SF_API sf_code sf_reader_manifest(sf_reader* reader, const char** json); /* the manifest's text, checked */
SF_API sf_code sf_reader_name(sf_reader* reader, const char** name);
SF_API sf_code sf_reader_skipped(sf_reader* reader, const char** json);  /* [{"name":…, "step":…, "reason":…}] */

/* The newest image of a predecessor of this run that was killed, in the daemon's memory, as a reader: it has no other
 * candidate, and its manifest holds what a restore needs (no files, no seal). Before the first plan; nothing is waited for but
 * the daemon's answer. SF_NOT_FOUND when there is none, SF_CORRUPT when it is of no use: then settle, and read the store. The
 * memory is let go of when the reader is destroyed, at the first plan, or after the deadline. Destroy it before the client. */
SF_API sf_code sf_client_hot_reader(sf_client* client, uint64_t deadline_ms, sf_reader** out);
/* "store", or "memory" for a reader of sf_client_hot_reader. */
SF_API sf_code sf_reader_source(sf_reader* reader, const char** source);

typedef struct {
  const char* name; /* entry of the rank */
  void* data;       /* exactly `bytes` writable bytes */
  uint64_t bytes;
} sf_target;

/* Reads, checks and places every target; entries not named are not read. SF_MISMATCH before anything is touched when a
 * name is unknown or a size differs; SF_CORRUPT when a chunk fails its checksum, and then targets are partly overwritten.
 * `threads` 0: one per core, at most 8. */
SF_API sf_code sf_reader_read(sf_reader* reader, uint32_t rank, const sf_target* targets, size_t count, uint32_t threads);

/* `bytes` bytes from host memory to memory of a GPU. */
typedef struct {
  void* to;
  const void* from;
  uint64_t bytes;
} sf_placement;

/* Copies to the GPU of `stream`, after the work given to that stream so far, and waits for it (deadline_ms 0: fence_deadline_ms):
 * for a restore onto a GPU, of entries that sf_reader_read gave. After an error the targets are partly overwritten, and after
 * SF_DEADLINE the memory on both sides must stay valid for the rest of the process. For the training thread. */
SF_API sf_code sf_place(sf_client* client, const sf_stream* stream, const sf_placement* copies, size_t count, uint64_t deadline_ms);

/* ---- pins --------------------------------------------------------------------------------------------------------- */

/* A pinned checkpoint is never removed by retention. `address` chooses it as for sf_reader_open: the one that a restore would
 * take; but of a step the newest whatever its state, also marked bad, and unpinning prefers the one that bears a pin. `reason` is
 * for people, at most 1024 bytes (else SF_INVALID_ARGUMENT), NULL: none. Pinning twice replaces the reason; unpinning what is not pinned is SF_OK. Both are
 * durable on return and need no daemon. */
SF_API sf_code sf_pin(const char* address, const char* reason);
SF_API sf_code sf_unpin(const char* address);

/* ---- looks -------------------------------------------------------------------------------------------------------- */

/* What the tensors of a Python process look like: memory, device, dtype, shape and strides, without a call into Python per
 * tensor. The process gives the two functions that are needed: `item_of` is CPython's PyTuple_GetItem, `view_of` the
 * dltensor_from_py_object_no_sync of a DLPack exchange of major version 1. The caller holds the interpreter's lock in all
 * three calls and checks for a Python exception after them: one is set where SF_UNSUPPORTED is returned. */
typedef struct sf_look sf_look;
typedef struct {
  void* (*item_of)(void* tuple, ptrdiff_t at);
  int (*view_of)(void* tensor, void* dltensor); /* 0: filled */
} sf_tensor_access;

/* Notes the looks of the `count` tensors of `tuple`. Nothing of them is kept alive. */
SF_API sf_code sf_look_create(const sf_tensor_access* access, void* tuple, size_t count, sf_look** out);
/* *fits becomes 1 when the `count` tensors of `tuple`, one by one, look as those of sf_look_create did, else 0. */
SF_API sf_code sf_look_fits(const sf_look* look, void* tuple, size_t count, int32_t* fits);
SF_API void sf_look_destroy(sf_look* look);

#ifdef __cplusplus
}
#endif
#endif
