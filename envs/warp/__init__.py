"""MuJoCo Warp behind the same robots: batches on a GPU (or, for tests, on the CPU), with torch tensors in and out.

Nothing here is imported before an env with `backend="warp"` is made; the extra `warp` installs what it needs.
"""
