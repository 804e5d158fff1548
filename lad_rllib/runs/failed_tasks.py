"""How many tasks of a live training ended in an error, and when that is too many to call it well."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pandas as pd

from lad_rllib import names

WARNING_SHARE = 0.05
"""Share of failed tasks above which a warning is given."""

FAILURE_SHARE = 0.5
"""Share above which the command reports failure: what was learned is mostly of errors, not of delays."""


@dataclass(frozen=True)
class FailedTasks:
    """Tasks of a run on edge servers.

    Attributes:
        ended: All that ended, with an image or an error; 0 for a run in the simulator.
        failed: Those that ended in an error.
    """

    ended: int = 0
    failed: int = 0

    @classmethod
    def of(cls, progress: pd.DataFrame) -> FailedTasks:
        """Those of all rows of a ``progress.csv``."""
        if names.FAILED_TASKS not in progress:
            return cls()
        return cls(int(progress[names.ENDED_TASKS].sum()), int(progress[names.FAILED_TASKS].sum()))

    @property
    def share(self) -> float:
        """Failed over ended.

        >>> FailedTasks(160, 120).share
        0.75
        """
        return self.failed / self.ended if self.ended else 0.0

    @property
    def are_most(self) -> bool:
        """Whether more tasks failed than a run that went well may have."""
        return self.share > FAILURE_SHARE

    def report(self, *, quiet: bool = False) -> None:
        """Print the number, and a warning on standard error if it is too high; nothing of a run in the simulator."""
        told = f"{self.failed} of {self.ended} tasks failed"
        if self.share > WARNING_SHARE:
            print(
                f"warning: {told} ({self.share:.0%}), each counted with failure_delay_s instead of a delay; "
                "'lad-rllib fleet status' shows how the servers are",
                file=sys.stderr,
            )
        elif self.ended and not quiet:
            print(f"tasks:      {told}")
