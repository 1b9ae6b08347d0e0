"""Networks and renderers in plain torch, which plugins take as parts.

A generator like EG3D or PanoHead inherits from `eg3d.generator.TriplaneGenerator` or
`eg3d.trigrid.TrigridGenerator` and says how it's built; one with another volume replaces `field`.
Any other takes what it needs:

- `stylegan2`: `MappingNetwork` and `SynthesisNetwork`, the backbone;
- `modulated`: `modulated_layer`, a layer of it as one node, with the fastest convolution;
- `planes`: `sample_planes`, the features of planes and grids at points; `Decoder`, features to
  density and colour; `decode_planes`, both of them at once, which is faster;
- `volume`: `Rays` through a `Field`, sampled and composited as `March` says (`render_chunked`);
- `superresolution`: `Superresolution`, rendered features to the final image;
- `raymarch`: rays through planes on NVIDIA GPUs, by programs that Triton compiles; `trial`: where
  such programs may run, and whether they find what plain torch finds; `launch`: what that takes;
- `precision`: `run_in`, a network in the precision of its generator.
"""
