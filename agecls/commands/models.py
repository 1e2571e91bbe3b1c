"""``agecls models``."""

from agecls.commands.options import Json
from agecls.screen import show_networks, write_json

EXAMPLE = "Example: agecls models --json models.json"


def models(json: Json = None) -> None:
    """List every network: parameters, input, blocks for freezing, pretrained weights, and where it comes from."""
    from agecls.learn.networks import describe_networks

    networks = describe_networks()
    show_networks(networks)
    if json:
        write_json(json, {"schema": 1, "classes": 7, "networks": networks})
