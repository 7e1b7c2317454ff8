"""What an administrator can have done, each with what it does said first."""

from collections.abc import Sequence
from typing import Final

from treescale.console.route import GET, POST, PUT, segment
from treescale.console.watch.rows import ClusterNow, JobNow
from treescale.console.web.operator.cluster import NOW
from treescale.console.web.operator.following import following
from treescale.console.web.page import Live, Moved, Page, Part, Visit
from treescale.console.work.jobs import JobReport
from treescale.console.work.targets import TargetRow
from treescale.errors import NameUnknown, Refused

CLUSTER: Final = "/-/cluster"
JOBS: Final = f"{CLUSTER}/jobs"
DRY_RUN: Final = "collect-check"
KINDS: Final = ("verify", "repair", "collect")
"""What is asked of all stores by a page of its own."""
DUE_SHOWN_MAX: Final = 100


class WorkPages:
    """What answers for drains, jobs and read-only."""

    async def target(self, visit: Visit) -> Page:
        """Say what draining a server or a store would do, or how far it is."""
        return await self._target(visit)

    async def drain(self, visit: Visit) -> Page | Moved:
        """Drain it."""
        return await self._set(visit, "drain")

    async def undrain(self, visit: Visit) -> Page | Moved:
        """Take that back."""
        return await self._set(visit, "undrain")

    async def _set(self, visit: Visit, what: str) -> Page | Moved:
        word = visit.parameters["target"]
        try:
            await visit.api(POST, f"/cluster/targets/{segment(word)}/{what}")
        except Refused as error:
            return await self._target(visit, problem=str(error), status=400)
        return Moved(f"{CLUSTER}/targets/{segment(word)}?done=operator_{what}")

    async def _target(self, visit: Visit, *, problem: str = "", status: int = 200) -> Page:
        word = visit.parameters["target"]
        path = f"/cluster/targets/{segment(word)}"
        found: TargetRow = await visit.api(GET, path)
        now: ClusterNow = await visit.api(GET, NOW)
        stores = [one for one in now.stores if one.store in found.stores]
        waiting = (await visit.api(GET, f"{path}/waiting")).waiting if found.draining else []
        values = {
            "target": found,
            "stores": stores,
            "is_draining": len(found.draining) == len(found.stores) > 0,
            "is_partly": bool(found.draining),
            "waiting": waiting,
            "problem": problem,
            "base": f"{CLUSTER}/targets/{segment(word)}",
        }
        return Page("operator/target.html", values, status)

    async def ask(self, visit: Visit) -> Page:
        """Say what a piece of work does, before it is asked for."""
        kind = visit.parameters["kind"]
        if kind not in KINDS:
            raise NameUnknown("there is no such work")
        return Page("operator/work.html", {"kind": kind, "begun": None, "dry_run": DRY_RUN})

    async def begin(self, visit: Visit) -> Page | Moved:
        """Have it done; of a dry run show at once what would go."""
        kind = visit.parameters["kind"]
        if kind not in (*KINDS, DRY_RUN):
            raise NameUnknown("there is no such work")
        try:
            begun = await visit.api(POST, "/jobs", body={"kind": kind})
        except Refused as error:
            shown = "collect" if kind == DRY_RUN else kind
            problem = {"kind": shown, "begun": None, "dry_run": DRY_RUN, "problem": str(error)}
            return Page("operator/work.html", problem, 400)
        if kind != DRY_RUN:
            return Moved(f"{JOBS}/{segment(begun.job)}?done=operator_begun")
        values = {
            "kind": "collect",
            "begun": begun,
            "due": begun.rows_due[:DUE_SHOWN_MAX],
            "due_more": max(0, len(begun.rows_due) - DUE_SHOWN_MAX),
            "dry_run": DRY_RUN,
        }
        return Page("operator/work.html", values)

    async def job(self, visit: Visit) -> Page:
        """Show how far a job is."""
        report = await self._report(visit)
        return Page("operator/job.html", {"report": report, "progress": _of_report(report)})

    async def live_job(self, visit: Visit) -> Live:
        """Show it as it goes on, and in the end what came of it."""
        job_id, ended = visit.parameters["job"], list[Part]()
        await self._report(visit)

        async def look() -> Sequence[Part]:
            now: ClusterNow = await visit.api(GET, NOW)
            found = [one for one in now.jobs if one.job == job_id]
            if found and found[0].is_open:
                return [_progress(found[0])]
            if not ended:
                report = await self._report(visit)
                ended.append(_progress(_of_report(report)))
                ended.append(Part("job-report", "operator/job_report.html", {"report": report}))
            return ended

        return Live(following(look))

    async def read_only(self, visit: Visit) -> Page:
        """Say what being read-only means, and whether it is so."""
        state = await visit.api(GET, "/read-only")
        return Page("operator/read_only.html", {"read_only": state.read_only})

    async def set_read_only(self, visit: Visit) -> Moved:
        """Have it be so, or not."""
        wanted = visit.form.get("read_only", "") == "on"
        await visit.api(PUT, "/read-only", body={"read_only": wanted})
        word = "on" if wanted else "off"
        return Moved(f"{CLUSTER}/read-only?done=operator_read_only_{word}")

    async def _report(self, visit: Visit) -> JobReport:
        report: JobReport = await visit.api(GET, f"/jobs/{segment(visit.parameters['job'])}")
        return report


def _progress(job: JobNow) -> Part:
    return Part("job-progress", "operator/job_progress.html", {"progress": job})


def _of_report(report: JobReport) -> JobNow:
    """Return the same of a report that a list of jobs says."""
    open_parts = [one for one in report.parts if one.state in ("waiting", "running")]
    return JobNow(
        report.job,
        report.kind,
        "",
        None,
        is_open=bool(open_parts) and not report.ended,
        stores=len(report.parts),
        stores_done=len(report.parts) - len(open_parts),
        done=sum(one.done for one in report.parts),
        total=sum(one.total for one in report.parts),
    )
