"""What a convener does: found a federation, edit its manifest, admit invitees.

Rule to keep: the federation key is read here and nowhere else, and never by the relay's process.
"""
