"""The command ``limner``: a group whose commands are imported when they are called."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from limner.cli import output, overwriting

# name -> module:attribute. The attribute is a command function or a Typer application.
COMMANDS = {
    "detect": "limner.cli.faces:detect",
    "compare": "limner.cli.faces:compare",
    "embed": "limner.cli.faces:embed",
    "enroll": "limner.cli.people:enroll",
    "verify": "limner.cli.people:verify",
    "identify": "limner.cli.people:identify",
    "lookalike": "limner.cli.people:lookalike",
    "people": "limner.cli.people_list:app",
    "rename": "limner.cli.people:rename",
    "merge": "limner.cli.people:merge",
    "forget": "limner.cli.people:forget",
    "gallery": "limner.cli.gallery:app",
    "weights": "limner.cli.weights:app",
    "evaluate": "limner.cli.evaluate:app",
    "nets": "limner.cli.nets:app",
    "style": "limner.cli.style:style",
    "style-score": "limner.cli.style_score:style_score",
    "style-sheet": "limner.cli.style_sheet:style_sheet",
    "style-train": "limner.cli.style_train:style_train",
    "serve": "limner.cli.serve:serve",
    "keys": "limner.cli.keys:app",
    "train": "limner.cli.train:app",
    "classify": "limner.cli.classify:app",
    "alike": "limner.cli.classify_arrays:alike",
    "units": "limner.cli.units:app",
    "demo": "limner.cli.demo:demo",
}


class LimnerGroup(typer.core.TyperGroup):
    """Imports a command's module when it is called, and turns every failure into one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and build one command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            group: Any = typer.main.get_group(target)
            group.name = cmd_name
            return overwriting.guard(group)
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(target)
        return overwriting.guard(typer.main.get_command(single))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; neither an interrupt nor a reader that went away is an error."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            output.drop_stdout()
            raise typer.Exit(output.PIPE_CLOSED) from None
        except KeyboardInterrupt:
            output.note("interrupted.")
            raise typer.Exit(output.INTERRUPTED) from None

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line and leave with the exit status of `limner.cli.output`."""
        if not standalone_mode:
            return super().main(*args, **{**extra, "standalone_mode": False})
        output.STATE.json = False
        status = output.ERROR
        try:
            result = super().main(*args, **{**extra, "standalone_mode": False})
            status = result if type(result) is int else output.OK
        except (typer.Abort, KeyboardInterrupt):
            status = output.INTERRUPTED
        except Exception as error:
            if hasattr(error, "format_message"):
                _report_usage(error)
            else:
                output.report_exception(error)
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            output.drop_stdout()
        sys.exit(status)


def _report_usage(error: Any) -> None:
    """Report a mistake on the command line, and where its help is."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    where = error.ctx.command_path if getattr(error, "ctx", None) else "limner"
    message = output.one_line(Exception(error.format_message())).rstrip(".")
    output.report_error("UsageError", f"{message}. See: {where} --help")


app = typer.Typer(cls=LimnerGroup, add_completion=False, pretty_exceptions_enable=False)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"limner {version('limner')}")
        raise typer.Exit


def _allow_licences(policy: str | None) -> None:
    if policy is not None:
        from limner.weights import licences

        os.environ[licences.VARIABLE] = policy
        licences.policy()  # another word is refused before any work


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version)
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Use models of any licence, or only those whose weights have a permissive one "
            "(permissive), whatever the command.",
            metavar="any|permissive",
            callback=_allow_licences,
        ),
    ] = None,
) -> None:
    """Know a face: find, compare, enrol and recognise faces in your photos, on your machine."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def run() -> None:
    """Entry point of the console script."""
    # A service may start limner with its streams closed; Python then has None for them.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    app()
