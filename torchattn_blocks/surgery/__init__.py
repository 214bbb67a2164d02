"""Layers in networks that are already there: insert, replace, list, undo.

`edit` changes networks, `listing` lists the changes, `channels` reads the sizes that new layers
need.
"""
