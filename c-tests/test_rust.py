"""What Rust's own tools say of the sources: format, lints, documentation, the oldest compiler, licences."""

import os
import re
import shutil
from pathlib import Path

import pytest
from run import BUILD, CHECK_ALL, TOP, run, run_ok

ALL_TARGETS = ["--all-targets", "--features", "top"]
MANIFEST = (TOP / "Cargo.toml").read_text()


def cargo(*arguments, env=None):
    run_ok(["cargo", *arguments], limit=580, env=env, check_leftovers=False)


@pytest.mark.timeout(600)
def test_rust_is_formatted():
    for package in (".", "fuzz", "benches/load", "benches/micro"):
        cargo("fmt", "--check", "--manifest-path", f"{package}/Cargo.toml")


@pytest.mark.timeout(600)
def test_clippy_finds_nothing():
    cargo("clippy", "--locked", "--quiet", *ALL_TARGETS, "--", "-D", "warnings")


@pytest.mark.timeout(600)
def test_rustdoc_finds_nothing():
    cargo("doc", "--locked", "--quiet", "--lib", "--no-deps", env={"RUSTDOCFLAGS": "-D warnings"})


def test_what_the_rust_face_shows_of_the_floors_cannot_go_without_documentation():
    """Its own items are denied that in `face/mod.rs`; where it shows one of a floor, that says so itself."""
    shown = re.search(r"^pub use crate::\{(.*?)^\};", (TOP / "src/face/mod.rs").read_text(), re.M | re.S)[1]
    without = []
    for path, names in re.findall(r"^    ([\w:]+)::(\{.*?\}|\w+)", shown, re.M):
        folder = TOP / "src" / path.replace("::", "/")
        text = next(file for file in (folder.with_suffix(".rs"), folder / "mod.rs") if file.exists()).read_text()
        for name in set(re.findall(r"\w+", names)) - {"Result"}:
            places = re.findall(rf"((?:^ *#\[.*\]\n)*)^ *(?:pub struct|pub enum|impl|impl<.*>) {name}\b(?!.* for )", text, re.M)
            assert places, f"{path}::{name} is not found"
            without += [f"{path}::{name}" for attributes in places if "#[deny(missing_docs)]" not in attributes]
    assert not without, f"no #[deny(missing_docs)]: {without}"


if CHECK_ALL:  # it builds everything once more

    @pytest.mark.timeout(600)
    def test_the_oldest_rust_that_is_promised_builds_it():
        oldest = oldest_rust()
        if not shutil.which("rustup") or run(["rustup", "run", oldest, "rustc", "--version"], check_leftovers=False)[0] != 0:
            pytest.skip(f"no Rust {oldest} here (rustup toolchain install {oldest})")
        cargo(f"+{oldest}", "test", *ALL_TARGETS, "--locked", "--quiet", env={"CARGO_TARGET_DIR": str(BUILD / "oldest-target"), "PROPTEST_CASES": "256"})


def oldest_rust():
    return re.search(r'^rust-version = "(.*)"', MANIFEST, re.M)[1]


def test_the_readme_says_which_rust_it_needs():
    assert re.search(rf"Rust\s+{re.escape(oldest_rust())} or newer", (TOP / "README.md").read_text())


def deny(*arguments):
    if not shutil.which("cargo-deny"):
        pytest.skip("no cargo-deny here (cargo install --locked cargo-deny)")
    return run(["cargo", "deny", "--locked", *arguments], limit=120, check_leftovers=False)


@pytest.mark.timeout(150)
def test_licences_bans_and_sources_of_what_we_depend_on():
    code, output = deny("check", "licenses", "bans", "sources")
    assert code == 0, output


if CHECK_ALL:  # it asks the network

    @pytest.mark.timeout(300)
    def test_nobody_warns_of_what_we_depend_on():
        if deny("fetch", "db")[0] != 0:
            pytest.skip("the advisory database cannot be fetched")
        code, output = deny("check", "--disable-fetch", "advisories")
        assert code == 0, output


def test_the_version_stands_in_one_place_and_what_is_not_made_from_that_follows():
    """Makefile, header, pkg-config file and soname have it from Cargo.toml; their tests compare."""
    version = re.search(r'^version = "(.*)"', MANIFEST, re.M)[1]
    stated = re.compile(rf"(?<![\w.]){re.escape(version)}(?![\w.])")
    found = []
    for folder, below, names in os.walk(TOP):
        below[:] = [name for name in below if name not in ("target", "build", ".git")]
        for path in (Path(folder, name) for name in names):
            if path.suffix in (".rs", ".toml", ".c", ".h", ".in", ".py", ".md", ".1", ".3") or path.name == "Makefile":
                found += [str(path.relative_to(TOP))] * len(stated.findall(path.read_text()))
    assert sorted(found) == ["CHANGELOG.md", "Cargo.toml", "docs/man/sipwire-top.1", "include/sipwire.h"]
