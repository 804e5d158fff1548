"""LAD-Dispatch: latent action diffusion, policy mirror descent on exact marginal costs, request by request."""
