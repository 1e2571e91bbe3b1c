"""``agecls doctor``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from agecls.commands.options import Json
from agecls.screen import printable, results, write_json

if TYPE_CHECKING:
    from agecls.doctor import Diagnosis

EXAMPLE = "Example: agecls doctor --root faces/UTKFace"


def doctor(
    root: Annotated[
        list[Path] | None,
        typer.Option("--root", metavar="DIR", help="Folder of images: say how large they are decoded. Repeatable."),
    ] = None,
    json: Json = None,
) -> None:
    """Say what this machine offers and what agecls will do with it; exit 1 where something will not work.

    Nothing is written. The network is asked only where B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY are set: whether
    Backblaze B2 knows them, and what they may do. No key is ever shown.
    """
    from agecls.doctor import examine

    found = examine(root or ())
    if json:
        write_json(json, found.to_json())
    _show(found)
    if not found.works:
        raise typer.Exit(1)


def _show(found: "Diagnosis") -> None:
    """Print the machine, the plan and the checks, a line each."""
    offer, plan = found.offer, found.plan
    features = f", {' '.join(offer.processor.features)}" if offer.processor.features else ""
    _section("this machine")
    _line("processor", f"{offer.processor.model}{features}")
    _line("cores", f"{offer.processor.usable} usable of {offer.processor.cores}")
    for number, gpu in enumerate(offer.gpus):
        bf16 = "bfloat16" if gpu.bf16 else "no bfloat16"
        sizes = f"{gpu.free / 1e9:.1f} GB free of {gpu.memory / 1e9:.1f} GB"
        _line(f"GPU {number}", f"{gpu.name}, {sizes}, capability {gpu.capability}, {bf16}")
    if not offer.gpus:
        _line("GPU", "none")
    _line("CUDA", f"{offer.cuda or 'none'} (PyTorch), driver {offer.driver or 'none'}")
    _line("software", ", ".join(f"{name} {version or 'missing'}" for name, version in offer.versions.items()))
    _line("unpackers", ", ".join(f"{kind}: {tool or 'none'}" for kind, tool in offer.unpackers.items()))
    _section("what agecls will do")
    _line("config", plan.config)
    _line("device", plan.device)
    _line("precision", plan.precision)
    _line("batch", plan.batch)
    _line("workers", plan.workers)
    _line("threads", plan.threads)
    limit = "" if plan.cache_limit is None else f", at most {plan.cache_limit / 1e9:g} GB"
    _line("cache", f"{plan.cache}{limit}")
    _section("checks")
    colours = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    for check in found.checks:
        state = f"[{colours[check.state]}]{check.state:<8}[/]"
        results().print(f"  {state} {escape(f'{check.name}: {printable(check.what)}')}", soft_wrap=True)
        if check.remedy and check.state != "ok":
            results().print(escape(f"           do: {printable(check.remedy)}"), soft_wrap=True)


def _section(title: str) -> None:
    results().print(f"[bold]{title}[/]")


def _line(name: str, value: str) -> None:
    results().print(escape(f"  {name:<10} {printable(value)}"), soft_wrap=True)
