"""The C library: declarations of include/stillframe/stillframe.h, and finding and checking the shared object."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, TypeVar

from ._errors import error_for

ABI_VERSION = 4
LIBRARY_VARIABLE = "STILLFRAME_LIBRARY"

OK = 0
NOT_FOUND = 2
CORRUPT = 3
DEADLINE = 8
ENTRY_GUARDED = 1
ENTRY_TRAINABLE = 2
SNAPSHOT_WAIT = 1

OVERRUNS = ("skip", "wait", "latest")
CAPTURE_CHECKS = ("sample", "first", "off")
MOST_COPY_THREADS = 16

COPYING, CAPTURED, DURABLE, VERIFIED, FAILED, ABANDONED, SKIPPED = range(7)


class ClientOptions(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("rank", ctypes.c_int32),
        ("world_size", ctypes.c_int32),
        ("store", ctypes.c_char_p),
        ("run", ctypes.c_char_p),
        ("group", ctypes.c_char_p),
        ("socket", ctypes.c_char_p),
        ("daemon_path", ctypes.c_char_p),
        ("daemon_config", ctypes.c_char_p),
        ("retention_json", ctypes.c_char_p),
        ("budget_bytes", ctypes.c_uint64),
        ("scratch_bytes", ctypes.c_uint64),
        ("connect_deadline_ms", ctypes.c_uint64),
        ("fence_deadline_ms", ctypes.c_uint64),
        ("overrun", ctypes.c_int32),
        ("mean_time_between_failures_seconds", ctypes.c_double),
        ("persist_every_steps", ctypes.c_uint64),
        ("persist_every_seconds", ctypes.c_uint64),
        ("capture_check", ctypes.c_int32),
        ("copy_threads", ctypes.c_uint64),
    ]


class EntryStruct(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_uint64)),
        ("dims", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("device", ctypes.c_int32),
    ]


class Stream(ctypes.Structure):
    _fields_ = [("device", ctypes.c_int32), ("handle", ctypes.c_uint64)]


class SnapshotRequest(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("step", ctypes.c_int64),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("tree_json", ctypes.c_char_p),
        ("metrics_json", ctypes.c_char_p),
        ("deadline_ms", ctypes.c_uint64),
        ("streams", ctypes.POINTER(Stream)),
        ("stream_count", ctypes.c_uint64),
    ]


class TicketInfo(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("state", ctypes.c_int32),
        ("step", ctypes.c_int64),
        ("sequence", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("error", ctypes.c_char_p),
        ("raw_bytes", ctypes.c_uint64),
        ("stored_bytes", ctypes.c_uint64),
        ("call_seconds", ctypes.c_double),
        ("fence_seconds", ctypes.c_double),
        ("captured_seconds", ctypes.c_double),
        ("durable_seconds", ctypes.c_double),
        ("verified_seconds", ctypes.c_double),
        ("error_code", ctypes.c_int32),
        ("alarms", ctypes.c_char_p),
        ("trainer_crash_seconds", ctypes.c_double),
        ("power_loss_seconds", ctypes.c_double),
        ("persisted", ctypes.c_int32),
        ("checked", ctypes.c_int32),
        ("torn", ctypes.c_char_p),
    ]


class Target(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64)]


class Placement(ctypes.Structure):
    _fields_ = [("to", ctypes.c_void_p), ("from_", ctypes.c_void_p), ("bytes", ctypes.c_uint64)]


class TensorAccess(ctypes.Structure):
    _fields_ = [("item_of", ctypes.c_void_p), ("view_of", ctypes.c_void_p)]


_handle = ctypes.c_void_p
_out_handle = ctypes.POINTER(ctypes.c_void_p)
_out_text = ctypes.POINTER(ctypes.c_char_p)
_ms = ctypes.c_uint64

# Name -> argument types; the result is an sf_code unless _RESULTS says otherwise.
_FUNCTIONS: Dict[str, List[Any]] = {
    "sf_abi_version": [],
    "sf_version": [],
    "sf_last_error": [],
    "sf_client_open": [ctypes.POINTER(ClientOptions), _out_handle],
    "sf_client_settle": [_handle, _ms],
    "sf_client_reserve": [_handle, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int32, _ms],
    "sf_client_reserve_behind": [_handle, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int32],
    "sf_client_reserved": [_handle, ctypes.c_int64, _ms],
    "sf_client_close": [_handle, _ms],
    "sf_client_destroy": [_handle],
    "sf_client_status": [_handle, _out_text],
    "sf_client_set_block_seconds": [_handle, ctypes.c_double],
    "sf_client_next_warning": [_handle, _out_text],
    "sf_plan_create": [_handle, ctypes.POINTER(EntryStruct), ctypes.c_size_t, _ms, _out_handle],
    "sf_plan_destroy": [_handle],
    "sf_plan_describe": [_handle, _out_text],
    "sf_snapshot": [_handle, ctypes.POINTER(SnapshotRequest), _out_handle],
    "sf_fence": [_handle, ctypes.POINTER(Stream), ctypes.c_size_t, _ms],
    "sf_wait_copied": [_handle, ctypes.POINTER(Stream), ctypes.c_size_t, _ms],
    "sf_place": [_handle, ctypes.POINTER(Stream), ctypes.POINTER(Placement), ctypes.c_size_t, _ms],
    "sf_ticket_confirm": [_handle],
    "sf_ticket_get": [_handle, ctypes.POINTER(TicketInfo)],
    "sf_ticket_wait": [_handle, ctypes.c_int32, _ms],
    "sf_ticket_withdraw": [_handle, ctypes.c_char_p],
    "sf_ticket_destroy": [_handle],
    "sf_reader_open": [ctypes.c_char_p, _out_handle],
    "sf_reader_destroy": [_handle],
    "sf_reader_next": [_handle, ctypes.c_char_p],
    "sf_reader_manifest": [_handle, _out_text],
    "sf_client_hot_reader": [_handle, _ms, _out_handle],
    "sf_reader_name": [_handle, _out_text],
    "sf_reader_source": [_handle, _out_text],
    "sf_reader_skipped": [_handle, _out_text],
    "sf_pin": [ctypes.c_char_p, ctypes.c_char_p],
    "sf_unpin": [ctypes.c_char_p],
    "sf_reader_read": [_handle, ctypes.c_uint32, ctypes.POINTER(Target), ctypes.c_size_t, ctypes.c_uint32],
}
# Of those that run with the interpreter's lock held: they may leave a Python exception, or are over at once.
_LOCKED_FUNCTIONS: Dict[str, List[Any]] = {
    "sf_look_create": [ctypes.POINTER(TensorAccess), ctypes.py_object, ctypes.c_size_t, _out_handle],
    "sf_look_fits": [_handle, ctypes.py_object, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int32)],
    "sf_look_destroy": [_handle],
    "sf_ticket_state": [_handle],
}
_RESULTS: Dict[str, Any] = {
    "sf_abi_version": ctypes.c_uint32,
    "sf_version": ctypes.c_char_p,
    "sf_last_error": ctypes.c_char_p,
    "sf_client_destroy": None,
    "sf_plan_destroy": None,
    "sf_ticket_destroy": None,
    "sf_reader_destroy": None,
    "sf_look_destroy": None,
    "sf_ticket_state": ctypes.c_int32,
}

_loaded: Optional[ctypes.CDLL] = None
_locked: Optional[ctypes.PyDLL] = None


def library() -> Any:
    """The loaded library; loaded at the first use. ImportError says where it was looked for and what is
    wrong with it."""
    global _loaded, _locked
    if _loaded is None:
        _loaded, _locked = _load(_path())
    return _loaded


def locked_library() -> Any:
    """The same library, for the functions that are called with the interpreter's lock held."""
    library()
    return _locked


def packaged(*parts: str) -> Path:
    """A file of the installed package, whether it is there or not."""
    return Path(__file__).resolve().parent.joinpath(*parts)


def _path() -> Path:
    given = os.environ.get(LIBRARY_VARIABLE)
    path = Path(given) if given else packaged("lib", "libstillframe.so")
    if not path.is_file():
        why = f"{LIBRARY_VARIABLE} names it" if given else "the package was not installed whole; pip install it again"
        raise ImportError(f"stillframe: the library {path} does not exist ({why})")
    return path


def _load(path: Path) -> Tuple[ctypes.CDLL, ctypes.PyDLL]:
    try:
        loaded = _declare(ctypes.CDLL(str(path)), _FUNCTIONS)
        locked = _declare(ctypes.PyDLL(str(path)), _LOCKED_FUNCTIONS)
    except (OSError, AttributeError) as error:
        raise ImportError(f"stillframe: the library {path} cannot be used: {error}") from error
    found = int(loaded.sf_abi_version())
    if found != ABI_VERSION:
        raise ImportError(
            f"stillframe: the library {path} speaks ABI {found}, this package {ABI_VERSION}; "
            "install both from one version"
        )
    return loaded, locked


_Loaded = TypeVar("_Loaded", bound=ctypes.CDLL)


def _declare(loaded: _Loaded, functions: Dict[str, List[Any]]) -> _Loaded:
    for name, arguments in functions.items():
        function = getattr(loaded, name)
        function.argtypes = arguments
        function.restype = _RESULTS.get(name, ctypes.c_int32)
    return loaded


def last_error() -> str:
    """The message of this thread's last failed call."""
    raw: Optional[bytes] = library().sf_last_error()
    return (raw or b"").decode("utf-8", "replace")


def check(code: int) -> None:
    """Raises the exception of a code other than SF_OK."""
    if code != OK:
        raise error_for(code, last_error())


def text_of(function: str, handle: Any) -> Optional[str]:
    """Calls a function of the form f(handle, const char** out)."""
    out = ctypes.c_char_p()
    check(getattr(library(), function)(handle, ctypes.byref(out)))
    return None if out.value is None else out.value.decode("utf-8", "replace")


def milliseconds(seconds: float) -> int:
    """Rounded up, so that a short wait does not become none; never negative."""
    return max(0, math.ceil(min(seconds, 1e15) * 1000))
