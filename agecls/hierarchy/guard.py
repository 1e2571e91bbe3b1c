"""The guard on every hand-over: no member may have been fitted on what the hierarchy is measured on."""

from collections.abc import Callable

from agecls.data.faces import Faces
from agecls.data.looks import look_at
from agecls.hierarchy.request import HierarchyRequest
from agecls.learn.hierarchy import Members
from agecls.learn.lineage import Lineage
from agecls.learn.meeting import count_images


def guard(request: HierarchyRequest, members: Members, say: Callable[[str], None]) -> int:
    """Refuse members of another split, and members that were fitted on images of valid or test.

    Args:
        request: of the hierarchy; its split says what is measured on.
        members: what it is assembled from.
        say: called with each line of talk.

    Returns:
        The most images that leak through one member, or in the split itself; 0 where nothing leaks.

    Raises:
        LeakageError: there is a leak, and that is not allowed.
    """
    split = request.split
    if not request.allow_leakage:
        members.refuse_other_splits(split.fingerprint)
    measured = Faces.concat([split.parts["valid"], split.parts["test"]]).table
    hashes, paths = measured["sha256"].tolist(), measured["path"].tolist()
    looks = look_at(split.everything, request.roots)
    thumbnails = looks.thumbnails[looks.rows(hashes)]
    tested = split.parts["test"].table["sha256"].tolist()
    most = split.leaks
    for role, name, run in members:
        lineage = Lineage.load(run.folder)
        meeting = lineage.meet(hashes, thumbnails, split.fingerprint)
        if not request.allow_leakage:
            meeting.refuse(paths, "train this member on the split, or leave it out and have it trained")
        elif meeting.count:
            say(f"LEAKED: {role} {name} {run.folder} was fitted on {count_images(meeting.count)} of valid and test")
        for share in lineage.selectors_of(tested):
            say(
                f"{count_images(share.count)} of test helped to select run {share.run} ({share.reason}): "
                "scores on test are too good"
            )
        most = max(most, meeting.count)
    return most
