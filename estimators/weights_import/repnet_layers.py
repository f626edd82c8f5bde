"""RepNet's dense layers in the order in which the published script makes them: generator 9, camera 5, critic 9.

Keras names layers by a counter: `dense`, `dense_1`, ... since 2.3, `dense_1`, `dense_2`, ... before, later numbers
where other networks were made first. So only the order of the numbers counts. It is neither the order of the names as
text (`dense_10` before `dense_2`), nor that of the file's layer list, which Keras sorts by depth. specs/lifters.md, 1.4
and 2.
"""

import re
from typing import Any

from estimators.weights_import.plan import ImportOptions, NetworkPlan, ShapeReader

_LAYER = re.compile(r"^dense(?:_(\d{1,6}))?$")
_CAMERA_OUTPUTS = 6
"""Two rows of three."""
_CAMERA_LAYERS = 5
_PARTS = ("kernel", "bias")


def plan_repnet(read: ShapeReader, options: ImportOptions) -> NetworkPlan:
    """The plan of a file with the generator, the generator and the camera, or all three networks.

    Raises:
        CheckpointError: if layers are not named by Keras's counter, or do not follow each other as published.
    """
    layers = _in_creation_order(read)
    kernels = [read.of(f"{layer}/kernel", 2) for layer in layers]
    inputs, width = kernels[0]
    joints = inputs // 2
    generator = _end(kernels, 0, 3 * joints)
    camera = _end(kernels, generator, _CAMERA_OUTPUTS)
    if inputs % 2 or not generator or generator % 2 == 0 or generator < 5:
        raise read.fault(
            f"its first layers, {_chain(kernels)}, are no generator: wanted 2 J inputs, 5 + 2 n layers, 3 J outputs"
        )
    settings = {"kind": "repnet", "width": width, "pose_blocks": (generator - 5) // 2}
    if not camera and options.without_camera:
        return _generator_alone(settings, joints, layers, generator)
    if not camera or (camera - generator) % 2 == 0:
        raise read.fault(
            f"behind the generator's {generator} layers it has {_chain(kernels[generator:])}, wanted the camera's "
            f"1 + 2 n layers with {_CAMERA_OUTPUTS} outputs; give the file of the adversarial "
            "model, which has both. With --without-camera the generator alone is taken, for Procrustes-aligned errors"
        )
    settings["camera_blocks"] = (camera - generator - 1) // 2
    critic = tuple(
        f"{layer}: a layer {list(kernel)} of the critic, which only training uses"
        for layer, kernel in zip(layers[camera:], kernels[camera:], strict=True)
    )
    numbers = (camera - 3) * width**2
    return NetworkPlan(
        settings, joints, numbers, _names(layers[:camera]), critic, (_ordered(layers[:camera]),)
    )


def _generator_alone(settings: dict[str, Any], joints: int, layers: list[str], count: int) -> NetworkPlan:
    camera = [
        f"{_published_name(index)}/{part}"
        for index in range(count, count + _CAMERA_LAYERS)
        for part in _PARTS
    ]
    notes = (
        _ordered(layers[:count]),
        "the file has no camera network: the lifter's is untrained, so the direction of its poses means nothing; "
        "compare by PA-MPJPE only",
    )
    ignored = tuple(f"{layer}: behind the generator" for layer in layers[count:])
    numbers = (count - 2) * settings["width"] ** 2
    return NetworkPlan(settings, joints, numbers, _names(layers[:count]), ignored, notes, tuple(camera))


def _names(layers: list[str]) -> dict[str, str]:
    return {
        f"{layer}/{part}": f"{_published_name(i)}/{part}" for i, layer in enumerate(layers) for part in _PARTS
    }


def _ordered(layers: list[str]) -> str:
    return f"layers in the order of their numbers: {layers[0]} to {layers[-1]}"


def _published_name(index: int) -> str:
    return f"dense_{index}" if index else "dense"


def _in_creation_order(read: ShapeReader) -> list[str]:
    numbered: dict[int, str] = {}
    for key in read.shapes:
        layer = key.rpartition("/")[0]
        found = _LAYER.match(layer)
        if found is None:
            raise read.fault(
                f"layer {layer!r:.60} is not named by Keras's counter (dense, dense_1, ...), so that the order in "
                "which layers were made is not known"
            )
        numbered[int(found[1] or 0)] = layer
    return [numbered[number] for number in sorted(numbered)]


def _end(kernels: list[tuple[int, ...]], start: int, outputs: int) -> int:
    """Index behind the first layer with so many outputs, counted from `start`; 0 if there is none."""
    for index in range(start, len(kernels)):
        if kernels[index][1] == outputs:
            return index + 1
    return 0


def _chain(kernels: list[tuple[int, ...]]) -> str:
    return ", ".join(f"{rows}x{columns}" for rows, columns in kernels[:16]) or "nothing"
