"""A repair of RLlib 2.60's multi-agent episodes, without which agents that take turns cannot learn off-policy."""

from __future__ import annotations

from typing import Any

from ray.rllib.env.multi_agent_episode import MultiAgentEpisode


def repair_cuts() -> None:
    """Have ``MultiAgentEpisode.cut`` leave no reward to agents that have not acted; call it where episodes are made.

    With ``batch_mode="truncate_episodes"``, an episode goes on in a successor. RLlib notes there a reward of 0, still
    to be completed, for every agent without an observation in the steps that it looks back to, whether it has acted or
    not. If such an agent then acts twice in a row, that note outlives its action, and a replay buffer that joins the
    pieces ends with ``KeyError: '<agent>'``. RLlib's own turn-based examples never let an agent act twice in a row.
    """
    if getattr(MultiAgentEpisode.cut, "leaves_no_reward_without_action", False):
        return
    original = MultiAgentEpisode.cut

    def cut(self: MultiAgentEpisode, len_lookback_buffer: int = 0) -> MultiAgentEpisode:
        successor: Any = original(self, len_lookback_buffer)
        for agent in set(successor._hanging_rewards_end) - set(successor._hanging_actions_end):
            del successor._hanging_rewards_end[agent]
        return successor

    cut.leaves_no_reward_without_action = True  # type: ignore[attr-defined]
    MultiAgentEpisode.cut = cut
