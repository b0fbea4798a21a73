"""Servers that a study can be pushed to on this machine: OpenSSH on the loopback address, and moto's S3."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smallstudy import SmallStudy


@dataclass
class Remote:
    """A DVC remote with what one must know to use it, none of which may stand in git."""

    name: str
    url: str
    options: dict[str, str] = field(default_factory=dict)
    #: Address of git on the same server (empty where it has none), and the command by which git reaches it.
    git: str = ""
    git_ssh: str = ""

    def add_to(self, study: SmallStudy) -> None:
        """Name the remote in a study, as docs/orchestration.md says: in the file that git ignores."""
        study.dvc("remote", "add", "--local", self.name, self.url)
        for option, value in self.options.items():
            study.dvc("remote", "modify", "--local", self.name, option, value)


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[Remote]:
    """OpenSSH's server with keys of its own, for the user who runs the test."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        pytest.skip("no sshd: apt-get install openssh-server")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd drops its privileges; it does not make it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "sshd_config"
    settings.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'user.pub'}\n"
        f"PidFile {folder / 'sshd.pid'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin yes\nSubsystem sftp internal-sftp\n",
        encoding="utf-8",
    )
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(settings)], stderr=log)
    try:
        _wait_for(port, process, folder / "sshd.log")
        user = getpass.getuser()
        address = f"ssh://{user}@127.0.0.1:{port}"
        yield Remote(
            "server",
            f"{address}{folder / 'shelf'}",
            {"keyfile": str(folder / "user")},
            git=address,
            git_ssh=f"ssh -i {folder / 'user'} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q",
        )
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    for _ in range(100):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail(f"sshd does not answer: {log.read_text(encoding='utf-8')}")


@contextlib.contextmanager
def s3_server() -> Iterator[Remote]:
    """Moto's S3 server with one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"access_key_id": "nobody", "secret_access_key": "nothing"}
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            **{f"aws_{k}": v for k, v in keys.items()},
        )
        client.create_bucket(Bucket="studies")
        yield Remote("bucket", "s3://studies/small", {"endpointurl": f"http://{host}:{port}", **keys})
    finally:
        server.stop()
