"""Where a face lies among all faces: 128 numbers that a network of dlib makes of a photograph.

Two photographs of one person come to lie close together (D. King, "High quality face recognition with deep metric
learning", 2017; models under CC0). The extra ``identity`` installs dlib and the models.
"""

import importlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agecls.data.pixels import DECODER_VERSION, open_image
from agecls.errors import UsageError

LENGTH: Final = 128
"""Numbers of an embedding."""

METHOD: Final = 1
"""Raised whenever the same image would come to lie elsewhere."""

_LARGEST: Final = 800  # pixels; looking for faces in a larger picture takes seconds
_CHIP: Final = (150, 0.25)  # side and padding of the aligned face the network was trained on

Floats = npt.NDArray[np.float32]


def require_models() -> None:
    """Make sure that dlib and its models are there, before any long work.

    Raises:
        UsageError: they are not installed.
    """
    _dlib()
    _model_folder()


def embedding_version() -> str:
    """Name of all that an embedding depends on: method, decoder, dlib and its models.

    Raises:
        UsageError: dlib or its models are not installed.
    """
    return f"{METHOD}.{DECODER_VERSION}-dlib-{_dlib().__version__}-models-{_model_version()}"


def embed(content: bytes) -> Floats | None:
    """Embed the largest face of an image file.

    Returns:
        float32, shape (128,); None where dlib finds no face, neither in the picture nor in one of twice its size.

    Raises:
        DataError: empty, truncated, or not an image that Pillow can read.
    """
    detector, _, _ = _models()
    image = open_image(content).convert("RGB")
    image.thumbnail((_LARGEST, _LARGEST))
    pixels = np.array(image)
    found = detector(pixels, 0) or detector(pixels, 1)
    if not found:
        return None
    # Of two equally large ones the upper left, whatever the order they are found in.
    largest = min(found, key=lambda face: (-face.area(), face.top(), face.left()))
    return describe(pixels, largest)


def describe(pixels: npt.NDArray[np.uint8], face: Any) -> Floats:
    """Align one face by five landmarks and embed it.

    Args:
        pixels: uint8, shape (H, W, 3).
        face: where it is, a ``dlib.rectangle``.

    Returns:
        float32, shape (128,).
    """
    _, points, network = _models()
    chip = _dlib().get_face_chip(pixels, points(pixels, face), *_CHIP)
    return np.array(network.compute_face_descriptor(chip), dtype=np.float32)


def _missing(what: str) -> UsageError:
    return UsageError(
        "finding photographs of one person needs dlib and its models",
        got=what,
        remedy="pip install 'agecls[identity]'",
    )


def _dlib() -> Any:
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise _missing(str(error)) from None


@cache
def _model_folder() -> Path:
    # Importing the package itself needs pkg_resources, which a new setuptools no longer has.
    spec = find_spec("face_recognition_models")
    for place in (spec.submodule_search_locations if spec else None) or ():
        if (Path(place) / "models").is_dir():
            return Path(place) / "models"
    raise _missing("no package face_recognition_models")


def _model_version() -> str:
    try:
        return version("face_recognition_models")
    except PackageNotFoundError:
        raise _missing("no package face_recognition_models") from None


@cache
def _models() -> tuple[Any, Any, Any]:
    """Detector of upright faces, five landmarks, and the network; a fifth of a second to load."""
    dlib, folder = _dlib(), _model_folder()
    return (
        dlib.get_frontal_face_detector(),
        dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat")),
    )
