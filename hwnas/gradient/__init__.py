"""Searches by gradients of the choices themselves, on a SuperTransformer whose choices are soft."""
