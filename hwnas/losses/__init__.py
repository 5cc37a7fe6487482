"""Losses that make a differentiable search pay for latency; each is ``(task_loss, expected_ms) -> loss``.

Import them from the file of their family: :mod:`proxyless`, :mod:`fbnet`, :mod:`mnasnet`, :mod:`weighted`; in
:mod:`constraint` is what is no penalty but ends at the target.
"""
