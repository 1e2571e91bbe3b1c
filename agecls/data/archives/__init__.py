"""Archives: told by their content, unpacked whole or not at all, and never outside the folder they are meant for."""

from agecls.data.archives.kind import Kind as Kind
from agecls.data.archives.kind import kind_of as kind_of
from agecls.data.archives.limits import Limits as Limits
from agecls.data.archives.unpack import Unpacked as Unpacked
from agecls.data.archives.unpack import unpack as unpack
