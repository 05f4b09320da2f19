"""Dictionaries that other libraries have trained: what their files say, a format a file.

`libraries.FORMATS` is the one table. No module here imports PyTorch, so the plan can look at files.
"""
