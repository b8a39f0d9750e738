"""The program as one static file that runs in any image, also in an empty one.

``launcher.c`` starts the wrapper from a tree of its own files and shows it nothing of the image.
``installer.c`` puts launcher and tree into a directory. Both share ``common.c``; ``compile`` builds
them.
"""
