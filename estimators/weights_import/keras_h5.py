"""Keras .h5 files: the kernels and biases of dense layers by layer name, without Keras.

Keras 2 writes `model_weights/<layer>/<layer>/kernel:0`; `save_weights` leaves the outer group out, nested models add
groups in between, Keras 3 drops the `:0`. Whatever the depth, a weight is named by its last two parts. The model's
configuration (JSON) and any Python code in it (lambda layers) are not read.

The HDF5 library runs in a process of its own (`keras_child.py`): damaged files can crash it or keep it busy for ever.
"""

import subprocess
import sys
from pathlib import Path

from estimators.errors import CheckpointError
from estimators.weights_import.container import FREE_BYTES, Container
from estimators.weights_import.plain_files import read_npz

MAX_INFLATION = 20
CPU_S = 30
WALL_S = 120
MEMORY_BYTES = 4 * 2**30
_CHILD = Path(__file__).with_name("keras_child.py")
_REFUSED, _NO_H5PY = 3, 4
"""Its exit codes; it is not imported, so that nothing here imports h5py."""


def read_keras_h5(data: bytes, where: str) -> Container:
    """A Keras .h5 file.

    Returns:
        A container whose tree maps '<layer>/kernel' (in, out) and '<layer>/bias' (out,) to tensors.

    Raises:
        CheckpointError: if h5py is not installed, the file is damaged, points outside itself, holds no weights, or
            breaks the HDF5 library.
    """
    budget_bytes = FREE_BYTES + MAX_INFLATION * len(data)
    limits = [budget_bytes, CPU_S, MEMORY_BYTES + 3 * budget_bytes]
    command = [sys.executable, "-I", str(_CHILD), *(str(value) for value in limits)]
    try:
        child = subprocess.run(command, input=data, capture_output=True, timeout=WALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _broken(where, f"took more than {WALL_S} s") from error
    if child.returncode == _NO_H5PY:
        raise CheckpointError(
            f"{where}: a Keras .h5 file needs h5py, which is not installed; pip install 'posemill[keras]'"
        )
    if child.returncode == _REFUSED:
        raise CheckpointError(f"{where}: {child.stderr.decode(errors='replace').strip():.600}")
    if child.returncode != 0:
        raise _broken(where, f"ended with code {child.returncode}")
    return Container("keras h5", read_npz(child.stdout, where).tree, where)


def _broken(where: str, how: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: the HDF5 library broke down on it ({how}, in a process of its own); the file is damaged or hostile, "
        "fetch it again"
    )
