"""What tclog hands on to the commands that it starts: everything that says where and as whom."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import pytest

from .conftest import TCLOG, User

# How a command is told where it works: options before it, and its environment.
TOLD = {
    "configured": ((), {}),
    "--store": (("--store", "../other store"), {}),
    "--project": (("--project", "second"), {}),
    "--as": (("--as", "bob"), {}),
    "-C": (("-C", "../elsewhere"), {}),
    "variables": (
        (),
        {
            "TCLOG_STORE": "../other store",
            "TCLOG_PROJECT": "second",
            "TCLOG_CACHE": "a/cache",
            "TCLOG_REGION": "mars-1",
            "TCLOG_PROFILE": "p",
            "TCLOG_S3_CLIENT": "boto3",
        },
    ),
}
# How tclog starts a command of the user's.
STARTS = {
    "exec": lambda script: ("exec", "build", "--", "sh", "-c", script),
    "watch": lambda script: ("watch", "--from", "1h", "--count", "1", "--exec", script),
}


@pytest.fixture
def places(project: User) -> User:
    """Give a user with several projects; in ``decoy`` another one would be found."""
    folder = project.folder
    for name, store, named in (
        ("elsewhere", ".tclog/store", "third"),
        ("here too", f"{project.work}/.tclog/store", "second"),
        ("other", "../other store", "work"),
        ("other too", "../other store", "second"),
    ):
        made = fresh(project, name)
        project("init", store, "--project", named, cwd=made).ok()
        project("memory", "set", "k", "v", cwd=made).ok()
    project("memory", "set", "k", "v").ok()
    decoy = folder / "decoy"
    (decoy / ".tclog").mkdir(parents=True)
    (decoy / ".tclog" / "config.toml").write_text(
        'store = "wrong"\nproject = "wrong"\nagent = "wrong"\n\n[file]\nfsync = true\n\n[s3]\n'
        'endpoint = "http://wrong:1"\nregion = "wrong"\nprofile = "wrong"\nclient = "boto3"\n'
    )
    return project


def places_of(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the settings of `where`; the project's file among them."""
    return {name: row["value"] for name, row in found.items() if name not in ("type", "config")}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("told", TOLD)
def test_a_command_works_where_and_as_whom_tclog_does(places: User, told: str, start: str) -> None:
    options, env = TOLD[told]
    mine = places(*options, "where", "--json", env=env).object()
    said = places.folder / "said"
    script = f"cd {places.folder}/decoy && {TCLOG} where --json > {shlex.quote(str(said))}"
    done = places.process(*options, *STARTS[start](script), env=env)
    assert done.code == 0, done
    theirs = json.loads(said.read_text())
    assert places_of(theirs) == places_of(mine)


def fresh(user: User, name: str) -> Path:
    folder = user.folder / name
    folder.mkdir(exist_ok=True)
    return folder


def test_what_tclog_does_not_know_is_not_found_by_its_command_either(places: User) -> None:
    """A project in a folder has no endpoint, but the folder that the child is in names one."""
    script = f"cd ../decoy && {TCLOG} where --json"
    found = json.loads(places.process("exec", "build", "--", "sh", "-c", script).ok().out)
    assert found["endpoint"] == {"value": None, "source": "default"}
    assert found["config"]["value"] == str(places.work / ".tclog" / "config.toml")
    assert found["config"]["source"] == "TCLOG_CONFIG"


def test_the_step_is_completed_where_it_is_held(places: User) -> None:
    """The child completed another project's step before, and exec called its own step failed."""
    words = ("--store", "../store", "--project", "p")
    places("init", "../store", "--project", "p", cwd=fresh(places, "p")).ok()
    script = f"{TCLOG} memory set built yes && {TCLOG} complete build --note done"
    places.process(*words, "exec", "build", "--", "sh", "-c", script).ok()
    assert places(*words, "memory", "get", "built").out == "yes"
    step = places(*words, "step", "show", "build", "--json").object()
    assert (step["state"], step["handoff"]["note"]) == ("complete", "done")
    assert places("memory", "get", "built").code == 3


def test_a_command_may_still_say_where_it_works(places: User) -> None:
    words = f"--store {places.folder}/elsewhere/.tclog/store --project third"
    script = f"{TCLOG} {words} memory set from exec"
    places.process("exec", "build", "--", "sh", "-c", script).ok()
    assert places("memory", "get", "from", cwd=places.folder / "elsewhere").out == "exec"


def test_a_folder_with_another_project_is_meant_by_who_names_it(places: User) -> None:
    """Within the project, and where no project is set up, ``-C`` changes nothing of that."""
    places.process(
        "--project", "second", "exec", "build", "--", "sh", "-c",
        f"mkdir -p sub; {TCLOG} -C sub memory set a exec; {TCLOG} -C / memory set b exec;"
        f" {TCLOG} -C {places.folder}/elsewhere memory set c exec",
    ).ok()  # fmt: skip
    for key, words, cwd in (
        ("a", ("--project", "second"), places.work),
        ("b", ("--project", "second"), places.work),
        ("c", (), places.folder / "elsewhere"),
    ):
        assert places(*words, "memory", "get", key, cwd=cwd).out == "exec"


def test_what_is_set_anew_inside_exec_goes_before_the_folder(places: User) -> None:
    """A variable goes before a file. Only what exec itself has set gives way to ``-C``."""
    there, third = places.folder / "elsewhere", places.folder / "third"
    third.mkdir()
    places("init", "store", "--project", "third", cwd=third).ok()
    places.process(
        "exec", "build", "--", "sh", "-c",
        f"TCLOG_STORE={third}/store TCLOG_PROJECT=third {TCLOG} -C {there} memory set a anew",
    ).ok()  # fmt: skip
    assert places("memory", "get", "a", cwd=third).out == "anew"
    assert places("memory", "get", "a", cwd=there).code == 3


# -- TCLOG_CONFIG ---------------------------------------------------------------------------------


def test_a_file_that_is_named_is_read_instead_of_searched(places: User) -> None:
    named = places.folder / "named.toml"
    named.write_text('store = "stores"\nproject = "p"\n')
    for env in ({"TCLOG_CONFIG": str(named)}, {"TCLOG_CONFIG": "../named.toml"}):
        found = places("where", "--json", env=env).object()
        assert found["config"] == {"value": str(named), "source": "TCLOG_CONFIG"}
        # Relative to the file's folder, which is no ".tclog".
        assert found["store"] == {"value": str(places.folder / "stores"), "source": str(named)}
    none = places("where", "--json", env={"TCLOG_CONFIG": "/dev/null"}).object()
    assert none["store"]["value"] is None
    assert (
        places("where", "--json", env={"TCLOG_CONFIG": ""}).object()["project"]["value"] == "work"
    )
    for wrong in ("../missing.toml", ".", "../named.toml/x"):
        error = places("where", "--json", env={"TCLOG_CONFIG": wrong}).error(2)
        assert error["code"] == "bad-config"
        assert "TCLOG_CONFIG" in error["message"]


def test_init_sets_up_the_folder_that_it_is_in_whatever_file_is_named(places: User) -> None:
    folder = fresh(places, "new")
    env = {"TCLOG_CONFIG": str(places.work / ".tclog" / "config.toml")}
    places("init", "store", "--project", "n", env=env, cwd=folder).ok()
    written = tomllib.loads((folder / ".tclog" / "config.toml").read_text())
    assert written == {"store": "store", "project": "n"}
