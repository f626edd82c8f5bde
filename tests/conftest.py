"""What every test needs before anything is imported."""

import os

# A loaded machine takes longer than Ray's 30 s to start a node.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
