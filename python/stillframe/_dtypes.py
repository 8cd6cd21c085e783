"""Names of element types in a checkpoint (as in safetensors), for torch and NumPy."""

from __future__ import annotations

from typing import Dict, Optional

import torch

_PAIRS = (
    ("BOOL", "bool"),
    ("U8", "uint8"),
    ("I8", "int8"),
    ("F8_E5M2", "float8_e5m2"),
    ("F8_E4M3", "float8_e4m3fn"),
    ("F8_E8M0", "float8_e8m0fnu"),
    ("F8_E4M3FNUZ", "float8_e4m3fnuz"),
    ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
    ("I16", "int16"),
    ("U16", "uint16"),
    ("F16", "float16"),
    ("BF16", "bfloat16"),
    ("I32", "int32"),
    ("U32", "uint32"),
    ("F32", "float32"),
    ("C64", "complex64"),
    ("F64", "float64"),
    ("I64", "int64"),
    ("U64", "uint64"),
    ("C128", "complex128"),
)

# An older torch lacks some of the names; a checkpoint that needs one of them is refused when it is read.
TORCH_BY_NAME: Dict[str, torch.dtype] = {
    name: getattr(torch, attribute) for name, attribute in _PAIRS if hasattr(torch, attribute)
}
NAME_BY_TORCH: Dict[torch.dtype, str] = {dtype: name for name, dtype in TORCH_BY_NAME.items()}

_NAME_BY_NUMPY: Dict[str, str] = {
    "b1": "BOOL",
    "u1": "U8",
    "i1": "I8",
    "i2": "I16",
    "u2": "U16",
    "f2": "F16",
    "i4": "I32",
    "u4": "U32",
    "f4": "F32",
    "c8": "C64",
    "f8": "F64",
    "i8": "I64",
    "u8": "U64",
    "c16": "C128",
}


def name_of_numpy(dtype_str: str) -> Optional[str]:
    """The entry dtype for NumPy's `dtype.str` ("<f4" -> "F32"); None when a checkpoint has no such type."""
    return _NAME_BY_NUMPY.get(dtype_str[1:]) if dtype_str[:1] in "<>|=" else None
