"""Boards reached over a transport: what one is, the private environment it is given, and files laid out there.

What is put on a board stands in one folder there, the transport's: ``venv`` (the environment), ``bundles``
and ``bin`` beside the files the transport keeps.
"""

from profiler.boards.look import Board, look_at, refuse_unfit
from profiler.boards.setup import Installed, OnBoard, clean, prove, set_up

__all__ = ["Board", "Installed", "OnBoard", "clean", "look_at", "prove", "refuse_unfit", "set_up"]
