"""What all algorithms with a latent-action actor share: acting, memory, replay, policies, RLlib adapters."""
