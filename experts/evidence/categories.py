"""What a class is one of: the everyday words above ImageNet's 1,000 and COCO's 80 class names, and how words match."""

from __future__ import annotations

import functools
import re
from pathlib import Path

# Everyday word -> ImageNet class indices (inclusive ranges). A class may be several things.
IMAGENET_KINDS: dict[str, tuple[tuple[int, int], ...]] = {
    "fish": ((0, 6), (389, 397)),
    "shark": ((2, 4),),
    "bird": ((7, 24), (80, 100), (127, 146)),
    "chicken": ((7, 8),),
    "duck": ((97, 98),),
    "owl": ((24, 24),),
    "frog": ((30, 32),),
    "turtle": ((33, 37),),
    "lizard": ((38, 48),),
    "snake": ((52, 68),),
    "spider": ((72, 77),),
    "crab": ((118, 121),),
    "dog": ((151, 268),),
    "wolf": ((269, 272),),
    "fox": ((277, 280),),
    "cat": ((281, 285),),
    "big cat": ((286, 293),),
    "bear": ((294, 297),),
    "insect": ((300, 326),),
    "beetle": ((300, 307),),
    "butterfly": ((321, 326),),
    "rabbit": ((330, 332),),
    "pig": ((341, 343),),
    "cow": ((345, 347),),
    "sheep": ((348, 349),),
    "antelope": ((351, 353),),
    "horse": ((339, 339),),
    "camel": ((354, 354),),
    "monkey": ((365, 384),),
    "elephant": ((101, 101), (385, 386)),
    "panda": ((387, 388),),
    "animal": ((0, 397),),
    "airplane": ((404, 405), (895, 895)),
    "boat": (
        (472, 472), (484, 484), (510, 510), (554, 554), (576, 576), (625, 625), (628, 628), (724, 724), (780,
        780), (814, 814), (833, 833), (871, 871), (914, 914),
    ),  # fmt: skip
    "car": (
        (407, 407), (436, 436), (468, 468), (511, 511), (609, 609), (627, 627), (656, 656), (661, 661), (751,
        751), (817, 817),
    ),  # fmt: skip
    "truck": ((555, 555), (569, 569), (675, 675), (717, 717), (734, 734), (864, 864), (867, 867)),
    "bus": ((654, 654), (779, 779), (874, 874)),
    "train": ((466, 466), (547, 547), (565, 565), (705, 705), (820, 820), (829, 829)),
    "bicycle": ((444, 444), (671, 671)),
    "motorcycle": ((665, 665), (670, 670)),
    "musical instrument": (
        (401, 402), (420, 420), (432, 432), (486, 486), (494, 494), (513, 513), (541, 541), (546, 546), (558,
        558), (566, 566), (579, 579), (593, 594), (642, 642), (683, 684), (687, 687), (776, 776), (875, 875),
        (881, 881), (889, 889),
    ),  # fmt: skip
    "guitar": ((402, 402), (546, 546)),
    "piano": ((579, 579), (881, 881)),
    "ball": ((429, 430), (522, 522), (574, 574), (722, 722), (768, 768), (805, 805), (852, 852), (890, 890)),
    "bottle": ((440, 440), (720, 720), (737, 737), (898, 898), (907, 907)),
    "cup": ((504, 504), (968, 968)),
    "hat": ((439, 439), (452, 452), (515, 515), (808, 808)),
    "chair": ((423, 423), (559, 559), (765, 765), (857, 857)),
    "table": ((532, 532), (736, 736)),
    "clock": ((409, 409), (530, 531), (604, 604), (826, 826), (892, 892)),
    "computer": ((527, 527), (590, 590), (620, 620), (681, 681)),
    "phone": ((487, 487), (528, 528), (707, 707)),
    "bridge": ((718, 718), (821, 821), (839, 839)),
    "building": (
        (410, 410), (415, 415), (424, 425), (437, 437), (442, 442), (449, 449), (454, 454), (467, 467), (483, 483),
        (497, 498), (509, 509), (538, 538), (580, 580), (582, 582), (598, 598), (624, 624), (634, 634), (660, 660),
        (663, 663), (668, 668), (698, 698), (727, 727), (743, 743), (762, 762), (788, 788), (832, 832), (853, 853),
        (858, 858), (860, 860), (865, 865), (873, 873), (900, 900), (915, 915),
    ),  # fmt: skip
    "church": ((497, 497),),
    "rocket": ((657, 657), (744, 744), (812, 812)),
    "apple": ((948, 948),),
    "fruit": ((948, 957), (984, 984), (989, 990)),
    "vegetable": ((936, 947),),
    "bread": ((930, 932),),
    "food": ((923, 969), (987, 987), (998, 998)),
    "mountain": ((970, 970), (980, 980)),
    "beach": ((978, 978),),
    "flower": ((985, 986), (883, 883)),
    "mushroom": ((991, 997), (947, 947)),
}  # fmt: skip

COCO_KINDS: dict[str, tuple[str, ...]] = {
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "food": ("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),
    "fruit": ("banana", "apple", "orange"),
    "furniture": ("chair", "couch", "bed", "dining table"),
    "table": ("dining table",),
    "ball": ("sports ball",),
    "phone": ("cell phone",),
    "sofa": ("couch",),
    "flower": ("potted plant",),
    "plant": ("potted plant",),
    "computer": ("laptop",),
    "glass": ("wine glass",),
    "bag": ("backpack", "handbag", "suitcase"),
}
SYNONYMS: dict[str, str] = {
    "man": "person", "woman": "person", "people": "person", "men": "person", "women": "person", "child": "person",
    "children": "person", "boy": "person", "girl": "person", "human": "person", "kid": "person", "player": "person",
    "plane": "airplane", "aeroplane": "airplane", "jet": "airplane", "bike": "bicycle", "motorbike": "motorcycle",
    "automobile": "car", "lorry": "truck", "ship": "boat", "television": "tv", "mobile": "phone", "cellphone": "phone",
    "puppy": "dog", "kitten": "cat", "kitty": "cat", "doughnut": "donut",
    "necktie": "tie", "coffee": "espresso", "bunny": "rabbit", "house": "building", "temple": "building",
    "tower": "building", "ladybird": "ladybug", "scooter": "motor scooter", "aircraft": "airplane", "bug": "insect",
}  # fmt: skip

# Names that COCO and ImageNet share but not in one sense: ImageNet's kite is a bird, its mouse is a computer's.
OTHERWISE = frozenset({"kite", "mouse", "crane"})
IRREGULAR = {
    "mouse": "mice",
    "goose": "geese",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "knife": "knives",
    "leaf": "leaves",
    "wolf": "wolves",
    "bus": "buses",
    "broccoli": "broccoli",
    "person": "persons",
    "skis": "skis",
}
ONE = {several: one for one, several in IRREGULAR.items()}


@functools.lru_cache(maxsize=4096)
def kinds_of(name: str) -> tuple[str, ...]:
    """The everyday words above a class name: 'golden retriever' -> ('dog', 'animal')."""
    found = [kind for kind, members in COCO_KINDS.items() if name in members]
    index = None if name in OTHERWISE else _imagenet().get(name.lower())
    if index is not None:
        spans = [
            (sum(b - a for a, b in ranges), kind)
            for kind, ranges in IMAGENET_KINDS.items()
            if any(a <= index <= b for a, b in ranges)
        ]
        found += [kind for _, kind in sorted(spans) if kind not in found]
        if {"car", "truck", "bus", "train", "boat", "airplane", "bicycle", "motorcycle"} & set(found):
            found.append("vehicle")
    return tuple(dict.fromkeys(kind for kind in found if kind != name))


def class_names() -> frozenset[str]:
    """Every name there is here: ImageNet's classes, and the everyday words and synonyms above."""
    members = (name for group in COCO_KINDS.values() for name in group)
    return frozenset((*_imagenet(), *IMAGENET_KINDS, *COCO_KINDS, *members, *SYNONYMS))


@functools.lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of a classifier's outputs."""
    return tuple((Path(__file__).parent / "imagenet.txt").read_text(encoding="utf-8").splitlines())


@functools.lru_cache(maxsize=1)
def _imagenet() -> dict[str, int]:
    return {name.lower(): index for index, name in reversed(list(enumerate(imagenet_classes())))}


def singular(word: str) -> str:
    """An English noun's singular, well enough to match class names: 'buses' -> 'bus', 'people' -> 'person'."""
    word = word.lower()
    word = ONE.get(word, word)
    if word in SYNONYMS:
        return SYNONYMS[word]
    if word.endswith(
        ("okies", "ovies", "ownies", "shoes", "canoes", "ouses")
    ):  # cookies, movies, brownies, shoes, houses
        return word[:-1]
    for ending, instead in (
        ("ies", "y"),
        ("shes", "sh"),
        ("ches", "ch"),
        ("sses", "ss"),
        ("uses", "us"),
        ("xes", "x"),
        ("oes", "o"),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            word = word[: -len(ending)] + instead
            break
    else:
        if word.endswith("s") and not word.endswith(("ss", "us", "is")):
            word = word[:-1]
    return SYNONYMS.get(word, word)


def matches(asked: str, name: str) -> bool:
    """Whether a thing called `name` answers to the asked noun phrase, by name, head noun, or kind."""
    want = " ".join(singular(word) for word in re.findall(r"[a-z'-]+", asked.lower()))
    have = " ".join(singular(word) for word in re.findall(r"[a-z'-]+", name.lower()))
    if not want or not have:
        return False
    return want == have or have.endswith(" " + want) or any(singular(kind) == want for kind in kinds_of(name))


def plural(name: str) -> str:
    """The plural of a name, by its last word."""
    *front, last = name.split()
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("s") and not last.endswith(("ss", "us")):
        pass
    elif last.endswith(("ss", "us", "x", "ch", "sh", "z")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*front, last])
