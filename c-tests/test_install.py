"""make install and cargo cinstall, and a host built from what they installed with nothing but pkg-config: the one of the
README."""

import os
import re
import shutil
import signal
import subprocess

import pytest
from run import BUILD, CHECK_ALL, TOP, await_port, end_session, free_port, run_ok
from test_artefacts import is_a_plug_in, is_hardened, is_one_unit, soname, symbols, version

LIBRARIES = ["libsipwire.a", "libsipwire.so", "libsipwire.so.0", f"libsipwire.so.{version()}"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A tree made by make install, as a package builder would."""
    tree = tmp_path_factory.mktemp("installed")
    run_ok(
        ["make", "install", "PREFIX=/opt/sip", "LIBDIR=/opt/sip/lib64", f"DESTDIR={tree}"],
        limit=300,
        check_leftovers=False,
    )
    return tree


def readme_host():
    text = (TOP / "README.md").read_text()
    found = re.search(r"<!-- test: host -->\s*```c\n(.*?)```", text, re.S)
    assert found, "README.md has no ```c block after <!-- test: host -->"
    return found[1]


def test_install_puts_header_libraries_links_and_pkg_config_file(installed):
    files = sorted(str(path.relative_to(installed)) for path in installed.rglob("*") if not path.is_dir())
    libraries = [f"opt/sip/lib64/{name}" for name in LIBRARIES]
    others = ["opt/sip/include/sipwire.h", "opt/sip/lib64/pkgconfig/sipwire.pc", "opt/sip/share/man/man3/sipwire.3"]
    assert files == sorted([*others, *libraries])
    assert os.readlink(installed / "opt/sip/lib64/libsipwire.so") == "libsipwire.so.0"
    assert os.readlink(installed / "opt/sip/lib64/libsipwire.so.0") == f"libsipwire.so.{version()}"


def pkg_config(tree, *arguments):
    environment = {
        "PKG_CONFIG_LIBDIR": str(tree / "opt/sip/lib64/pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": str(tree),
    }
    return run_ok(["pkg-config", *arguments, "sipwire"], env=environment, check_leftovers=False).split()


def test_the_pkg_config_file_states_the_version_of_cargo_toml(installed):
    assert pkg_config(installed, "--modversion") == [version()]


def test_the_readme_host_is_about_forty_lines():
    assert readme_host().count("\n") <= 45


def build_and_ask(compiler, linked, installed, folder):
    """Builds the host as its README says, against a copy of what is installed, and sends it a request."""
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    source, program, tree = folder / "host.c", folder / "host", folder / "tree"
    source.write_text(readme_host().replace("127.0.0.1:5060", f"127.0.0.1:{free_port()}"))
    shutil.copytree(installed, tree, symlinks=True)
    if linked == "static":  # the linker takes the shared library when it sees both
        for name in LIBRARIES[1:]:
            (tree / "opt/sip/lib64" / name).unlink()
    flags = pkg_config(tree, "--cflags", "--libs", *(["--static"] if linked == "static" else []))
    run_ok([compiler, "-Wall", "-Wextra", "-Werror", source, *flags, "-o", program], check_leftovers=False)
    needed = run_ok(["readelf", "--dynamic", "--version-info", "--wide", program], check_leftovers=False)
    assert ("libsipwire.so.0" in needed) == ("SIPWIRE_0.1" in needed) == (linked == "shared")
    port = int(re.search(r"127\.0\.0\.1:(\d+)", source.read_text())[1])
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tree / "opt/sip/lib64")}
    host = subprocess.Popen([program], stdin=subprocess.DEVNULL, start_new_session=True, env=environment)
    try:
        await_port(port)
        run_ok(["sipsak", "-v", "-E", "tcp", "-s", f"sip:127.0.0.1:{port}"], limit=20)
        host.terminate()
        assert host.wait(20) in (0, -signal.SIGTERM)
    finally:
        assert not end_session(host.pid)


@pytest.mark.parametrize("compiler", ["cc", "clang"])
@pytest.mark.parametrize("linked", ["static", "shared"])
def test_the_readme_host_builds_and_answers(compiler, linked, installed, tmp_path):
    build_and_ask(compiler, linked, installed, tmp_path)


def test_a_host_is_linked_fully_static(installed, tmp_path):
    source, program = tmp_path / "host.c", tmp_path / "host"
    source.write_text("#include <sipwire.h>\nint main(void) { return sipwire_config_new() == 0; }\n")
    run_ok(["cc", "-static", source, "-o", program, *pkg_config(installed, "--cflags", "--libs", "--static")], check_leftovers=False)
    run_ok([program])


if CHECK_ALL:  # it builds everything once more

    @pytest.fixture(scope="module")
    def installed_by_cargo(tmp_path_factory):
        if not shutil.which("cargo-cinstall"):
            pytest.skip("no cargo-c here (cargo install cargo-c)")
        tree = tmp_path_factory.mktemp("cinstalled")
        where = ["--prefix=/opt/sip", "--libdir=/opt/sip/lib64", f"--destdir={tree}"]
        command = ["cargo", "cinstall", "--locked", "--release", *where]
        run_ok(command, limit=900, env={"CARGO_TARGET_DIR": str(BUILD / "cargo-c")}, check_leftovers=False)
        return tree

    @pytest.mark.timeout(1000)
    def test_cargo_cinstall_installs_the_same(installed, installed_by_cargo):
        trees = (installed, installed_by_cargo)
        ours, theirs = ({path.relative_to(tree) for path in tree.rglob("*")} for tree in trees)
        assert ours == theirs
        for name in ("opt/sip/include/sipwire.h", "opt/sip/share/man/man3/sipwire.3"):
            assert (installed / name).read_bytes() == (installed_by_cargo / name).read_bytes(), name
        for question in (["--cflags", "--libs"], ["--libs", "--static"], ["--modversion"], ["--variable=libdir"]):
            ours, theirs = (" ".join(pkg_config(tree, *question)).replace(str(tree), "") for tree in trees)
            # The compiler adds it by itself, or its archive where all is static: there is no libgcc_s.a.
            assert ours == theirs.replace(" -lgcc_s", "")
        ours, theirs = (tree / "opt/sip/lib64/libsipwire.so" for tree in trees)
        assert soname(ours) == soname(theirs)
        assert symbols(ours, "--dyn-syms") == symbols(theirs, "--dyn-syms")
        assert is_one_unit(theirs.with_suffix(".a"))
        is_hardened(theirs)
        is_a_plug_in(theirs)

    @pytest.mark.timeout(1000)
    @pytest.mark.parametrize("linked", ["static", "shared"])
    def test_the_readme_host_builds_with_what_cargo_installed(linked, installed_by_cargo, tmp_path):
        build_and_ask("cc", linked, installed_by_cargo, tmp_path)
