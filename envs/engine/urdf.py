"""URDF files as MuJoCo can read them: meshes of ROS packages are found, what it refuses is repaired or left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from robossl.core.errors import UsageError

_MESHES = (".stl", ".obj", ".msh")  # that MuJoCo reads
_MAX_BYTES = 64 << 20  # of a URDF file
_INERTIA = ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")
_SMALL = 1e-6  # [kg m^2 or kg] smallest inertia and mass that is kept
_LISTED = 3  # names in a note


class Urdf(NamedTuple):
    """Text that MuJoCo reads, and what differs from the file."""

    text: str
    notes: list[str]


def read_urdf(file: str | os.PathLike[str]) -> Urdf:
    """Return the text of a URDF file for MuJoCo.

    Paths `package://name/...` are looked up in the folders above the file. Meshes in other formats than STL and OBJ are
    left out, as are those that are missing; an inertia that no body can have is replaced by the nearest possible one.

    Raises:
        UsageError: The file is too large, or no XML.
    """
    path = Path(file)
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"expected a URDF file of at most {_MAX_BYTES:,} bytes, got {path.stat().st_size:,}")
    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise UsageError(f"{path} has a document type or entities, which URDF has not; remove them")
    root = _parse(data, path)
    notes = [*_meshes(root, path), *_inertias(root)]
    _add_compiler(root)
    return Urdf(ElementTree.tostring(root, encoding="unicode"), notes)


def _parse(data: bytes, path: Path) -> ElementTree.Element:
    """Return the root of XML; prefixes without a namespace, which xacro leaves behind, become parts of names."""
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        if "unbound prefix" not in str(error):
            raise UsageError(f"{path} does not compile: XML Error: {error}") from error
    plain = re.sub(rb"(</?|\s)([A-Za-z_][\w.-]*):(?=[A-Za-z_][\w.-]*[\s=/>])", rb"\1\2_", data)
    try:
        return ElementTree.fromstring(plain)
    except ElementTree.ParseError as error:
        raise UsageError(f"{path} does not compile: XML Error: {error}") from error


def _add_compiler(root: ElementTree.Element) -> None:
    """Add MuJoCo's options for URDF, where the file has none of its own."""
    extension = root.find("mujoco")
    if extension is None:
        extension = ElementTree.SubElement(root, "mujoco")
    compiler = extension.find("compiler")
    if compiler is None:
        compiler = ElementTree.SubElement(extension, "compiler")
    shows_collisions = root.find(".//collision/geometry") is not None
    options = {"strippath": "false", "balanceinertia": "true", "discardvisual": str(shows_collisions).lower()}
    options |= {"boundmass": str(_SMALL), "boundinertia": str(_SMALL)}
    for name in ("meshdir", "assetdir"):
        compiler.attrib.pop(name, None)  # paths are absolute here
    for name, value in options.items():
        compiler.attrib[name] = value if name == "strippath" else compiler.attrib.get(name, value)


# --- meshes


def _meshes(root: ElementTree.Element, path: Path) -> Iterator[str]:
    """Replace the paths of meshes by absolute ones, and remove what MuJoCo cannot read; yield notes."""
    compiler = root.find("mujoco/compiler")
    folder = path.parent / (compiler.attrib.get("meshdir", "") if compiler is not None else "")
    removed: dict[str, list[str]] = {}  # why -> file names
    for link in root.iter("link"):
        for shape in [*link.findall("visual"), *link.findall("collision")]:
            mesh = shape.find("geometry/mesh")
            if mesh is None:
                continue
            name = mesh.attrib.get("filename", "")
            found = _find_mesh(name, path, folder)
            if found is not None and found.suffix.lower() in _MESHES:
                mesh.attrib["filename"] = str(found)
                continue
            link.remove(shape)
            if shape.tag == "collision":  # visual shapes are not simulated
                reason = "are missing" if found is None else "are neither STL nor OBJ"
                removed.setdefault(reason, []).append(os.path.basename(name))
    for reason, names in removed.items():
        listed = ", ".join(names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        yield f"{len(names)} collision meshes {reason} and are left out ({listed}{more})"


def _find_mesh(name: str, path: Path, folder: Path) -> Path | None:
    """Return the file of a mesh; None if it does not exist."""
    scheme, separator, rest = name.partition("://")
    if not separator:
        candidates = [folder / name, path.parent / name, folder / os.path.basename(name)]
    elif scheme == "file":
        candidates = [Path("/" + rest.lstrip("/"))]
    else:  # package://name/..., model://name/...
        _, _, inside = rest.partition("/")
        above = [path.parent, *path.parent.parents]
        candidates = [parent / part for parent in above for part in (rest, inside) if part]
    return next((candidate.resolve() for candidate in candidates if candidate.is_file()), None)


# --- inertias


def _inertias(root: ElementTree.Element) -> Iterator[str]:
    """Repair inertias that no body can have; yield a note with their links."""
    repaired = []
    for link in root.iter("link"):
        inertial = link.find("inertial")
        if inertial is None:
            continue
        mass, inertia = inertial.find("mass"), inertial.find("inertia")
        if mass is None or inertia is None:
            link.remove(inertial)  # MuJoCo infers it from the shapes
            repaired.append(link.attrib.get("name", ""))
            continue
        try:
            xx, xy, xz, yy, yz, zz = (float(inertia.attrib.get(name, 0)) for name in _INERTIA)
            weight = float(mass.attrib.get("value", 0))
        except ValueError:
            continue  # MuJoCo reports it
        values, axes = np.linalg.eigh(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
        possible = values[0] > 0 and values[0] + values[1] >= values[2]
        if possible or (weight == 0 and not values.any()):
            if weight == 0:
                link.remove(inertial)
            continue
        values = np.maximum(values, max(_SMALL, 1e-3 * values[-1]))
        values[0] = max(values[0], values[2] - values[1])
        matrix = axes @ np.diag(np.maximum(values, values[2] / 2 + _SMALL)) @ axes.T
        for name, value in zip(_INERTIA, matrix[np.triu_indices(3)]):
            inertia.attrib[name] = repr(float(value))
        repaired.append(link.attrib.get("name", ""))
    if repaired:
        more = f" and {len(repaired) - _LISTED} more" if len(repaired) > _LISTED else ""
        listed = ", ".join(repaired[:_LISTED])
        yield f"{len(repaired)} inertias that no body can have are replaced ({listed}{more})"
