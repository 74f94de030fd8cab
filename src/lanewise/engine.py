"""The engine: a chunk's realizations as lanes of one compiled program.

Lanes run in blocks of the plan's width, the last block padded, so one program serves every chunk of the campaign.
Each lane has its own key, data and status; what stops one stops that one alone. Where the device has no room for the
width, half of it goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise import checkpoints, device, information, interrupts, keys, limits, methods, problems, program
from lanewise.errors import ChunkImpossible, DataError
from lanewise.lanes import LaneStatus
from lanewise.problems.base import Observation
from lanewise.progress import Reporter, Silent
from lanewise.results import Diagnostics, Result, judge_draws
from lanewise.rounds import Rounds, joined

if TYPE_CHECKING:
    from lanewise.checkpoints import Keeper, Saved
    from lanewise.manifest import Manifest
    from lanewise.methods.base import Method
    from lanewise.plan import Chunk, Plan, Realization
    from lanewise.problems.base import Problem


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


class Engine:
    """Computes chunks of one campaign.

    Args:
        observe, problem: in place of the family's own: data that come from elsewhere, a posterior of the caller's.
        side_by_side: map the lanes as an accelerator does, whatever is here.
        retry: enters the keys; 0 for first runs and all that go on from them.

    Attributes:
        method: what runs on each lane.

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
        side_by_side: bool = False,
        retry: int = 0,
    ) -> None:
        self._manifest, self._settings, self._planned, self._retry = manifest, plan.settings, plan.width, retry
        config = manifest.config
        sequential = device.prepare(manifest.resources.device, config.inference.precision) and not side_by_side
        family = problems.lane_family(manifest.kind)
        self._observe = observe or (lambda realization: family.observe(config, realization.member))
        self.method: Method[Any] = methods.build(config.method, config.settings)
        if problem is None:
            self._problem, self._program = program.of_family(manifest.kind, config, sequential)
        else:
            self._problem, self._program = problem, program.build(self.method, problem, sequential=sequential)
        # Narrower where this kind of device is known to have no room for the plan's.
        self._width = min(plan.width, limits.find(plan.settings) or plan.width)
        self._widths: list[int] = []

    @property
    def made(self) -> Mapping[str, Any]:
        """Lanes in flight as the plan has them, and as the blocks of the last chunk had them."""
        return {"width": {"planned": self._planned, "used": list(self._widths)}}

    def run(self, chunk: Chunk, progress: Reporter | None = None, keeper: Keeper | None = None) -> list[Result]:
        """Compute a chunk; one result per realization, in order. A realization's failure is in its result.

        Args:
            keeper: of the chunk's checkpoints; what it has loaded is not computed again.

        Raises:
            ChunkImpossible: the device has no room for a single lane.
        """
        progress = progress or Silent()
        observed = [self._look(realization) for realization in chunk.realizations]
        ready = [index for index, one in enumerate(observed) if isinstance(one, Observation)]
        found = {index: one for index, one in enumerate(observed) if isinstance(one, Result)}
        units = [(index, unit) for index in ready for unit in range(self.method.units)]
        lanes: dict[tuple[int, int], _Lane] = {}
        self._widths = []
        before = told = 0
        while len(lanes) < len(units):
            first = len(lanes)
            width = self._resume_width(first, keeper)
            block = units[first : first + width]
            total = before + -(-(len(units) - first) // width) * self.method.rounds
            if total != told:
                progress.begin(f"chunk {chunk.index}", total)
                told = total
            rounds = Rounds(first, before, total, progress, keeper)
            fitted = self._fitted(chunk, observed, block, width, rounds)
            if fitted is None:
                self._halve(chunk, first, width, progress, keeper)
                continue
            lanes |= fitted
            before += self.method.rounds
            if width not in self._widths:
                self._widths.append(width)
        for index in ready:
            own = [lanes[index, unit] for unit in range(self.method.units)]
            found[index] = self._combine(chunk.realizations[index], observed[index], own)
        return [found[index] for index in range(len(observed))]

    def footprint(self, chunk: Chunk, width: int | None = None) -> tuple[int, int] | None:
        """Memory of a block of lanes and of the records of one round [bytes], as compiled; nothing is run.

        Args:
            width: the plan's, if none is given.

        Returns:
            None if none of the chunk's data can be made.
        """
        import jax

        width = width or self._planned
        observed: list[Observation | Result] = []
        for realization in chunk.realizations:
            observed.append(self._look(realization))
            if isinstance(observed[-1], Observation):
                inputs = self._inputs(chunk, observed, [(len(observed) - 1, 0)], 1)
                shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape[1:]), leaf.dtype), inputs)
                return program.footprint(self._program, shapes)
        return None

    def rehearsal(self, chunk: Chunk) -> Callable[[], None]:
        """The first round of a full block, with the chunk's lanes over and over, to be timed.

        Raises:
            DataError: none of the chunk's data can be made.
        """
        import jax

        observed = [self._look(realization) for realization in chunk.realizations[: self._planned]]
        ready = [index for index, one in enumerate(observed) if isinstance(one, Observation)]
        if not ready:
            raise DataError(f"chunk {chunk.index}: {observed[0].reason if isinstance(observed[0], Result) else ''}")
        units = itertools.cycle((index, unit) for index in ready for unit in range(self.method.units))
        inputs = self._inputs(chunk, observed, list(itertools.islice(units, self._planned)), self._planned)

        def once() -> None:
            jax.block_until_ready(self._program.advance(self._program.init(*inputs), inputs[1]))

        return once

    def _resume_width(self, first: int, keeper: Keeper | None) -> int:
        """Lanes of the block that begins at this one: as many as a checkpoint has, if it has the block."""
        if keeper is None or (saved := keeper.blocks.get(first)) is None:
            return self._width
        width: int = saved.state[0].shape[0]
        if width > self._width and saved.rounds < self.method.rounds:
            del keeper.blocks[first]
            return self._width
        # The process before this one may have learnt what this one does not know.
        self._width = min(self._width, width)
        return width

    def _fitted(
        self,
        chunk: Chunk,
        observed: Sequence[Observation | Result],
        block: Sequence[tuple[int, int]],
        width: int,
        rounds: Rounds,
    ) -> dict[tuple[int, int], _Lane] | None:
        """A block's lanes; None if there is no room for them. What was in memory is free once this has returned."""
        try:
            return self._run_block(chunk, observed, block, width, rounds)
        except Exception as error:
            if program.out_of_memory(error):
                return None
            raise

    def _halve(self, chunk: Chunk, first: int, width: int, progress: Reporter, keeper: Keeper | None) -> None:
        """Go on with half the lanes, and have later runs on this kind of device begin there."""
        if width == 1:
            raise ChunkImpossible(
                f"chunk {chunk.index}: the device has no room for a single lane; choose a device with more memory, or "
                "make the problem smaller: the stamp, image.padding, the draws per round"
            )
        if keeper:
            keeper.blocks.pop(first, None)
        self._width = width // 2
        limits.record(self._settings, self._width)
        text = f"chunk {chunk.index}: no room for {width} lanes, goes on with {self._width}; recorded for this device"
        progress.say("memory", text, chunk=chunk.index, width=self._width, planned=self._planned)

    def _look(self, realization: Realization) -> Observation | Result:
        """The realization's observation, or its result if there is nothing to infer from."""
        interrupts.stop_here()
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
        width: int,
        rounds: Rounds,
    ) -> dict[tuple[int, int], _Lane]:
        import jax

        state, records = self._advance(self._inputs(chunk, observed, block, width), rounds)
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
        self, chunk: Chunk, observed: Sequence[Observation | Result], block: Sequence[tuple[int, int]], width: int
    ) -> tuple[Any, Any, Any]:
        """Keys, data and activity of a block's lanes."""
        import jax.numpy as jnp

        # Padding repeats the first lane and is never active: it costs nothing where lanes run one by one.
        padded = [*block, *[block[0]] * (width - len(block))]
        active = jnp.arange(width) < len(block)
        config = self._manifest.config
        dtype = config.inference.precision
        prepared = {index: self._problem.prepare(_data(observed[index])) for index, _ in block}
        data = {
            name: jnp.asarray(np.stack([prepared[index][name] for index, _ in padded]), dtype)
            for name in prepared[block[0][0]]
        }
        seeds = [(chunk.realizations[index].member.seed, unit) for index, unit in padded]
        root, purpose = config.inference.rng_seed, keys.Purpose.INFERENCE
        lane_keys = jnp.stack([keys.lane_key(root, seed, purpose, unit, self._retry) for seed, unit in seeds])
        return lane_keys, data, active

    def _advance(self, inputs: tuple[Any, Any, Any], rounds: Rounds) -> tuple[tuple[Any, Any], dict[str, np.ndarray]]:
        """The lanes' state and data after their last round, and the records of all rounds."""
        _, data, _ = inputs
        state, first, parts = self._begin(inputs, rounds.saved)
        for number in range(first, self.method.rounds):
            rounds.pause(number, state, parts)
            rounds.step(number, "compiling and running" if number == first else "")
            if not np.any(np.asarray(state.status) == LaneStatus.RUNNING):
                break
            state, records = self._program.advance(state, data)
            parts.append({name: np.asarray(array) for name, array in records.items()})
        records = joined(parts)
        rounds.end(self.method.rounds, state, records)
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
        if self.method.sampler:
            (result,) = judge_draws([self._with_draws(result, lanes)], self._manifest.convergence)
        else:
            result = self._with_point(result, lanes[0])
        data = self._problem.prepare(_data(observed))
        flaw = max(float(self._program.flaw(lane.centre, data)) for lane in lanes)
        if flaw > 1:
            error = f"The fit ended where the fast model's error is {flaw:.2g} times what is tolerable"
            reason = f"{error}; {self._problem.remedy}."
            return replace(result, status=LaneStatus.FAILED, reason=reason)
        return information.judge(result, self._problem.prior_widths)

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


def _data(observed: Observation | Result) -> Any:
    assert isinstance(observed, Observation)
    return observed.data
