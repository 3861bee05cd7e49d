"""make install, and a host built from what it installed with nothing but pkg-config: the one of the README."""

import os
import re
import shutil
import signal
import subprocess

import pytest
from run import TOP, await_port, end_session, free_port, run_ok

LIBRARIES = ["libsipwire.a", "libsipwire.so", "libsipwire.so.0", "libsipwire.so.0.1.0"]


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
    assert os.readlink(installed / "opt/sip/lib64/libsipwire.so.0") == "libsipwire.so.0.1.0"


def pkg_config(tree, *arguments):
    environment = {
        "PKG_CONFIG_LIBDIR": str(tree / "opt/sip/lib64/pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": str(tree),
    }
    return run_ok(["pkg-config", *arguments, "sipwire"], env=environment, check_leftovers=False).split()


def test_the_readme_host_is_about_forty_lines():
    assert readme_host().count("\n") <= 45


@pytest.mark.parametrize("linked", ["static", "shared"])
def test_the_readme_host_builds_and_answers(linked, installed, tmp_path):
    source, program = tmp_path / "host.c", tmp_path / "host"
    source.write_text(readme_host().replace("127.0.0.1:5060", f"127.0.0.1:{free_port()}"))
    tree = tmp_path / "tree"
    shutil.copytree(installed, tree, symlinks=True)
    if linked == "static":  # the linker takes the shared library when it sees both
        for name in LIBRARIES[1:]:
            (tree / "opt/sip/lib64" / name).unlink()
    flags = pkg_config(tree, "--cflags", "--libs", *(["--static"] if linked == "static" else []))
    run_ok(["cc", "-Wall", "-Wextra", "-Werror", source, *flags, "-o", program], check_leftovers=False)
    needed = run_ok(["readelf", "-d", program], check_leftovers=False)
    assert ("libsipwire.so.0" in needed) == (linked == "shared")
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
