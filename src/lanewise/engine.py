"""The engine: a chunk's realizations as lanes of one compiled program.

Lanes run in blocks of the plan's width, the last block padded, so one program serves every chunk of the campaign.
Each lane has its own key, data and status; what stops one stops that one alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise import checkpoints, device, keys, methods, problems
from lanewise.checkpoints import Keeper, Saved
from lanewise.errors import ChunkImpossible
from lanewise.lanes import LaneStatus, over_lanes
from lanewise.problems.base import Observation
from lanewise.progress import Reporter, Silent
from lanewise.results import Diagnostics, Result, judge_draws

if TYPE_CHECKING:
    import jax

    from lanewise.manifest import Manifest
    from lanewise.methods.base import Method
    from lanewise.plan import Chunk, Plan, Realization
    from lanewise.problems.base import Problem


@dataclass(frozen=True)
class _Program:
    """The method on lanes, compiled once; `data` is a dict of arrays with a leading lane axis."""

    init: Callable[..., Any]
    advance: Callable[..., Any]
    finish: Callable[..., Any]
    constrain: Callable[..., Any]
    flaw: Callable[..., Any]


@dataclass(frozen=True)
class _Lane:
    """A lane's records after its last round: arrays per name, and what describes it as a whole."""

    status: LaneStatus
    records: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]

    @property
    def centre(self) -> np.ndarray:
        """The position that stands for the lane: its mode, or the mean of its draws."""
        if "position" in self.whole:
            return self.whole["position"]
        mean: np.ndarray = self.records["position"][self.records["keep"]].mean(axis=0)
        return mean


@dataclass(frozen=True)
class _Rounds:
    """Where a block stands among its chunk's rounds, and who is told.

    Attributes:
        number: of the block.
        before, total: rounds of the chunk, before this block and in all.
    """

    number: int
    before: int
    total: int
    progress: Reporter
    keeper: Keeper | None

    @property
    def saved(self) -> Saved | None:
        """What a checkpoint has of this block."""
        return self.keeper.blocks.get(self.number) if self.keeper else None

    def step(self, done: int, note: str = "") -> None:
        """Report `done` rounds of this block."""
        self.progress.step(self.before + done, note)

    def keep(self, done: int, state: Any, parts: Sequence[dict[str, np.ndarray]]) -> None:
        """Write a checkpoint if it is time."""
        if self.keeper and self.keeper.due(self.before + done, self.total):
            self.keeper.blocks[self.number] = checkpoints.snapshot(done, state, _joined(parts))
            self.keeper.save()

    def end(self, done: int, state: Any, records: Mapping[str, np.ndarray]) -> None:
        """Report the block's end, and have it in the checkpoints of the blocks after it."""
        self.step(done)
        if self.keeper:
            self.keeper.blocks[self.number] = checkpoints.snapshot(done, state, records)


class Engine:
    """Computes chunks of one campaign.

    Args:
        observe, problem: in place of the family's own: data that come from elsewhere, a posterior of the caller's.

    Raises:
        MachineError: this machine lacks the device that the manifest requires.
    """

    def __init__(
        self,
        manifest: Manifest,
        plan: Plan,
        *,
        observe: Callable[[Realization], Observation] | None = None,
        problem: Problem | None = None,
    ) -> None:
        self._manifest, self._width = manifest, plan.width
        config = manifest.config
        sequential = device.prepare(manifest.resources.device, config.inference.precision)
        family = problems.lane_family(manifest.kind)
        self._observe = observe or (lambda realization: family.observe(config, realization.member))
        self._method: Method[Any] = methods.build(config.method, config.settings)
        if problem is None:
            self._problem, self._program = _family_program(manifest.kind, config, sequential)
        else:
            self._problem, self._program = problem, _compile(self._method, problem, sequential=sequential)

    def run(self, chunk: Chunk, progress: Reporter | None = None, keeper: Keeper | None = None) -> list[Result]:
        """Compute a chunk; one result per realization, in order. A realization's failure is in its result.

        Args:
            keeper: of the chunk's checkpoints; what it has loaded is not computed again.
        """
        progress = progress or Silent()
        observed = [self._look(realization) for realization in chunk.realizations]
        ready = [index for index, one in enumerate(observed) if isinstance(one, Observation)]
        found = {index: one for index, one in enumerate(observed) if isinstance(one, Result)}
        units = [(index, unit) for index in ready for unit in range(self._method.units)]
        lanes: dict[tuple[int, int], _Lane] = {}
        blocks = [units[at : at + self._width] for at in range(0, len(units), self._width)]
        progress.begin(f"chunk {chunk.index}", len(blocks) * self._method.rounds)
        for number, block in enumerate(blocks):
            rounds = _Rounds(number, number * self._method.rounds, len(blocks) * self._method.rounds, progress, keeper)
            with _memory(chunk, self._width):
                lanes |= self._run_block(chunk, observed, block, rounds)
        for index in ready:
            own = [lanes[index, unit] for unit in range(self._method.units)]
            found[index] = self._combine(chunk.realizations[index], observed[index], own)
        return [found[index] for index in range(len(observed))]

    def _look(self, realization: Realization) -> Observation | Result:
        """The realization's observation, or its result if there is nothing to infer from."""
        try:
            observation = self._observe(realization)
        except Exception as error:  # the border where one realization's failure becomes its record
            reason = f"{LaneStatus.FAILED.sentence} {type(error).__name__}: {error}"
            return self._blank(realization, LaneStatus.FAILED, reason, realization.member.truth)
        bad = {name: int(np.sum(~np.isfinite(array))) for name, array in observation.data.items()}
        if any(bad.values()):
            what = ", ".join(
                f"{count} of {observation.data[name].size} values of {name}" for name, count in bad.items() if count
            )
            reason = f"Not finite: {what}; nothing was inferred."
            return self._blank(realization, LaneStatus.NON_FINITE, reason, observation.truth)
        return observation

    def _blank(self, realization: Realization, status: LaneStatus, reason: str, truth: Mapping[str, float]) -> Result:
        """A result without draws."""
        seed, method = realization.member.seed, self._manifest.config.method
        return Result(realization.run_id, seed, status, reason, method, truth)

    def _run_block(
        self,
        chunk: Chunk,
        observed: Sequence[Observation | Result],
        block: Sequence[tuple[int, int]],
        rounds: _Rounds,
    ) -> dict[tuple[int, int], _Lane]:
        import jax

        state, records = self._advance(self._inputs(chunk, observed, block), rounds)
        status, whole = jax.device_get(self._program.finish(*state))
        if "position" in records:
            records["latents"] = np.asarray(self._program.constrain(records["position"]))
        if "position" in whole:
            whole["latents"] = np.asarray(self._program.constrain(whole["position"][:, None]))
        return {
            unit: _Lane(
                LaneStatus(int(status[at])),
                {name: array[at] for name, array in records.items()},
                {name: array[at] for name, array in whole.items()},
            )
            for at, unit in enumerate(block)
        }

    def _inputs(
        self, chunk: Chunk, observed: Sequence[Observation | Result], block: Sequence[tuple[int, int]]
    ) -> tuple[Any, Any, Any]:
        """Keys, data and activity of a block's lanes."""
        import jax.numpy as jnp

        # Padding repeats the first lane and is never active: it costs nothing where lanes run one by one.
        padded = [*block, *[block[0]] * (self._width - len(block))]
        active = jnp.arange(self._width) < len(block)
        config = self._manifest.config
        dtype = config.inference.precision
        prepared = {index: self._problem.prepare(_data(observed[index])) for index, _ in block}
        data = {
            name: jnp.asarray(np.stack([prepared[index][name] for index, _ in padded]), dtype)
            for name in prepared[block[0][0]]
        }
        seeds = [(chunk.realizations[index].member.seed, unit) for index, unit in padded]
        lane_keys = jnp.stack(
            [keys.lane_key(config.inference.rng_seed, seed, keys.Purpose.INFERENCE, unit) for seed, unit in seeds]
        )
        return lane_keys, data, active

    def _advance(self, inputs: tuple[Any, Any, Any], rounds: _Rounds) -> tuple[tuple[Any, Any], dict[str, np.ndarray]]:
        """The lanes' state and data after their last round, and the records of all rounds."""
        _, data, _ = inputs
        state, first, parts = self._begin(inputs, rounds.saved)
        for number in range(first, self._method.rounds):
            rounds.step(number, "compiling and running" if number == first else "")
            if not np.any(np.asarray(state.status) == LaneStatus.RUNNING):
                break
            state, records = self._program.advance(state, data)
            parts.append({name: np.asarray(array) for name, array in records.items()})
            rounds.keep(number + 1, state, parts)
        records = _joined(parts)
        rounds.end(self._method.rounds, state, records)
        return (state, data), records

    def _begin(self, inputs: tuple[Any, Any, Any], saved: Saved | None) -> tuple[Any, int, list[dict[str, np.ndarray]]]:
        """A block's state, its rounds done and their records: from a checkpoint if there is one."""
        if saved is None:
            return self._program.init(*inputs), 0, []
        state = checkpoints.restored(self._program.init, inputs, saved.state)
        return state, saved.rounds, [dict(saved.records)] if saved.rounds else []

    def _combine(self, realization: Realization, observed: Observation | Result, lanes: Sequence[_Lane]) -> Result:
        """One realization's result from its lanes."""
        worst = max(lane.status for lane in lanes)
        reason = "" if worst is LaneStatus.OK else worst.sentence
        result = self._blank(realization, worst, reason, observed.truth)
        if worst >= LaneStatus.NON_FINITE:
            return result
        if self._method.sampler:
            (result,) = judge_draws([self._with_draws(result, lanes)], self._manifest.convergence)
        else:
            result = self._with_point(result, lanes[0])
        data = self._problem.prepare(_data(observed))
        flaw = max(float(self._program.flaw(lane.centre, data)) for lane in lanes)
        if flaw > 1:
            error = f"The fit ended where the fast model's error is {flaw:.2g} times what is tolerable"
            reason = f"{error}; {self._problem.remedy}."
            return replace(result, status=LaneStatus.FAILED, reason=reason)
        return result

    def _with_draws(self, result: Result, lanes: Sequence[_Lane]) -> Result:
        kept = [
            {
                name: array[lane.records["keep"]]
                for name, array in lane.records.items()
                if name not in {"keep", "position"}
            }
            for lane in lanes
        ]
        chains = {name: np.stack([one[name] for one in kept]) for name in kept[0]}
        latents = chains.pop("latents").astype(np.float64)
        posterior = {name: latents[..., at] for at, name in enumerate(self._problem.names)}
        return replace(result, posterior=posterior, stats=chains)

    def _with_point(self, result: Result, lane: _Lane) -> Result:
        """A mode as one draw of one chain."""
        whole = dict(lane.whole)
        latents, widths = whole.pop("latents").astype(np.float64), whole.pop("laplace_std")
        del whole["position"]
        names = self._problem.names
        norm, positive = float(whole["gradient_norm"]), bool(whole["hessian_positive"])
        reason = result.reason
        if result.status is LaneStatus.NOT_CONVERGED:
            reason = f"Not converged: the gradient norm is {norm:.3g}" + (
                "." if positive else ", and the Hessian is not positive."
            )
        return replace(
            result,
            reason=reason,
            posterior={name: latents[:, at : at + 1] for at, name in enumerate(names)},
            stats={name: np.reshape(value, (1, 1)) for name, value in whole.items()},
            laplace_std={name: float(widths[at]) for at, name in enumerate(names) if np.isfinite(widths[at])},
            diagnostics=Diagnostics(gradient_norm=norm, hessian_positive=positive),
        )


@contextlib.contextmanager
def _memory(chunk: Chunk, width: int) -> Iterator[None]:
    """A device that runs out of memory will do so again on every machine of its kind."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        message = f"chunk {chunk.index}: the device ran out of memory with {width} lanes in flight; lower batch.width"
        raise ChunkImpossible(message) from error


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The records of all rounds, per name."""
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in (parts[0] if parts else {})}


@functools.lru_cache(maxsize=4)
def _family_program(kind: str, config: Any, sequential: bool) -> tuple[Problem, _Program]:
    """The program of a family's own posterior; campaigns of one config in one process share it."""
    problem = problems.lane_family(kind).problem(config)
    return problem, _compile(methods.build(config.method, config.settings), problem, sequential=sequential)


def _compile(method: Method[Any], problem: Problem, *, sequential: bool) -> _Program:
    """Map the method over lanes; a lane that has stopped, or was never active, is left as it is."""
    import jax
    import jax.numpy as jnp

    def init(key: jax.Array, data: Any, active: jax.Array) -> Any:
        state = method.init(problem, key, data)
        # Padding counts as done before it begins.
        return state._replace(status=jnp.where(active, state.status, jnp.int32(LaneStatus.OK)))

    def advance(state: Any, data: Any) -> Any:
        def rest(state: Any) -> Any:
            shapes = jax.eval_shape(lambda s: method.advance(problem, s, data), state)[1]
            return state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        running = state.status == LaneStatus.RUNNING
        return jax.lax.cond(running, lambda s: method.advance(problem, s, data), rest, state)

    def finish(state: Any, data: Any) -> Any:
        return method.finish(problem, state, data)

    return _Program(
        init=jax.jit(over_lanes(init, sequential=sequential)),
        advance=jax.jit(over_lanes(advance, sequential=sequential)),
        finish=jax.jit(over_lanes(finish, sequential=sequential)),
        constrain=jax.jit(jax.vmap(jax.vmap(problem.constrain))),
        flaw=jax.jit(problem.flaw),
    )


def _data(observed: Observation | Result) -> Any:
    assert isinstance(observed, Observation)
    return observed.data
