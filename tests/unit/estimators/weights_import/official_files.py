"""Weight files as the published training scripts write them, with synthetic weights."""

import io
import pickle
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def torch_file(value: Any, legacy: bool = False) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def semgcn_wrapper(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """ckpt_semgcn.pth.tar."""
    optimizer = {"state": {140521533361280: {"step": 950508, "exp_avg": torch.ones(3)}}, "param_groups": []}
    return {
        "epoch": 39, "lr": 6.8e-4, "step": 950508, "state_dict": state, "optimizer": optimizer,
        "error": np.float64(42.326),
    }  # fmt: skip


def videopose3d_wrapper(state: Mapping[str, Tensor], trajectory: Any = None) -> dict[str, Any]:
    """pretrained_h36m_cpn.bin; a semi-supervised one has a trajectory model too."""
    return {
        "epoch": 80,
        "lr": 1.6e-5,
        "random_state": np.random.RandomState(1234),
        "optimizer": {
            "state": {0: {"step": 7, "exp_avg": torch.ones(2, 2)}},
            "param_groups": [{"lr": 1.6e-5}],
        },
        "model_pos": state,
        "model_traj": trajectory,
        "random_state_semi": None if trajectory is None else np.random.RandomState(4321),
    }


def parallel(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a network inside DataParallel."""
    return {f"module.{key}": value for key, value in state.items()}


class Python2Pickle:
    """Writes protocol 2 as Python 2's cPickle does: text as byte strings, integers beyond 32 bits by opcode INT.

    Python 3 writes neither, so the opcodes are put together here.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.storages: dict[str, Tensor] = {}

    def dump(self, value: Any) -> bytes:
        """The pickle of a value of dictionaries, lists, tuples, text, numbers, None and float32 tensors."""
        self._parts = [b"\x80\x02"]
        self._value(value)
        return b"".join(self._parts) + b"."

    def _value(self, value: Any) -> None:
        if value is None or isinstance(value, bool):
            self._parts.append({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, int):
            self._integer(value)
        elif isinstance(value, float):
            self._parts.append(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            raw = value.encode("latin-1")
            short = len(raw) < 256
            self._parts.append(
                (b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<i", len(raw))) + raw
            )
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, dict):
            self._parts.append(b"ccollections\nOrderedDict\n]\x85R(" if value else b"}(")
            for key, item in value.items():
                self._value(key)
                self._value(item)
            self._parts.append(b"u")
        else:
            self._parts.append(b"(")
            for item in value:
                self._value(item)
            self._parts.append(b"l" if isinstance(value, list) else b"t")

    def _integer(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self._parts.append(b"J" + struct.pack("<i", value))
        elif -(2**63) <= value < 2**63:
            self._parts.append(b"I%d\n" % value)
        else:
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self._parts.append(b"\x8a" + bytes([len(raw)]) + raw)

    def _tensor(self, tensor: Tensor) -> None:
        """`_rebuild_tensor` on a storage on the GPU, as torch 0.3 wrote it."""
        storage_type = {torch.float32: b"FloatStorage", torch.int64: b"LongStorage"}[tensor.dtype]
        key = str(94373603841280 + 64 * len(self.storages))
        self.storages[key] = tensor
        self._parts.append(b"ctorch._utils\n_rebuild_tensor\n((")
        self._value("storage")
        self._parts.append(b"ctorch\n" + storage_type + b"\n")
        for item in (key, "cuda:0", tensor.numel(), None):
            self._value(item)
        self._parts.append(b"tQ")
        for item in (0, tuple(tensor.shape), tuple(tensor.stride())):
            self._value(item)
        self._parts.append(b"tR")


def python2_torch_file(value: Any) -> bytes:
    """The legacy container as torch 0.3 on Python 2 wrote it: opcode INT, byte strings, storages from a GPU."""
    writer = Python2Pickle()
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"int": 4, "long": 4, "short": 2},
    }
    heads = [Python2Pickle().dump(item) for item in (LEGACY_MAGIC, 1001, system)]
    body = writer.dump(value)
    keys = sorted(writer.storages)
    raw = [
        struct.pack("<q", writer.storages[key].numel()) + writer.storages[key].contiguous().numpy().tobytes()
        for key in keys
    ]
    return b"".join([*heads, body, Python2Pickle().dump(keys), *raw])


def npz_file(state: Mapping[str, Tensor]) -> bytes:
    """State-dict keys as members."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{key: value.numpy() for key, value in state.items()})
    return stream.getvalue()


def pickled(value: Any, protocol: int = 2) -> bytes:
    """A plain pickle."""
    return pickle.dumps(value, protocol=protocol)
