"""The trajectory of one transition of the No-U-Turn sampler, one leapfrog step at a time.

A function that builds a whole trajectory makes lanes that are mapped side by side wait for the longest trajectory of
each transition. Here a step is the unit, and a lane that has ended its trajectory begins the next one at once. The
algorithm is the iterative one of NumPyro's `build_tree`, with the same random numbers: a test compares the two.

Source:
    Hoffman & Gelman 2014, arXiv:1111.4246; Betancourt 2017, arXiv:1701.02434, appendix A: multinomial weights, and a
    criterion for U-turns of the sum of the momenta. Phan, Pradhan & Jankowiak 2019, arXiv:1912.11554: iterative form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

# A trajectory whose energy rises by more is divergent.
DIVERGENT = 1000.0

# From a position, shape (n,), to the potential energy and its gradient.
Potential = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
Values = TypeVar("Values", bound=Any)


class Point(NamedTuple):
    """An end of a trajectory: position, momentum, and gradient of the potential energy, each of shape (n,)."""

    w: jax.Array
    momentum: jax.Array
    gradient: jax.Array


class Proposal(NamedTuple):
    """A position that the transition may end at.

    Attributes:
        energy, gradient: of the potential, there.
        total: potential and kinetic energy.
    """

    w: jax.Array
    energy: jax.Array
    gradient: jax.Array
    total: jax.Array


class Branch(NamedTuple):
    """A part of a trajectory.

    Attributes:
        proposal: one of its points, drawn by their weights.
        weight: logarithm of the sum of the weights exp(−energy) of its points, relative to the start's.
        momentum: sum of the momenta of its points.
        acceptance: sum of the Metropolis probabilities of its leapfrog steps.
        steps: their number.
        turning: whether it, or a part of it, has made a U-turn.
        diverging: whether its energy has risen without bound.
    """

    proposal: Proposal
    weight: jax.Array
    momentum: jax.Array
    acceptance: jax.Array
    steps: jax.Array
    turning: jax.Array
    diverging: jax.Array


class Growth(NamedTuple):
    """The branch that grows at one end, until it has as many steps as the trajectory or must end.

    Attributes:
        forward: whether it grows forward in time.
        tip: its outer end.
        momenta, sums: for each level, shape (depth, n), momentum and sum of momenta at the start of the last subtree
            of that level, for the detection of U-turns inside the branch.
        key: random key of its next step.
        key_merge: random key of its merger.
    """

    branch: Branch
    forward: jax.Array
    tip: Point
    momenta: jax.Array
    sums: jax.Array
    key: jax.Array
    key_merge: jax.Array


class Tree(NamedTuple):
    """A trajectory.

    Attributes:
        left, right: its ends.
        branch: everything but the growing branch.
        depth: number of its doublings.
        start: total energy at its start.
        key: random key of its next doubling.
    """

    left: Point
    right: Point
    branch: Branch
    depth: jax.Array
    start: jax.Array
    key: jax.Array
    growth: Growth


class Integrator(NamedTuple):
    """The leapfrog integrator.

    Attributes:
        inverse_mass: inverse mass matrix, shape (n, n), or its diagonal, shape (n,).
    """

    potential: Potential
    step_size: jax.Array
    inverse_mass: jax.Array

    def velocity(self, momentum: jax.Array) -> jax.Array:
        """The velocity of one momentum or of several, shape (..., n)."""
        return self.inverse_mass * momentum if self.inverse_mass.ndim == 1 else momentum @ self.inverse_mass

    def kinetic(self, momentum: jax.Array) -> jax.Array:
        """The kinetic energy."""
        return 0.5 * jnp.dot(self.velocity(momentum), momentum)

    def turning(self, left: jax.Array, right: jax.Array, momentum: jax.Array) -> jax.Array:
        """Whether a trajectory turns back, from the momenta at its ends and their sum over all points, (..., n)."""
        within = momentum - (left + right) / 2
        at_left, at_right = (jnp.sum(self.velocity(end) * within, axis=-1) for end in (left, right))
        return (at_left <= 0) | (at_right <= 0)


def plant(integrator: Integrator, start: Point, energy: jax.Array, key: jax.Array, max_depth: int) -> Tree:
    """A trajectory of one point, with a branch of no steps."""
    total = energy + integrator.kinetic(start.momentum)
    branch = _empty(Proposal(start.w, energy, start.gradient, total))._replace(momentum=start.momentum)
    levels = jnp.zeros((max_depth, start.w.size), start.w.dtype)
    key, growth = _sprout(key, branch.proposal, start, start, levels)
    return Tree(start, start, branch, jnp.int32(0), total, key, growth)


def grow(integrator: Integrator, tree: Tree) -> Tree:
    """With one more leapfrog step; a branch that is complete joins the trajectory, and the next one begins."""
    tree = tree._replace(growth=_extended(integrator, tree.growth, tree.start))
    branch = tree.growth.branch
    complete = (branch.steps == 1 << tree.depth) | branch.turning | branch.diverging
    grown: Tree = jax.lax.cond(complete, lambda: _merged(integrator, tree), lambda: tree)
    return grown


def ended(tree: Tree) -> jax.Array:
    """Whether the trajectory has turned, diverged or reached its largest depth."""
    return tree.branch.turning | tree.branch.diverging | (tree.depth == len(tree.growth.sums))


def _empty(proposal: Proposal) -> Branch:
    zero = jnp.zeros((), proposal.energy.dtype)
    no = jnp.zeros((), bool)
    return Branch(proposal, zero, jnp.zeros_like(proposal.w), zero, jnp.int32(0), no, no)


def _sprout(
    key: jax.Array, proposal: Proposal, left: Point, right: Point, levels: jax.Array
) -> tuple[jax.Array, Growth]:
    """The key of the doubling after the next, and a branch of no steps at a random end."""
    key, key_direction, key_doubling = jax.random.split(key, 3)
    forward = jax.random.bernoulli(key_direction)
    key_steps, key_merge = jax.random.split(key_doubling)
    tip = _chosen(forward, right, left)
    return key, Growth(_empty(proposal), forward, tip, levels, levels, key_steps, key_merge)


def _extended(integrator: Integrator, growth: Growth, start: jax.Array) -> Growth:
    """The branch with one more step."""
    step = jnp.where(growth.forward, integrator.step_size, -integrator.step_size)
    tip, branch = growth.tip, growth.branch
    momentum = tip.momentum - 0.5 * step * tip.gradient
    w = tip.w + step * integrator.velocity(momentum)
    energy, gradient = integrator.potential(w)
    momentum = momentum - 0.5 * step * gradient
    total = energy + integrator.kinetic(momentum)
    # A step that ends in NaN is divergent.
    risen = jnp.where(jnp.isnan(total - start), jnp.inf, total - start)
    key, key_draw = jax.random.split(growth.key)
    first = branch.steps == 0
    take = jax.random.bernoulli(key_draw, jax.nn.sigmoid(-risen - branch.weight)) | first
    momenta, sums, turning = _turns(integrator, growth, momentum)
    branch = Branch(
        proposal=_chosen(take, Proposal(w, energy, gradient, total), branch.proposal),
        weight=jnp.where(first, -risen, jnp.logaddexp(branch.weight, -risen)),
        momentum=branch.momentum + momentum,
        acceptance=branch.acceptance + jnp.minimum(jnp.exp(-risen), 1.0),
        steps=branch.steps + 1,
        turning=turning,
        diverging=risen > DIVERGENT,
    )
    tip = Point(w, momentum, gradient)
    return growth._replace(branch=branch, tip=tip, momenta=momenta, sums=sums, key=key)


def _turns(integrator: Integrator, growth: Growth, momentum: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The branch's checkpoints after a step to this momentum, and whether a subtree that ends there has turned.

    Step s ends one subtree per trailing 1 of the binary form of s. That of level i began at the last step whose number
    has i ones before its last digit, which is even: its momentum is in row i.
    """
    number = growth.branch.steps
    row = jax.lax.population_count(number >> 1)
    ending = jax.lax.population_count((~number & (number + 1)) - 1)
    total = growth.branch.momentum + momentum
    even = number % 2 == 0
    level = jnp.arange(len(growth.sums))
    here = (even & (level == row))[:, None]
    momenta, sums = jnp.where(here, momentum, growth.momenta), jnp.where(here, total, growth.sums)
    turned = integrator.turning(momenta, momentum, total - sums + momenta)
    return momenta, sums, jnp.any(turned & (level <= row) & (level > row - ending))


def _merged(integrator: Integrator, tree: Tree) -> Tree:
    """The trajectory with the complete branch, and a new branch of no steps."""
    old, growth = tree.branch, tree.growth
    new = growth.branch
    left, right = _chosen(growth.forward, (tree.left, growth.tip), (growth.tip, tree.right))
    momentum = old.momentum + new.momentum
    # Progressive sampling prefers the new half.
    chance = jnp.where(new.turning | new.diverging, 0.0, jnp.minimum(jnp.exp(new.weight - old.weight), 1.0))
    branch = Branch(
        proposal=_chosen(jax.random.bernoulli(growth.key_merge, chance), new.proposal, old.proposal),
        weight=jnp.logaddexp(old.weight, new.weight),
        momentum=momentum,
        acceptance=old.acceptance + new.acceptance,
        steps=old.steps + new.steps,
        turning=new.turning | integrator.turning(left.momentum, right.momentum, momentum),
        diverging=new.diverging,
    )
    key, sprout = _sprout(tree.key, branch.proposal, left, right, jnp.zeros_like(growth.sums))
    return Tree(left, right, branch, tree.depth + 1, tree.start, key, sprout)


def _chosen(condition: jax.Array, one: Values, other: Values) -> Values:
    found: Values = jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
    return found
