"""UTKFace: the labels stand in the file names, ``[age]_[gender]_[race]_[stamp].jpg.chip.jpg``.

Some names of the published set are crooked after the third underscore (a digit short, a blank, a missing dot). Their
labels are whole, so they are used. Three names lack a field; nobody can say which, so they are not.

Source: Zhang, Song and Qi, "Age progression/regression by conditional adversarial autoencoder", CVPR 2017.
"""

import re
from pathlib import Path

from agecls.data.sources.listing import Label, Listing
from agecls.data.sources.walk import walk_images
from agecls.labels import AGE_MAX, AGE_MIN, UTKFACE_ETHNICITY, UTKFACE_GENDER


def read_utkface(root: Path) -> Listing:
    """Read the labels of every image below ``root`` from its name; subfolders do not matter."""
    images, rejected = walk_images(root)
    listing = Listing(rejected=rejected)
    for path in images:
        label = parse_name(path)
        if isinstance(label, Label):
            listing.labels.append(label)
        else:
            listing.reject(path, label)
    return listing


def parse_name(path: str) -> Label | str:
    """Return the label in a file name, or the reason why there is none.

    Images with one stamp (year to millisecond) share a key: they are often crops of one photograph.
    """
    fields = path.rpartition("/")[2].split("_", 3)
    if len(fields) < 4 or not all(fields):
        return "name lacks a field: expected age_gender_race_stamp"
    age, gender, race, stamp = fields
    if not (age.isascii() and age.isdigit()):
        return f"age {age!r} is not a whole number"
    if not AGE_MIN <= int(age) <= AGE_MAX:
        return f"age {int(age)} is outside {AGE_MIN}..{AGE_MAX}"
    if gender not in UTKFACE_GENDER:
        return f"unknown gender code {gender!r}"
    if race not in UTKFACE_ETHNICITY:
        return f"unknown race code {race!r}"
    digits = re.match(r"[0-9]+", stamp)
    keys = (f"stamp:{digits[0]}",) if digits else ()
    return Label(path, int(age), int(age), UTKFACE_GENDER[gender], UTKFACE_ETHNICITY[race], keys)
