"""The modulated layer of StyleGAN2 as one autograd node, and what it is made of."""
