"""pgcourse — the companion package of the course on policy gradients.

One module a chapter, in the order of `CHAPTERS`; each imports only modules before it, and
`arguments`, which says what an argument must be. The wings (`environments`, `experiments`,
`plotting`, `checks`) import chapters and are never imported by them.
"""

CHAPTERS = (
    "start",
    "mdp",
    "policies",
    "score_function",
    "policy_gradient",
    "trajectories",
    "pseudo_loss",
    "returns",
)
"""Stems in the order of the book: `book/01_mdp.md` is chapter `CHAPTERS.index("mdp")`."""

__version__ = "0.1.0"
