"""Networks in the files of others: reading them as data, and telling what they are."""

from inv3d.nn.eg3d.official.network import Network, NoNetworkError, read_network
from inv3d.nn.eg3d.official.recognise import Recognised, recognise

__all__ = ["Network", "NoNetworkError", "Recognised", "read_network", "recognise"]
