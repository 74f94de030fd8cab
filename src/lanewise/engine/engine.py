"""The engine: a chunk's realizations as lanes of one compiled program.

Lanes run in blocks of the plan's width. The last block is padded, so that one program serves every chunk of the
campaign. Each lane has its own key, data and status; a lane that stops does not affect the others. If a block does not
fit into the device's memory, the width is halved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
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
        observe, problem: replace those of the family, for data or a posterior from elsewhere.
        side_by_side: map the lanes as on an accelerator, also on the CPU.
        retry: number of the retry, part of the keys; 0 for a first run and its resumes.

    Attributes:
        stages: the methods, each for the realizations that the one before did not settle; several only for `auto`.

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
        # A width that did not fit into a device of this kind is not tried again.
        self._width = min(plan.width, widths.find(plan.settings) or plan.width)
        self._widths: list[int] = []

    @property
    def made(self) -> Mapping[str, Any]:
        """Planned width, and the widths of the last chunk's blocks."""
        return {"width": {"planned": self._planned, "used": list(self._widths)}}

    def run(self, chunk: Chunk, progress: Reporter | None = None, keeper: Keeper | None = None) -> list[Result]:
        """Compute a chunk; one result per realization, in order. A realization's failure is in its result.

        Args:
            keeper: the chunk's checkpoints; blocks that it has loaded are not computed again.

        Raises:
            ChunkImpossible: a single lane does not fit into the device's memory.
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
        """Whether a realization needs no further stage: it has converged, and k̂ of its weights, if any, is low."""
        if result.status in {LaneStatus.NOT_CONVERGED, LaneStatus.NON_FINITE}:
            return False
        khat = result.diagnostics.khat
        return khat is None or khat < self._inference.khat_max

    def _run_stage(self, work: _Work, number: int, stage: Stage, ready: Sequence[int]) -> dict[int, Result]:
        """Results of the realizations at the places `ready` of the chunk, by place."""
        units = [(index, unit) for index in ready for unit in range(stage.method.units)]
        lanes: dict[tuple[int, int], Lane] = {}
        while len(lanes) < len(units):
            # A block's number is that of its first lane, counted over all stages.
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
        """Memory of a block of lanes and of one realization's records [bytes], from compilation alone.

        Args:
            width: lanes of the block; default: the plan's.

        Returns:
            The values of the stage that needs most; None if none of the chunk's data can be made.
        """
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
        """The first round of a full block of the first stage, for timing; the chunk's lanes are repeated to fill it.

        Raises:
            DataError: none of the chunk's data can be made.
        """
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
        """Width of the block whose first lane is `first`: that of its checkpoint, if there is one."""
        if keeper is None or (saved := keeper.blocks.get(first)) is None:
            return self._width
        width: int = saved.state[0].shape[0]
        if width > self._width and saved.rounds < stage.method.rounds:
            del keeper.blocks[first]
            return self._width
        # The checkpoint may come from a run with a halved width.
        self._width = min(self._width, width)
        return width

    def _fitted(
        self, work: _Work, number: int, stage: Stage, block: Sequence[tuple[int, int]], width: int, rounds: Rounds
    ) -> dict[tuple[int, int], Lane] | None:
        """A block's lanes; None if they do not fit into memory. On return, the memory that they used is free."""

        def fit() -> dict[tuple[int, int], Lane]:
            purpose = keys.Purpose(keys.Purpose.INFERENCE + number)
            inputs = self._inputs(work.chunk, work.observed, block, width, purpose)
            return self._run_block(stage, inputs, block, rounds)

        return programs.within_memory(fit)

    def _halve(self, work: _Work, first: int, width: int) -> None:
        """Halve the width, and record it for later runs on this kind of device."""
        chunk, keeper = work.chunk, work.keeper
        if width == 1:
            raise ChunkImpossible(
                f"chunk {chunk.index}: a single lane does not fit into the device's memory; choose a device with more "
                "memory, or a smaller problem: the stamp, image.padding, the draws per round"
            )
        if keeper:
            keeper.blocks.pop(first, None)
        self._width = width // 2
        widths.record(self._settings, self._width)
        text = f"chunk {chunk.index}: no memory for {width} lanes; trying {self._width}, recorded for this device"
        work.progress.say("memory", text, chunk=chunk.index, width=self._width, planned=self._planned)

    def _look(self, realization: Realization) -> Observation | Result:
        """The realization's observation with prepared data; or its result, if its data cannot be made or used."""
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
        """A result without draws and diagnostics."""
        return Result(
            run_id=realization.run_id,
            seed=realization.planned.seed,
            status=status,
            reason=reason,
            method=self._inference.method,
            truth=truth,
        )

    def _run_block(
        self, stage: Stage, inputs: tuple[Any, Any, Any], block: Sequence[tuple[int, int]], rounds: Rounds
    ) -> dict[tuple[int, int], Lane]:
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
        """`Problem.flaw` of each lane of a block; 0 for lanes that failed or are not finite."""
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
        """Keys, data and active flags of a block's lanes."""
        # Padding lanes repeat the first lane and are never active, so that sequential lanes spend no time on them.
        padded = [*block, *[block[0]] * (width - len(block))]
        dtype = self._inference.precision
        # On the host: outside a program, JAX would compile each operation on its own.
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
        """A block's state, its number of finished rounds and their records; from a checkpoint, if there is one."""
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
        return begun | {index: self._marked(one, lanes[index]) for index, one in zip(ended, assessed, strict=True)}

    def _begun(self, work: _Work, stage: Stage, index: int, lanes: Sequence[Lane]) -> Result:
        """A result with the worst status of a realization's lanes, and no draws."""
        worst = max(lane.status for lane in lanes)
        reason = "" if worst is LaneStatus.OK else worst.sentence
        result = self._blank(work.chunk.realizations[index], worst, reason, work.observed[index].truth)
        return replace(result, method=stage.name)

    def _marked(self, result: Result, lanes: Sequence[Lane]) -> Result:
        """FAILED if the fast model's error is too large, UNINFORMATIVE if the posterior is as wide as the prior."""
        flaw = max(lane.flaw for lane in lanes)
        if flaw > 1:
            error = f"The fit ended where the fast model's error is {flaw:.2g} times what is tolerable"
            reason = f"{error}; {self._problem.remedy}."
            return replace(result, status=LaneStatus.FAILED, reason=reason)
        return uninformative.mark_uninformative(result, self._problem.prior_widths)


@dataclass
class _Work:
    """The state of a chunk while it is computed.

    Attributes:
        observed: per realization, the observation with prepared data, or the result if there is none.
        lanes_before, rounds_before: lanes and rounds of the finished stages and blocks.
        told: total number of rounds that was last reported.
    """

    chunk: Chunk
    observed: Sequence[Observation | Result]
    progress: Reporter
    keeper: Keeper | None
    lanes_before: int = 0
    rounds_before: int = 0
    told: int = 0

    def begin(self, first: int, n_rounds: int) -> Rounds:
        """The rounds of the block whose first lane is `first`; its stage has `n_rounds` left."""
        total = self.rounds_before + n_rounds
        if total != self.told:
            self.progress.begin(f"chunk {self.chunk.index}", total)
            self.told = total
        return Rounds(first=first, before=self.rounds_before, total=total, progress=self.progress, keeper=self.keeper)


def _data(observed: Observation | Result) -> Any:
    assert isinstance(observed, Observation)
    return observed.data
