"""A build backend (PEP 517) that knows the package's name and builds nothing."""

from __future__ import annotations

import os
from typing import Any


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:  # noqa: ARG001 - PEP 517's signature
    """Return what a build would need: nothing."""
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:  # noqa: ARG001
    """Write name and version, which pip compares with what it was asked for: the folder it stands in has both."""
    name, _, version = os.path.basename(os.getcwd()).rpartition("-")
    with open("PKG-INFO", encoding="utf-8") as file:
        for line in file:
            if line.startswith("Version:"):
                version = line.partition(":")[2].strip()
            elif line.startswith("Name:"):
                name = line.partition(":")[2].strip().replace("-", "_")
    folder = f"{name}-{version}.dist-info"
    os.mkdir(os.path.join(metadata_directory, folder))
    with open(os.path.join(metadata_directory, folder, "METADATA"), "w", encoding="utf-8") as file:
        file.write(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:  # noqa: ARG001
    """Refuse."""
    raise RuntimeError("nothing is built here")
