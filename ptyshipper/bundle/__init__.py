"""The program as one static file that runs in any image, also in an empty one.

``launcher.c`` starts the wrapper from a tree of its own files and shows it nothing of the image.
``installer.c`` puts launcher and tree into a directory; ``archive.c`` reads the tree that ``pack``
puts behind it, ``tree.c`` copies, checks and removes trees. ``compile`` builds both programs.
"""
