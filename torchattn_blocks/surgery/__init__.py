"""Layers in existing networks: insert, replace, list, undo.

`edit` changes networks, `listing` lists the changes, `channels` reads the sizes that new layers
need.
"""
