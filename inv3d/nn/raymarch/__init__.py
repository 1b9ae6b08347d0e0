"""Rays through planes on a GPU, in one Triton program a tile of rays.

- `field`: `PlaneField`, what a generator's `field` returns; it decides who renders;
- `proof`: tries the programs against plain torch before they're used;
- `node`: the node of the graph; the only one that imports `programs`, and Triton with it;
- `plain`: the same functions in plain torch;
- `planes`: what both are given; `scatter`: gradients to planes, the same bits every time.
"""
