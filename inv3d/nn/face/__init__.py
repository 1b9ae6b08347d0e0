"""Faces in pictures: a detector, 468 landmarks and a matte, with embedded weights."""
