"""Lets the debugger of an IDE on another host attach to this program.

``p2pdbg connect CODE -- python app.py`` runs a program with a tunnel to the IDE and says so in its environment; a
program may also start the tunnel itself. Either way it then calls::

    import p2pdbg

    p2pdbg.wait_for_ide()

which does nothing at all unless ``START_DEBUGGER`` is set, so the call may stay in a program that is delivered. It
uses debugpy or pydevd-pycharm, whichever is installed and fits the forward, and needs no other package.
"""

from ._debuggers import NoDebugger
from ._endpoint import Endpoint, endpoint, enabled
from ._executable import NoExecutable, executable
from ._tunnel import TunnelFailed, start_tunnel
from ._waiting import break_here, wait_for_ide

__all__ = [
    "Endpoint",
    "NoDebugger",
    "NoExecutable",
    "TunnelFailed",
    "break_here",
    "enabled",
    "endpoint",
    "executable",
    "start_tunnel",
    "wait_for_ide",
]
