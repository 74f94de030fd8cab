"""The engine: a chunk's members and chains as lanes of one compiled program.

A realization has one or more members, a member one or more chains; each such unit is a lane. Lanes run in blocks of
the plan's width. The last block is padded, so that one program serves every chunk of the campaign. Each lane has its
own key, data and status; a lane that stops does not affect the others. If a block does not fit into the device's
memory, the width is halved.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from lanewise.engine import blocks, faults, keys, members, programs, uninformative, widths
from lanewise.engine.blocks import Inputs
from lanewise.engine.chunk_data import ChunkData, MemberAt, Shape, Unit, Unusable, grouped
from lanewise.engine.convergence import Lane, assess
from lanewise.engine.lanes import alike
from lanewise.engine.members import Fit
from lanewise.engine.programs import Stage
from lanewise.engine.results import Result
from lanewise.engine.rounds import Rounds
from lanewise.engine.work import Work
from lanewise.errors import ChunkImpossible, DataError
from lanewise.machine import device
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest import registry
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk, Plan, Realization
from lanewise.manifest.problem import Membership, Observation, Problem
from lanewise.manifest.protocols import Keeper
from lanewise.manifest.status import LaneStatus


class Engine:
    """Computes chunks of one campaign.

    Args:
        observe, problem, membership: replace those of the family, for data or a posterior from elsewhere.
        side_by_side: map the lanes as on an accelerator, also on the CPU.
        retry: number of the retry, part of the keys; 0 for a first run and its resumes.
        before: for a retry, earlier results by run id; their members that are OK are not computed again.

    Attributes:
        stages: the methods, each for the members that the one before did not settle; several only for `auto`.

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
        membership: Membership[Any, Result] | None = None,
        side_by_side: bool = False,
        retry: int = 0,
        before: Mapping[str, Result] | None = None,
    ) -> None:
        self._manifest, self._settings, self._planned, self._retry = manifest, plan.settings, plan.width, retry
        self._before = before or {}
        config, lanes = manifest.config, registry.lanes(manifest.kind)
        self._inference = lanes.inference(config)
        one_by_one = device.prepare(manifest.resources.device, self._inference.precision)
        self._sequential = one_by_one and not side_by_side
        self._observe = observe or (lambda realization: lanes.observe(config, realization.planned))
        self.stages: tuple[Stage, ...]
        if problem is None:
            self._membership = lanes.membership(config)
            self._problem, self.stages = programs.of_family(manifest.kind, config, self._sequential)
            self._complete, self._judge, self._shaped = lanes.complete, lanes.judge, lanes.shaped
        else:
            self._complete = self._judge = self._shaped = None
            self._problem, self._membership = problem, membership
            reduce = membership.reduce if membership else None
            self.stages = programs.stages(self._inference, problem, reduce, sequential=self._sequential)
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
        self._widths = []
        data = self._data(chunk.realizations)
        work = Work(chunk, self._problem, data, progress or Silent(), keeper)
        parts = [
            part
            for place, realization in enumerate(chunk.realizations)
            for part in data.parts(place)
            if not members.is_kept(self._before.get(realization.run_id), part.member)
        ]
        for numbers in alike([data.shape(part.place) for part in parts], len(parts)):
            own = [parts[at] for at in numbers]
            problem, stages = self._of_shape(data.shape(own[0].place))
            self._infer(replace(work, problem=problem), stages, own)
        results = self._completed(work, [self._result(work, place) for place in range(len(chunk.realizations))])
        prior = self._problem.prior_widths
        return self._judged(work, [uninformative.mark_uninformative(result, prior) for result in results])

    def _infer(self, work: Work, stages: Sequence[Stage], parts: Sequence[MemberAt]) -> None:
        """Fit members stage by stage; those for which the model is not accurate enough, again with a finer one."""
        unsettled = list(parts)
        for number, stage in enumerate(stages):
            work.found.update(self._run_stage(work, number, stage, unsettled))
            unsettled = [part for part in unsettled if not self._settled(work.found[part])]
            if not unsettled:
                break
        if flawed := [part for part in parts if work.found[part].flaw > 1]:
            reduce = self._membership.reduce if self._membership else None
            if (finer := programs.finer(work.problem, self._inference, reduce, self._sequential)) is None:
                return
            # The finer model needs more memory: a width that it halves is not that of the next chunk.
            width = self._width
            problem, finer_stages = finer
            again = replace(work, problem=problem, data=work.data.prepared_by(problem), finer=True)
            self._infer(again, finer_stages, flawed)
            self._width = width

    def footprint(self, chunk: Chunk, width: int | None = None) -> tuple[int, int] | None:
        """Memory of a block of lanes, and of what one realization leaves [bytes], from compilation alone.

        Args:
            width: lanes of the block; default: the plan's.

        Returns:
            The values of the stage that needs most; None if none of the chunk's data can be made.
        """
        width = width or self._planned
        if (sample := self._sample(chunk)) is None:
            return None
        realization, data, part = sample
        inputs = self._inputs([(Unit(*part, 0), realization)], data, 1)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape[1:]), leaf.dtype), inputs)
        _, stages = self._of_shape(data.shape(0))
        found = [(stage.method.units, *programs.footprint(stage, shapes)) for stage in stages]
        left = max(units * of_block // width for units, _, of_block in found)
        return max(peak for _, peak, _ in found), len(data.parts(0)) * left

    def _sample(self, chunk: Chunk) -> tuple[Realization, ChunkData, MemberAt] | None:
        """A realization with its data and its largest member: the first with data, or that with the largest shape."""
        found = None
        for realization in chunk.realizations:
            data = self._data([realization])
            if (part := data.largest(0)) is None:
                continue
            if found is None or math.prod(data.shape(0)) > math.prod(found[1].shape(0)):
                found = realization, data, part
            if not data.shape(0):
                break
        return found

    def rehearsal(self, chunk: Chunk) -> Callable[[], None]:
        """The first round of a full block of the first stage, for timing; the chunk's lanes are repeated to fill it.

        Raises:
            DataError: none of the chunk's data can be made.
        """
        realizations = chunk.realizations[: self._planned]
        data = self._data(realizations)
        largest = [part for place in range(len(realizations)) if (part := data.largest(place)) is not None]
        if not largest:
            first = data.observation(0)
            why = first if isinstance(first, Unusable) else data.unusable(MemberAt(0, 0))
            raise DataError(f"chunk {chunk.index}: {why.reason if why else 'a realization has no members'}")
        shape, rows = data.shape(largest[0].place), data.rows(largest[0])
        stage = self._of_shape(shape)[1][0]
        units = (Unit(*part, chain) for part in largest for chain in range(stage.method.units))
        own = [unit for unit in units if (data.shape(unit.place), data.rows(unit.part)) == (shape, rows)]
        block = itertools.islice(itertools.cycle(own), self._planned)
        inputs = self._inputs([(unit, realizations[unit.place]) for unit in block], data, self._planned)

        def once() -> None:
            jax.block_until_ready(stage.program.advance(stage.program.init(*inputs), inputs.data))

        return once

    def _data(self, realizations: Sequence[Realization]) -> ChunkData:
        n_kept = max(len(realizations), 2 * self._planned)
        return ChunkData(realizations, self._observe, self._problem, n_kept, lambda shape: self._of_shape(shape)[0])

    def _of_shape(self, shape: Shape) -> tuple[Problem, tuple[Stage, ...]]:
        """The problem and stages for observations of a shape."""
        if not shape or self._shaped is None:
            return self._problem, self.stages
        return programs.of_family(self._manifest.kind, self._shaped(self._manifest.config, shape), self._sequential)

    def _settled(self, fit: Fit) -> bool:
        """Whether a member needs no further stage: it has converged, or has no data; k̂ of its weights is low."""
        if not fit.usable:
            return True
        if fit.result.status in {LaneStatus.NOT_CONVERGED, LaneStatus.NON_FINITE}:
            return False
        return fit.khat is None or fit.khat < self._inference.khat_max

    def _run_stage(self, work: Work, number: int, stage: Stage, parts: Sequence[MemberAt]) -> dict[MemberAt, Fit]:
        """The fits of these members by one method."""
        units = [Unit(*part, chain) for part in parts for chain in range(stage.method.units)]
        lanes: dict[Unit, Lane] = {}
        n_done = 0
        for group in grouped(units, work.data):
            at = 0
            while at < len(group):
                first = work.done.units + group[at][0]
                width = self._resume_width(first, work.keeper)
                block, end = work.usable(group, at, width)
                if block:
                    n_blocks = -(-(len(units) - n_done) // width)
                    rounds = work.begin(first, block, width, stage.method.rounds, n_blocks)
                    left = self._fitted(work, number, stage, block, rounds)
                    if left is None:
                        self._halve(work, first, width)
                        continue
                    lanes |= left
                    work.done.rounds += stage.method.rounds
                    if width not in self._widths:
                        self._widths.append(width)
                at, n_done = end, n_done + end - at
        work.done.units += len(units)
        return self._fits(work, stage, parts, lanes)

    def _resume_width(self, first: int, keeper: Keeper | None) -> int:
        """Width of the block whose first unit is `first`: that of its checkpoint, if there is one."""
        if keeper is None or (saved := keeper.blocks.get(first)) is None:
            return self._width
        if saved.width > self._width and saved.state:
            del keeper.blocks[first]
            return self._width
        # The checkpoint may come from a run with a halved width.
        self._width = min(self._width, saved.width)
        return saved.width

    def _fitted(
        self, work: Work, number: int, stage: Stage, block: Sequence[Unit], rounds: Rounds
    ) -> dict[Unit, Lane] | None:
        """A block's lanes; None if they do not fit into memory. On return, the memory that they used is free."""

        def fit() -> dict[Unit, Lane]:
            planned = [(unit, work.chunk.realizations[unit.place]) for unit in block]
            inputs = self._inputs(planned, work.data, rounds.width, number)
            return dict(zip(block, blocks.run(stage, inputs, len(block), rounds), strict=True))

        return programs.within_memory(fit)

    def _inputs(
        self, block: Sequence[tuple[Unit, Realization]], data: ChunkData, width: int, number: int = 0
    ) -> Inputs:
        """Keys, data and active flags of a block's lanes, for the stage with this number."""
        # Padding lanes repeat the first lane and are never active, so that sequential lanes spend no time on them.
        padded = [*block, *[block[0]] * (width - len(block))]
        arrays = [each for unit, _ in padded if not isinstance(each := data.arrays(unit.part), Unusable)]
        assert len(arrays) == width
        n_chains = self.stages[number].method.units
        lane_keys = keys.lane_keys(
            root_seed=self._inference.rng_seed,
            seeds=[realization.planned.seed for _, realization in padded],
            purpose=keys.Purpose(keys.Purpose.INFERENCE + number),
            units=[unit.member * n_chains + unit.chain for unit, _ in padded],
            retry=self._retry,
        )
        stacked = blocks.stacked(arrays, self._inference.precision)
        return Inputs(lane_keys, stacked, jax.device_put(np.arange(width) < len(block)))

    def _halve(self, work: Work, first: int, width: int) -> None:
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
        if not work.finer:
            widths.record(self._settings, self._width)
        text = f"chunk {chunk.index}: no memory for {width} lanes; trying {self._width}, recorded for this device"
        work.progress.say("memory", text, chunk=chunk.index, width=self._width, planned=self._planned)

    def _fits(
        self, work: Work, stage: Stage, parts: Sequence[MemberAt], lanes: Mapping[Unit, Lane]
    ) -> dict[MemberAt, Fit]:
        """The fits of members from their lanes; members without usable data have none."""
        own = {
            part: [lanes[unit] for chain in range(stage.method.units) if (unit := Unit(*part, chain)) in lanes]
            for part in parts
        }
        begun = {part: self._begun(work, stage, part, own[part]) for part in parts}
        ended = [part for part, fit in begun.items() if fit.usable and fit.result.status < LaneStatus.NON_FINITE]
        if stage.program.reduce is not None:
            return begun | {
                part: self._marked(work, members.reduced(begun[part], own[part], self._manifest.convergence), own[part])
                for part in ended
            }
        assessed = assess(
            kind=stage.method.kind,
            begun=[begun[part].result for part in ended],
            lanes=[own[part] for part in ended],
            names=self._problem.names,
            criteria=self._manifest.convergence,
        )
        return begun | {
            part: self._marked(work, Fit.of(result), own[part]) for part, result in zip(ended, assessed, strict=True)
        }

    def _begun(self, work: Work, stage: Stage, part: MemberAt, lanes: Sequence[Lane]) -> Fit:
        """A fit with the worst status of a member's lanes, and no draws."""
        if (none := work.data.unusable(part)) is not None:
            return Fit(self._blank(work, part.place, none.status, none.reason, none.truth), usable=False)
        worst = max(lane.status for lane in lanes)
        seen = work.data.observation(part.place)
        reason = "" if worst is LaneStatus.OK else worst.sentence
        if worst is LaneStatus.NON_FINITE and not isinstance(arrays := work.data.arrays(part), Unusable):
            reason = faults.told(work.problem, arrays, self._inference.precision)
        blank = self._blank(work, part.place, worst, reason, seen.truth)
        return Fit(replace(blank, method=stage.name, model=work.problem.model))

    def _marked(self, work: Work, fit: Fit, lanes: Sequence[Lane]) -> Fit:
        """The fit with its lanes' flaw; FAILED if the model's error is too large."""
        flaw = max(lane.flaw for lane in lanes)
        if flaw <= 1:
            return replace(fit, flaw=flaw)
        error = f"The fit ended where the model's error is {flaw:.2g} times what is tolerable"
        reason = f"{error}; {work.problem.remedy}."
        return replace(fit, flaw=flaw, result=replace(fit.result, status=LaneStatus.FAILED, reason=reason))

    def _result(self, work: Work, place: int) -> Result:
        """A realization's result from the fits of its members."""
        seen = work.data.observation(place)
        if isinstance(seen, Unusable):
            return self._blank(work, place, seen.status, seen.reason, seen.truth)
        fits = {part.member: work.found[part] for part in work.data.parts(place) if part in work.found}
        if self._membership is None:
            (fit,) = fits.values()
            return fit.result
        blank = self._blank(work, place, LaneStatus.OK, "", seen.truth)
        old = self._before.get(blank.run_id)
        return members.combined(self._membership, self._manifest.config, blank, fits, old, len(seen.members))

    def _completed(self, work: Work, results: list[Result]) -> list[Result]:
        """The results with what the family adds to their draws."""
        if self._complete is None or self._membership is not None:
            return results
        data = {
            place: arrays
            for place, result in enumerate(results)
            if result.posterior and not isinstance(arrays := work.data.arrays(MemberAt(place, 0)), Unusable)
        }
        completed = self._complete(self._manifest.config, [(results[place], one) for place, one in data.items()])
        return _replaced(results, dict(zip(data, completed, strict=True)))

    def _judged(self, work: Work, results: list[Result]) -> list[Result]:
        """The results; MISFIT where the family finds that the model does not describe the data."""
        if self._judge is None or self._membership is not None:
            return results
        seen = {place: work.data.observation(place) for place, result in enumerate(results) if result.posterior}
        data = {place: one.data for place, one in seen.items() if isinstance(one, Observation)}
        found: dict[int, Result] = {}
        places = list(data)
        for numbers in alike([work.data.shape(place) for place in places], len(places)):
            own = [places[at] for at in numbers]
            problem, _ = self._of_shape(work.data.shape(own[0]))
            judged = self._judge(problem, [(results[at], data[at]) for at in own], self._manifest.convergence)
            found |= zip(own, judged, strict=True)
        return _replaced(results, found)

    def _blank(self, work: Work, place: int, status: LaneStatus, reason: str, truth: Mapping[str, float]) -> Result:
        """A result without draws and diagnostics."""
        realization = work.chunk.realizations[place]
        return Result(
            run_id=realization.run_id,
            seed=realization.planned.seed,
            status=status,
            reason=reason,
            method=self._inference.method,
            truth=truth,
        )


def _replaced(results: Sequence[Result], by_place: Mapping[int, Result]) -> list[Result]:
    return [by_place.get(place, result) for place, result in enumerate(results)]
