# SPDX-License-Identifier: Apache-2.0
"""What a unit file's sandbox comes to, where systemd does not run: its filter of system calls, its
address families and its ban on writable code, as a seccomp program of our own; its umask; another
user.  Only x86-64.  The groups of calls are those of `systemd-analyze syscall-filter`."""

import ctypes
import errno
import os
import pathlib
import platform
import re
import socket
import struct
import subprocess

HEADER = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, SET, RETURN = 0x20, 0x15, 0x45, 0x06  # ld [k]; jeq #k; jset #k; ret #k
NR, ARCH, ARG = 0, 4, 16
X86_64 = 0xC000003E
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
PROT_WRITE, PROT_EXEC = 2, 4


def settings(text):
    """The [Service] section: key -> its values, in order."""
    ret = {}
    for line in text.split("[Service]")[1].split("[Install]")[0].splitlines():
        key, equal, value = line.partition("=")
        if equal and not line.startswith("#"):
            ret.setdefault(key, []).append(value)
    return ret


def usable():
    """Why not, or ""."""
    if platform.machine() != "x86_64" or not HEADER.exists():
        return "only on x86-64 with its kernel headers"
    try:
        subprocess.run(["systemd-analyze", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "systemd-analyze is not installed"
    return ""


def _numbers():
    return {m[1]: int(m[2]) for m in re.finditer(r"#define __NR_(\w+) (\d+)", HEADER.read_text())}


def _expand(name, seen=()):
    """The calls of a group like @system-service."""
    if not name.startswith("@"):
        return {name}
    out = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name],
        capture_output=True, check=True, text=True,
    ).stdout
    calls = set()
    for line in out.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#") and word not in seen:
            calls |= _expand(word, (*seen, word))
    return calls


def allowed(unit):
    """The numbers of the calls that SystemCallFilter= lets through, in systemd's way of reading."""
    calls = set()
    for value in unit["SystemCallFilter"]:
        names = value.lstrip("~").split()
        group = set().union(*(_expand(n) for n in names))
        calls = calls - group if value.startswith("~") else calls | group
    calls |= _expand("@default") | {"execve"}  # which systemd adds
    numbers = _numbers()
    return {numbers[c] for c in calls if c in numbers}, numbers


def program(unit):
    """The seccomp program of the unit, as bytes."""
    numbers, by_name = allowed(unit)
    refuse = ERRNO | getattr(errno, unit["SystemCallErrorNumber"][0])
    families = [getattr(socket, f) for f in unit["RestrictAddressFamilies"][0].split()]
    code = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NR)]
    special = []
    special.append((by_name["socket"], [
        (LOAD, 0, 0, ARG),
        *((EQUAL, len(families) - i, 0, f) for i, f in enumerate(families)),
        (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]))
    if unit["MemoryDenyWriteExecute"] == ["yes"]:
        both = [
            (LOAD, 0, 0, ARG + 16),
            (SET, 0, 2, PROT_EXEC),
            (SET, 0, 1, PROT_WRITE),
            (RETURN, 0, 0, ERRNO | errno.EPERM),
            (RETURN, 0, 0, ALLOW),
        ]
        later = [
            (LOAD, 0, 0, ARG + 16),
            (SET, 0, 1, PROT_EXEC),
            (RETURN, 0, 0, ERRNO | errno.EPERM),
            (RETURN, 0, 0, ALLOW),
        ]
        special += [(by_name["mmap"], both), (by_name["mprotect"], later),
                    (by_name["pkey_mprotect"], later)]
    for number, body in special:
        code += [(EQUAL, 0, len(body), number), *body]
    for number in sorted(numbers - {n for n, _ in special}):
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, refuse))
    return b"".join(struct.pack("HBBI", *c) for c in code)


def enter(bpf):
    """In the child, before it becomes the program: no new privileges, then the filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(bpf)
    prog = struct.pack("HxxxxxxP", len(bpf) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, 2, ctypes.c_char_p(prog), 0, 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
