# SPDX-License-Identifier: Apache-2.0
"""The C client as its users get it: installed, found by pkg-config, compiled in one line, run."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

from tests.test_daemon import PROGRAM, ROOT, Daemon

HEADER = ROOT / "client" / "c" / "ttad.h"
BUILD = PROGRAM.parent / "client"
CPLUSPLUS = """\
#include <ttad.h>
int main()
{
    ttad_request request = TTAD_REQUEST_INIT;
    ttad_options options = TTAD_OPTIONS_INIT;
    ttad_tensor tensor = TTAD_TENSOR_INIT;
    ttad *c;
    request.inputs = &tensor;
    const ttad_code code = ttad_connect(&options, &c);
    ttad_close(c);
    return code || request.ninputs;
}
"""


def run(command, **more):
    """Run a command line, failing with what it printed; its output."""
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=300, **more
    )
    if result.returncode:
        raise AssertionError(f"{command}: {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def declared():
    """The functions of ttad.h."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"^TTAD_API [^(]*?(ttad_\w+)\(", text, flags=re.M))


@unittest.skipUnless((BUILD / "libttad.a").exists(), f"{BUILD} is not built")
class Symbols(unittest.TestCase):
    def test_the_library_exports_what_its_header_declares_under_a_version(self):
        said = run(f"nm -D --defined-only {shlex.quote(str(BUILD / 'libttad.so'))}")
        rows = [line.split() for line in said.splitlines()]
        names = {row[2] for row in rows if row[1] != "A"}
        self.assertEqual(names, {f"{n}@@TTAD_1.0" for n in declared()})
        self.assertGreater(len(names), 30)

    def test_the_static_library_keeps_its_own_names_to_itself(self):
        said = run(f"nm -g --defined-only {shlex.quote(str(BUILD / 'libttad.a'))}")
        names = {line.split()[2] for line in said.splitlines() if len(line.split()) == 3}
        self.assertEqual(names, declared())

    def test_it_needs_libzmq_and_jansson_and_no_other_library(self):
        said = run(f"readelf -d {shlex.quote(str(BUILD / 'libttad.so'))}")
        self.assertIn("Library soname: [libttad.so.1]", said)
        needed = set(re.findall(r"\(NEEDED\).*\[([a-z_]+)", said))
        self.assertLessEqual(needed, {"libzmq", "libjansson", "libc"})


@unittest.skipUnless((BUILD / "libttad.a").exists(), f"{BUILD} is not built")
class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prefix = pathlib.Path(tempfile.mkdtemp(prefix="ttad-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.prefix)
        mode, _, san = PROGRAM.parent.name.partition("-")
        if san:
            raise unittest.SkipTest("a program of a user has no sanitizer")
        run(f"make --no-print-directory install-client MODE={mode} PREFIX={cls.prefix}", cwd=ROOT)
        cls.env = {
            **os.environ,
            "PKG_CONFIG_PATH": str(cls.prefix / "lib" / "pkgconfig"),
            "LD_LIBRARY_PATH": str(cls.prefix / "lib"),
        }
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.end)

    def here(self, command):
        return run(command, cwd=self.prefix, env=self.env)

    def ask(self, program, stream, prefix=""):
        said = self.here(f"{prefix}{program} {stream} {self.daemon.endpoint('data')}")
        self.assertEqual(len(re.findall(r"^version [0-9a-f]{16}, step \d+", said, re.M)), 3, said)

    def test_the_example_compiles_in_one_line_and_is_answered(self):
        source = "share/ttad/example.c"
        self.here(f"cc {source} -o example $(pkg-config --cflags --libs ttad)")
        self.assertIn("libttad.so.1", self.here("ldd example"))
        self.ask("./example", "shared")
        self.here(
            f"cc {source} -o static $(pkg-config --cflags ttad) -Llib -l:libttad.a "
            "$(pkg-config --libs libzmq jansson) -pthread"
        )
        self.assertNotIn("libttad", self.here("ldd static"))
        self.ask("./static", "static")

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_the_example_leaves_no_memory_and_reads_none_that_is_not_its_own(self):
        self.here("cc -g share/ttad/example.c -o checked $(pkg-config --cflags --libs ttad)")
        self.ask(
            "./checked",
            "checked",
            "valgrind -q --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all "
            "--error-exitcode=9 ",
        )

    def test_it_can_be_used_from_cplusplus_and_strict_c(self):
        (self.prefix / "cpp.cpp").write_text(CPLUSPLUS)
        self.here("c++ -Wall -Wextra -Werror cpp.cpp -o cpp $(pkg-config --cflags --libs ttad)")
        self.here("./cpp")
        self.here(
            "echo '#include <ttad.h>' | cc -std=c11 -Wall -Wextra -Wpedantic -Werror -xc "
            "$(pkg-config --cflags ttad) -fsyntax-only -"
        )

    def test_pkg_config_knows_the_version_of_the_header(self):
        version = re.search(r'TTAD_CLIENT_VERSION\s+"(.*)"', HEADER.read_text()).group(1)
        self.assertEqual(self.here("pkg-config --modversion ttad").strip(), version)
        self.assertTrue((self.prefix / "lib" / f"libttad.so.{version}").is_file())


if __name__ == "__main__":
    unittest.main()
