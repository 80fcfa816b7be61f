"""`gitvirt run`: the agent."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from agent import logs
from agent.assemble import (
    LOCAL_INTERVAL,
    Agent,
    AlreadyRunning,
    DataFolderError,
    Setup,
    claimed,
    program_version,
)
from agent.cli import hosts, pages
from agent.cli.command import CommandError, Subparsers
from agent.cli.repositories import opened
from agent.core.tables import printable
from agent.gitrepo.repository import Repository
from agent.gitrepo.watch import watch
from agent.images.request import Reach
from agent.loop import Loop
from agent.places import peers
from agent.reconcile.git import Branches
from agent.reconcile.summary import Summary
from agent.reconcile.workers import lasting
from agent.settings import Settings

log = logging.getLogger("gitvirt")

ONCE = 600.0
"""Seconds that --once takes at most without --timeout."""

_EPILOG = """\
examples:
  gitvirt run --repo /srv/git/vms.git                   act on a local repository, at once
  gitvirt run --repo git@git.example.com:vms.git        poll a remote one, by ssh or https
  gitvirt run --once --timeout 10m                      do what is to be done now, and end

The exit code of --once is 0 only if all is as desired. SIGHUP looks at the repository at once.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "run", help="run the agent", description="Run the agent.", epilog=_EPILOG
    )
    parser.add_argument(
        "--once", action="store_true", help="end when nothing is left to do, or after --timeout"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what each pass does, too")
    pages.add(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    logs.set_up(settings.log_format, verbose=args.verbose)
    with opened(settings) as repository:
        try:
            with claimed(settings.data_dir) as instance, _page(args, settings) as news:
                return _run(args, settings, repository, instance, news)
        except (AlreadyRunning, DataFolderError) as error:
            raise CommandError(str(error)) from error


@contextmanager
def _page(args: argparse.Namespace, settings: Settings) -> Iterator[Callable[[], None]]:
    """The page, where one is asked for, in a thread of its own. It reads the status branch like
    anybody else, by a cache of its own; what is given tells it that there is news.
    """
    if not settings.listen:
        yield lambda: None
        return
    apart = replace(settings, data_dir=settings.data_dir / "page")
    page = pages.served(args, apart, settings.listen)
    page.server.start()
    log.info("the page is at %s", page.address)
    if page.token and sys.stderr.isatty():  # a log is no place for it
        print(f"with consoles and buttons at {page.invitation}", file=sys.stderr, flush=True)
    try:
        yield page.source.nudge
    finally:
        page.server.end()


def _run(
    args: argparse.Namespace,
    settings: Settings,
    repository: Repository,
    instance: str,
    news: Callable[[], None],
) -> int:
    """`news` is called when there may be something new in the repository."""
    loop = Loop()
    opened_hosts = hosts.opened(settings, later=True)
    watched = repository.watch_paths()
    setup = _setup(settings, local=bool(watched))
    agent = Agent(setup, repository, opened_hosts, instance, loop.wake, written=news)
    loop.handle_signals(agent.reconciler.look_at_git)
    if watched:

        def look() -> None:
            agent.reconciler.look_at_git()
            news()

        lasting("watch", lambda: watch(watched, look, loop.stop), loop.stop)
    log.info(
        "agent %s of fleet %s, gitvirt %s: %s %s%s, repository %s, branch %s, path %s",
        *(instance, settings.fleet, program_version()),
        *("node" if len(opened_hosts) == 1 else "nodes", ", ".join(opened_hosts)),
        f" ({settings.connect})" if settings.connect else "",
        *(repository.address, settings.branch, settings.path),
    )
    try:
        if args.once:
            return _report(loop.run_once(agent.reconciler, settings.timeout or ONCE))
        loop.run(agent.reconciler)
        return 0
    finally:
        loop.end()
        agent.close()
        for host in opened_hosts.values():
            host.close()


def _setup(settings: Settings, *, local: bool) -> Setup:
    folder = "" if settings.path == "." else settings.path
    branches = Branches(
        main=settings.branch,
        folder=folder,
        operations=settings.operations_branch,
        status=settings.status_branch,
    )
    return Setup(
        fleet=settings.fleet,
        branches=branches,
        data_dir=settings.data_dir,
        poll=settings.interval,
        status_interval=LOCAL_INTERVAL if local else settings.status_interval,
        image_limit=settings.image_limit,
        trash_retention=settings.trash_retention,
        reach=Reach(settings.image_hosts, settings.proxies),
        pools=hosts.pools(settings),
        networks=settings.networks,
        peers=peers(settings.nodes),
        manner=settings.migration,
        overcommit=settings.memory_overcommit,
    )


def _report(summary: Summary) -> int:
    """Say what is not as desired; the exit code."""
    for problem in summary.problems:
        where = f"{problem.file}:{problem.line}: " if problem.file else ""
        line = f"{where}{problem.resource or '-'}: {problem.message}"
        print(printable(line), file=sys.stderr)
    for key in sorted({*summary.waiting, *summary.wrong}):
        line = f"{key}: not as its manifest wants it: see `gitvirt describe`"
        print(printable(line), file=sys.stderr)
    for error in (summary.git_error, summary.node_error):
        if error:
            print(printable(f"error: {error}"), file=sys.stderr)
    wrong = (
        summary.problems
        or summary.waiting
        or summary.wrong
        or summary.git_error
        or summary.node_error
    )
    return 1 if wrong or not summary.settled else 0
