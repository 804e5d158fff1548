"""What makes an edge server's images: emulated devices, and any diffusers pipeline."""
