"""The engine: a chunk's realizations as lanes of one compiled program.

Lanes run in blocks of the plan's width, the last block padded, so one program serves every chunk of the campaign.
Each lane has its own key, data and status; what stops one stops that one alone. Where the device has no room for the
width, half of it goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanewise.engine import keys, programs, uninformative, widths
from lanewise.engine.convergence import Lane, assess
from lanewise.engine.programs import Stage
from lanewise.engine.results import Result
from lanewise.engine.rounds import Rounds, joined
from lanewise.errors import ChunkImpossible, DataError
from lanewise.machine import device, interrupts
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest import registry
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk, Plan, Realization
from lanewise.manifest.problem import Observation, Problem
from lanewise.manifest.protocols import Keeper, Saved
from lanewise.manifest.status import LaneStatus
from lanewise.storage import checkpoints


class Engine:
    """Computes chunks of one campaign.

    Args:
        observe, problem: in place of the family's own: data that come from elsewhere, a posterior of the caller's.
        side_by_side: map the lanes as an accelerator does, whatever is here.
        retry: enters the keys; 0 for first runs and all that go on from them.

    Attributes:
        stages: the methods, each for what the one before did not settle; one, unless the method is `auto`.

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
        config, lanes = manifest.config, registry.lanes(manifest.kind)
        self._inference = lanes.inference(config)
        sequential = device.prepare(manifest.resources.device, self._inference.precision) and not side_by_side
        self._observe = observe or (lambda realization: lanes.observe(config, realization.planned))
        self.stages: tuple[Stage, ...]
        if problem is None:
            self._problem, self.stages = programs.of_family(manifest.kind, config, sequential)
        else:
            self._problem = problem
            self.stages = programs.stages(self._inference, problem, sequential=sequential)
        # Narrower where this kind of device is known to have no room for the plan's.
        self._width = min(plan.width, widths.find(plan.settings) or plan.width)
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
        self._widths = []
        work = _Work(chunk, observed, progress, keeper)
        for number, stage in enumerate(self.stages):
            found |= self._run_stage(work, number, stage, ready)
            ready = [index for index in ready if not self._settled(found[index])]
            if not ready:
                break
        return [found[index] for index in range(len(observed))]

    def _settled(self, result: Result) -> bool:
        """Whether a realization needs no further stage: converged, and its weights, if it has any, can be believed."""
        if result.status in {LaneStatus.NOT_CONVERGED, LaneStatus.NON_FINITE}:
            return False
        khat = result.diagnostics.khat
        return khat is None or khat < self._inference.khat_max

    def _run_stage(self, work: _Work, number: int, stage: Stage, ready: Sequence[int]) -> dict[int, Result]:
        """Results of the realizations at these places of the chunk."""
        units = [(index, unit) for index in ready for unit in range(stage.method.units)]
        lanes: dict[tuple[int, int], Lane] = {}
        while len(lanes) < len(units):
            # Blocks are numbered by their first lane, through all stages.
            first = work.lanes_before + len(lanes)
            width = self._resume_width(stage, first, work.keeper)
            block = units[len(lanes) : len(lanes) + width]
            rounds = work.begin(first, -(-(len(units) - len(lanes)) // width) * stage.method.rounds)
            fitted = self._fitted(work, number, stage, block, width, rounds)
            if fitted is None:
                self._halve(work, first, width)
                continue
            lanes |= fitted
            work.rounds_before += stage.method.rounds
            if width not in self._widths:
                self._widths.append(width)
        work.lanes_before += len(units)
        return self._combine(
            work, stage, {index: [lanes[index, u] for u in range(stage.method.units)] for index in ready}
        )

    def footprint(self, chunk: Chunk, width: int | None = None) -> tuple[int, int] | None:
        """Memory of a block of lanes and of one realization's records [bytes], as compiled; nothing is run.

        Args:
            width: the plan's, if none is given.

        Returns:
            Of the stage that takes most; None if none of the chunk's data can be made.
        """
        import jax

        width = width or self._planned
        observed: list[Observation | Result] = []
        for realization in chunk.realizations:
            observed.append(self._look(realization))
            if isinstance(observed[-1], Observation):
                inputs = self._inputs(chunk, observed, [(len(observed) - 1, 0)], 1, keys.Purpose.INFERENCE)
                shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape[1:]), leaf.dtype), inputs)
                found = [(stage.method, *programs.footprint(stage.program, shapes)) for stage in self.stages]
                records = (method.units * method.rounds * of_round // width for method, _, of_round in found)
                return max(peak for _, peak, _ in found), max(records)
        return None

    def rehearsal(self, chunk: Chunk) -> Callable[[], None]:
        """The first round of a full block of the first stage, with the chunk's lanes over and over, to be timed.

        Raises:
            DataError: none of the chunk's data can be made.
        """
        import jax

        observed = [self._look(realization) for realization in chunk.realizations[: self._planned]]
        ready = [index for index, one in enumerate(observed) if isinstance(one, Observation)]
        if not ready:
            raise DataError(f"chunk {chunk.index}: {observed[0].reason if isinstance(observed[0], Result) else ''}")
        stage = self.stages[0]
        units = itertools.cycle((index, unit) for index in ready for unit in range(stage.method.units))
        block = list(itertools.islice(units, self._planned))
        inputs = self._inputs(chunk, observed, block, self._planned, keys.Purpose.INFERENCE)

        def once() -> None:
            jax.block_until_ready(stage.program.advance(stage.program.init(*inputs), inputs[1]))

        return once

    def _resume_width(self, stage: Stage, first: int, keeper: Keeper | None) -> int:
        """Lanes of the block that begins at this one: as many as a checkpoint has, if it has the block."""
        if keeper is None or (saved := keeper.blocks.get(first)) is None:
            return self._width
        width: int = saved.state[0].shape[0]
        if width > self._width and saved.rounds < stage.method.rounds:
            del keeper.blocks[first]
            return self._width
        # The process before this one may have learnt what this one does not know.
        self._width = min(self._width, width)
        return width

    def _fitted(
        self, work: _Work, number: int, stage: Stage, block: Sequence[tuple[int, int]], width: int, rounds: Rounds
    ) -> dict[tuple[int, int], Lane] | None:
        """A block's lanes; None if there is no room for them. What was in memory is free once this has returned."""

        def fit() -> dict[tuple[int, int], Lane]:
            purpose = keys.Purpose(keys.Purpose.INFERENCE + number)
            inputs = self._inputs(work.chunk, work.observed, block, width, purpose)
            return self._run_block(stage, inputs, block, rounds)

        return programs.within_memory(fit)

    def _halve(self, work: _Work, first: int, width: int) -> None:
        """Go on with half the lanes, and have later runs on this kind of device begin there."""
        chunk, keeper = work.chunk, work.keeper
        if width == 1:
            raise ChunkImpossible(
                f"chunk {chunk.index}: the device has no room for a single lane; choose a device with more memory, or "
                "make the problem smaller: the stamp, image.padding, the draws per round"
            )
        if keeper:
            keeper.blocks.pop(first, None)
        self._width = width // 2
        widths.record(self._settings, self._width)
        text = f"chunk {chunk.index}: no room for {width} lanes, goes on with {self._width}; recorded for this device"
        work.progress.say("memory", text, chunk=chunk.index, width=self._width, planned=self._planned)

    def _look(self, realization: Realization) -> Observation | Result:
        """The realization's observation, its data prepared; or its result if there is nothing to infer from."""
        interrupts.stop_here()
        try:
            observation = self._observe(realization)
        except Exception as error:  # the border where one realization's failure becomes its record
            reason = f"{LaneStatus.FAILED.sentence} {type(error).__name__}: {error}"
            return self._blank(realization, LaneStatus.FAILED, reason, realization.planned.truth)
        bad = {name: int(np.sum(~np.isfinite(array))) for name, array in observation.data.items()}
        if any(bad.values()):
            what = ", ".join(
                f"{count} of {observation.data[name].size} values of {name}" for name, count in bad.items() if count
            )
            reason = f"Not finite: {what}; nothing was inferred."
            return self._blank(realization, LaneStatus.NON_FINITE, reason, observation.truth)
        return replace(observation, data=self._problem.prepare(observation.data))

    def _blank(self, realization: Realization, status: LaneStatus, reason: str, truth: Mapping[str, float]) -> Result:
        """A result of a realization that no method has seen."""
        seed, method = realization.planned.seed, self._inference.method
        return Result(realization.run_id, seed, status, reason, method, truth)

    def _run_block(
        self, stage: Stage, inputs: tuple[Any, Any, Any], block: Sequence[tuple[int, int]], rounds: Rounds
    ) -> dict[tuple[int, int], Lane]:
        import jax

        state, records = self._advance(stage, inputs, rounds)
        status, whole = jax.device_get(stage.program.finish(*state))
        for values in (records, whole):
            if "position" in values:
                values["latents"] = np.asarray(stage.program.constrain(values["position"]))
        lanes = [
            Lane(
                LaneStatus(int(status[at])),
                {name: array[at] for name, array in records.items()},
                {name: array[at] for name, array in whole.items()},
            )
            for at in range(len(block))
        ]
        flaws = self._flaws(stage, inputs[1], lanes)
        return {unit: replace(lane, flaw=flaw) for unit, lane, flaw in zip(block, lanes, flaws, strict=True)}

    def _flaws(self, stage: Stage, data: Any, lanes: Sequence[Lane]) -> list[float]:
        """Of every lane of a block that came to an end; 0 of the others."""
        width = next(iter(data.values())).shape[0]
        centres = np.zeros((width, len(self._problem.names)), self._inference.precision)
        ended = np.zeros(width, bool)
        for at, lane in enumerate(lanes):
            if lane.status < LaneStatus.NON_FINITE:
                centres[at], ended[at] = lane.centre, True
        found: list[float] = np.asarray(stage.program.flaw(centres, data, ended)).tolist()
        return found[: len(lanes)]

    def _inputs(
        self,
        chunk: Chunk,
        observed: Sequence[Observation | Result],
        block: Sequence[tuple[int, int]],
        width: int,
        purpose: keys.Purpose,
    ) -> tuple[Any, Any, Any]:
        """Keys, data and activity of a block's lanes."""
        import jax

        # Padding repeats the first lane and is never active: it costs nothing where lanes run one by one.
        padded = [*block, *[block[0]] * (width - len(block))]
        dtype = self._inference.precision
        # Made on the host: each operation of JAX outside a program is a small program to compile.
        stacks = {
            name: np.stack([_data(observed[index])[name] for index, _ in padded]).astype(dtype)
            for name in _data(observed[block[0][0]])
        }
        data = {name: jax.device_put(stack) for name, stack in stacks.items()}
        active = jax.device_put(np.arange(width) < len(block))
        seeds = [chunk.realizations[index].planned.seed for index, _ in padded]
        units = [unit for _, unit in padded]
        return keys.lane_keys(self._inference.rng_seed, seeds, purpose, units, self._retry), data, active

    def _advance(
        self, stage: Stage, inputs: tuple[Any, Any, Any], rounds: Rounds
    ) -> tuple[tuple[Any, Any], dict[str, np.ndarray]]:
        """The lanes' state and data after their last round, and the records of all rounds."""
        _, data, _ = inputs
        state, first, parts = self._begin(stage, inputs, rounds.saved)
        for number in range(first, stage.method.rounds):
            rounds.pause(number, state, parts)
            rounds.step(number, "compiling and running" if number == first else "")
            if not np.any(np.asarray(state.status) == LaneStatus.RUNNING):
                break
            state, records = stage.program.advance(state, data)
            parts.append({name: np.asarray(array) for name, array in records.items()})
        records = joined(parts)
        rounds.end(stage.method.rounds, state, records)
        return (state, data), records

    def _begin(
        self, stage: Stage, inputs: tuple[Any, Any, Any], saved: Saved | None
    ) -> tuple[Any, int, list[dict[str, np.ndarray]]]:
        """A block's state, its rounds done and their records: from a checkpoint if there is one."""
        if saved is None:
            return stage.program.init(*inputs), 0, []
        state = checkpoints.restored(stage.program.init, inputs, saved.state)
        return state, saved.rounds, [dict(saved.records)] if saved.rounds else []

    def _combine(self, work: _Work, stage: Stage, lanes: Mapping[int, Sequence[Lane]]) -> dict[int, Result]:
        """The results of realizations from their lanes, by place in the chunk."""
        begun = {index: self._begun(work, stage, index, own) for index, own in lanes.items()}
        ended = [index for index, result in begun.items() if result.status < LaneStatus.NON_FINITE]
        assessed = assess(
            stage.method.kind,
            [begun[index] for index in ended],
            [lanes[index] for index in ended],
            self._problem.names,
            self._manifest.convergence,
        )
        return begun | {
            index: self._believed(result, lanes[index]) for index, result in zip(ended, assessed, strict=True)
        }

    def _begun(self, work: _Work, stage: Stage, index: int, lanes: Sequence[Lane]) -> Result:
        """The status of the worst of a realization's lanes, and no draws."""
        worst = max(lane.status for lane in lanes)
        reason = "" if worst is LaneStatus.OK else worst.sentence
        result = self._blank(work.chunk.realizations[index], worst, reason, work.observed[index].truth)
        return replace(result, method=stage.name)

    def _believed(self, result: Result, lanes: Sequence[Lane]) -> Result:
        """FAILED where the fast model is not good enough, UNINFORMATIVE where the data said nothing."""
        flaw = max(lane.flaw for lane in lanes)
        if flaw > 1:
            error = f"The fit ended where the fast model's error is {flaw:.2g} times what is tolerable"
            reason = f"{error}; {self._problem.remedy}."
            return replace(result, status=LaneStatus.FAILED, reason=reason)
        return uninformative.mark_uninformative(result, self._problem.prior_widths)


@dataclass
class _Work:
    """A chunk under way.

    Attributes:
        observed: observations, their data prepared, or results where there is nothing to infer from, in order.
        lanes_before, rounds_before: those of the stages and blocks that are done.
        told: rounds in all, as progress was last told.
    """

    chunk: Chunk
    observed: Sequence[Observation | Result]
    progress: Reporter
    keeper: Keeper | None
    lanes_before: int = 0
    rounds_before: int = 0
    told: int = 0

    def begin(self, first: int, n_rounds: int) -> Rounds:
        """The rounds of a block, of so many that its stage has left."""
        total = self.rounds_before + n_rounds
        if total != self.told:
            self.progress.begin(f"chunk {self.chunk.index}", total)
            self.told = total
        return Rounds(first, self.rounds_before, total, self.progress, self.keeper)


def _data(observed: Observation | Result) -> Any:
    assert isinstance(observed, Observation)
    return observed.data
