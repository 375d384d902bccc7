"""`wbsr tables`: a table of the paper by one command, from training to a page with our figures beside the paper's."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wbsr_lab.tables.recipe import Preset, Table
    from wbsr_lab.tables.runner import Job


def main(argv: Sequence[str]) -> int:
    """Run the rows that are asked for and not finished, and write the table.

    Returns:
        0, or 1 if a row failed.

    Raises:
        FileNotFoundError, ValueError, TypeError: a table, preset, row or image set that can't be used.
        OSError: another run works in the same folder.
    """
    arguments = _parser().parse_args(list(argv))
    from wbsr_lab.tables import recipe, sets

    preset = recipe.read_preset(arguments.preset, arguments.sets)
    if arguments.seeds:
        preset = replace(preset, seeds=tuple(dict.fromkeys(arguments.seeds)))
    found = sets.check(preset, arguments.data)
    if arguments.check_data:
        sys.stdout.write(sets.summary(found, sets.all_sets(preset)))
        return 1 if sets.faults(found) else 0
    if arguments.name is None:
        raise ValueError(f"name a table: {', '.join(recipe.names())}; or give --check-data")
    table = recipe.read_table(arguments.name)
    jobs = make_jobs(table, preset, arguments.scale, arguments.only, arguments.backbones, arguments.iterations)
    _check_row("--over", arguments.over, jobs)
    if arguments.dry_run:
        from wbsr_lab.tables.estimate import overview

        sys.stdout.write(overview(arguments.name, table, jobs, preset, arguments.out))
        sys.stdout.write("image sets:\n" + sets.summary(found, sets.all_sets(preset)))
        return 0
    fault = sets.faults(found)
    if fault:
        raise ValueError(fault)
    check_memory(preset.memory_gb)
    with only_run_in(arguments.out):
        return run(arguments.name, table, jobs, preset, arguments)


def make_jobs(
    table: Table,
    preset: Preset,
    scales: Sequence[int],
    only: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    iterations: Sequence[int] | None = None,
) -> list[Job]:
    """The jobs of a table, one seed of all rows after the other, so that a run that is stopped has whole seeds; shorter
    trainings first.

    Raises:
        ValueError: `only` names a row that the table does not have, or a training has no iterations.
    """
    from wbsr_lab.tables.runner import Job

    if iterations and min(iterations) < 1:
        raise ValueError(f"--iterations must be at least 1, got {min(iterations)}")
    jobs = [
        Job(row, backbone, scale, length, seed)
        for seed in preset.seeds
        for backbone in backbones or preset.networks
        for length in sorted({*(iterations or [preset.iterations[backbone]])})
        for scale in scales
        for row in table.rows
        if backbone in row.backbones
    ]
    for name in only or ():
        _check_row("--only", name, jobs)
    return [job for job in jobs if not only or job.name in only]


def _check_row(option: str, name: str | None, jobs: Sequence[Job]) -> None:
    from wbsr_base.options import suggest

    known = list(dict.fromkeys(job.name for job in jobs))
    if name is not None and name not in known:
        raise ValueError(f"{option} {name!r}: there is no such row{suggest(name, known)}")


def run(name: str, table: Table, jobs: Sequence[Job], preset: Preset, arguments: argparse.Namespace) -> int:
    """Run jobs, `--parallel` at a time, and write the table; a row that fails is named and the others go on."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from tqdm import tqdm

    from wbsr_lab.tables import plots, report, runner, sets, summary

    out: Path = arguments.out.resolve()
    folders = {scale: sets.make_pairs(preset, arguments.data, out, scale) for scale in arguments.scale}
    plans = {job: runner.plan(job, preset, folders[job.scale], table.classes) for job in jobs}
    rows = {job: row for job, what in plans.items() if (row := runner.finished(job, what, out)) is not None}
    failed: dict[Job, str] = {}
    with ThreadPoolExecutor(arguments.parallel) as pool:
        running = {
            pool.submit(runner.run, job, plans[job], preset, folders[job.scale], out, arguments.parallel): job
            for job in jobs
            if job not in rows
        }
        for done in tqdm(as_completed(running), total=len(running), desc=name, unit="row", disable=None):
            job = running[done]
            try:
                rows[job] = done.result()
            except RuntimeError as error:
                failed[job] = str(error)
                sys.stderr.write(f"wbsr tables: {job} failed: {error}\n")
    asked = f"{name} --preset {arguments.preset}"
    if arguments.iterations:
        asked += f" --iterations {' '.join(map(str, arguments.iterations))}"
    about = [f"Made by `wbsr tables {asked}`: {len(rows)} of {len(jobs)} rows are finished."]
    about += [f"Failed: {job}: {error}" for job, error in failed.items()]
    over = arguments.over or table.rows[0].name
    about += [f"Gain: PSNR-Y over {over.format(backbone='the plain backbone')}, paired by seed."]
    ordered = [rows[job] for job in jobs if job in rows]
    entries = summary.entries(name, ordered, over)
    drawn = plots.draw(name, table, entries, ordered, out, folders)
    files = report.write(name, table, entries, drawn, about, out / name)
    sys.stdout.write("\n".join(map(str, files)) + "\n")
    return 1 if failed else 0


def check_memory(needed: float) -> None:
    """Refuse a preset on a machine that can't hold it.

    Raises:
        ValueError: the machine has less memory, GB, than is needed.
    """
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    if have < needed:
        raise ValueError(
            f"the preset needs {needed:g} GB of memory, and this machine has {have:.1f}: take a smaller one"
        )


@contextmanager
def only_run_in(out: Path) -> Iterator[None]:
    """Hold the folder of the results for this run and the processes it starts, which may outlive it.

    Raises:
        BlockingIOError: another run, or a process that it left, holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"another `wbsr tables` works in {out}, or a process that a killed one left: wait until it has ended, "
                "or give another --out"
            ) from error
        os.set_inheritable(lock.fileno(), True)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wbsr tables",
        description="Train and test what a table of the paper needs, and write it with our figures beside the paper's. "
        "Run the same command again to go on after a kill: what is finished is kept.",
    )
    parser.add_argument("name", nargs="?", help="table1 to table4, fig1, fig3, fig5, fig6, fig7, hes, lengths")
    parser.add_argument("--preset", default="smoke", help="smoke, bench, light, gpu or paper (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder that holds the image sets (not needed by smoke)")
    parser.add_argument("--sets", type=Path, metavar="FILE", help="YAML with blocks `train` and `tests` of your own")
    parser.add_argument("--out", type=Path, default=Path("results/tables"), help="folder (default: %(default)s)")
    parser.add_argument("--scale", type=int, nargs="+", choices=[2, 4], default=[4], help="(default: 4)")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone, such as '+ WBSR'")
    parser.add_argument("--over", metavar="ROW", help="the row that gains are over (default: the table's first)")
    parser.add_argument("--backbones", nargs="+", choices=["SRResNet", "RCAN"], help="these alone (default: both)")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of the preset's")
    parser.add_argument("--iterations", type=int, nargs="+", metavar="N", help="likewise: of a training")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="rows at a time, on shares of the cores")
    parser.add_argument("--dry-run", action="store_true", help="list rows, option files, data and cost, and stop")
    parser.add_argument("--check-data", action="store_true", help="tell which image sets are there, and stop")
    return parser
