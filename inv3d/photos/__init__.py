"""From photographs and videos to a capture: frames, cameras, mattes, and a page that shows them."""
