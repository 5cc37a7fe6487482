"""Run and time any artifact on any device, and keep every raw sample. Never imports torch.

The names are those of ``__init__.pyi``; a module is imported when a name of it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
