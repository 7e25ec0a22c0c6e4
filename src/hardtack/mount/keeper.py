"""The keeper: holds the FUSE connection and keeps a worker on it.

Run as a file, `python -I -S keeper.py RUNFILE FUSE_FD MEMORY_FD`; it imports the standard library
alone and does so little that nothing in it can fail but the machine. The run file is JSON; the
keeper reads `worker` (a command), `mountpoint`, `hold`, and leaves the rest to the worker.

Signals: TERM and INT drain the worker, unmount and end; HUP replaces the worker by what the run
file says now; USR1, from the worker, says that it answers. When the worker finds the connection
ended (somebody unmounted) it exits with CONNECTION_ENDED, and so does the keeper, with 0.

Where `hold` names the socket of a hold (hold.py), that has descriptors of the mount too: TERM then
leaves the mount to the next keeper, for whom readers wait.

As the service HARDTACK_UNIT of systemd the keeper hands both descriptors to its store too: they
outlive the keeper, and when the service is started again it goes on with them (fdstore.py).
"""

import os
import signal
import sys
import time

TYPE_CHECKING = False  # typing itself costs a keeper a MiB
if TYPE_CHECKING:
    import socket

CONNECTION_ENDED = 100
GRACE = 10.0
"""Seconds that a worker has to end after SIGTERM."""
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
STORED = ("fuse", "memory")
"""The descriptors' names in systemd's store."""
FIRST_DELAY, LONGEST_DELAY, LONGEST_AFTER_KILL = 0.05, 10.0, 1.0
"""Seconds. Readers wait meanwhile; a worker that was killed is not to blame."""
HOLD_LOOK = 5.0
"""Seconds between two looks whether the hold is still there."""


LEVELS = ("debug", "info", "warning", "error")


class Log:
    """Lines as the worker's: of `level` and above, as `form` (text, json) says."""

    def __init__(self, name: str) -> None:
        self.name, self.level, self.form = name, "info", "text"

    def configure(self, level: str, form: str) -> None:
        self.level, self.form = level if level in LEVELS else "info", form

    def __call__(self, message: str, level: str = "info") -> None:
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = f"{stamp} {level:7} {self.name}: {message}"
        if self.form == "json":
            import json

            about = {"time": stamp, "level": level, "logger": f"hardtack.mount.{self.name}"}
            line = json.dumps(about | {"message": message}, ensure_ascii=False)
        try:
            os.write(2, f"{line}\n".encode())
        except OSError:
            return  # a full disk or a closed terminal must not end the mount


log = Log("keeper")


def notify(state: str, fd: int | None = None) -> None:
    """Tell systemd, when it asked to be told; `fd` goes along."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    import socket

    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect(name)
            socket.send_fds(channel, [state.encode()], [] if fd is None else [fd])
        except OSError as problem:
            log(f"systemd can't be told {state}: {problem}", "warning")


def restarting(unit: str) -> bool:
    """Whether systemd stops `unit` in order to start it again; in doubt it doesn't."""
    import subprocess

    command = ["systemctl", "list-jobs", "--plain", "--no-legend", "--", unit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired) as problem:
        log(f"systemd can't be asked, the mount goes: {problem}", "warning")
        return False
    jobs = [line.split() for line in done.stdout.splitlines()]
    return any(job[1:3] in ([unit, "restart"], [unit, "try-restart"]) for job in jobs)


def device_at(mountpoint: str) -> str:
    """`major:minor` of the topmost mount at a place, without touching it."""
    escaped = mountpoint
    for character in ("\\", " ", "\t", "\n"):
        escaped = escaped.replace(character, f"\\{ord(character):03o}")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        fields = [line.split(" ", 5) for line in file]
    return ([field[2] for field in fields if field[4] == escaped] or [""])[-1]


class Keeper:
    def __init__(self, run_file: str, fuse: int, memory: int) -> None:
        self.run_file = run_file
        self.fds = [fuse, memory]
        for fd in self.fds:
            os.set_inheritable(fd, True)
        self.text = b""
        self.command: list[str] = []
        self.mountpoint = ""
        self.about: dict[str, str] = {}
        self.hold = ""
        self.lease: socket.socket | None = None
        self.worker = 0
        self.delay = 0.0
        self.next_start = 0.0
        # The worker reads this pipe's other end: end of file is the keeper's death.
        self.alive, self.life = os.pipe()
        os.set_inheritable(self.alive, True)
        self.unit = os.environ.get("HARDTACK_UNIT", "")

    def store(self) -> None:
        """Have systemd hold the connection too."""
        if self.unit:
            for name, fd in zip(STORED, self.fds, strict=True):
                notify(f"FDSTORE=1\nFDNAME={name}", fd)

    def forget(self) -> None:
        """The connection has ended, or is about to: the next start shall make its own."""
        if self.unit:
            for name in STORED:
                notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def read_run_file(self) -> None:
        import json

        try:
            with open(self.run_file, "rb") as file:
                text = file.read()
            run = json.loads(text)
            self.command, self.mountpoint = list(run["worker"]), str(run["mountpoint"])
            self.hold = str(run.get("hold", ""))
            log.configure(str(run.get("log_level", "info")), str(run.get("log_format", "text")))
            self.about = {key: str(run.get(key, "")) for key in ("mountpoint", "source", "cache")}
            self.text = text
        except (OSError, ValueError, KeyError, TypeError) as problem:
            said = f"{self.run_file} can't be read, going on with what was known: {problem}"
            log(said, "error")

    def restore_run_file(self) -> None:
        """Where somebody removed the cache's directory, the next worker begins another there."""
        if os.path.exists(self.run_file) or not self.text:
            return
        beside = f"{self.run_file}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.run_file), 0o700, exist_ok=True)
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(self.text)
            os.rename(beside, self.run_file)
            log(f"{self.run_file} was gone, and is written anew", "warning")
        except OSError as problem:
            log(f"{self.run_file} is gone and can't be written: {problem}", "error")

    def start(self) -> None:
        self.restore_run_file()
        arguments = [*self.command, self.run_file, *map(str, self.fds), str(self.alive)]
        try:
            self.worker = os.posix_spawn(
                arguments[0], arguments, os.environ, setsigdef=list(SIGNALS),
                setsigmask=[signal.SIGINT],  # a Ctrl-C is for the keeper, which ends it
            )  # fmt: skip
        except OSError as problem:
            log(f"the worker can't be started: {arguments[0]}: {problem}", "error")
            self.schedule(LONGEST_DELAY)

    def held(self) -> bool:
        """Whether a hold has the mount too; it is told when it was not, or came anew."""
        if not self.hold:
            return False
        import json
        import socket

        if self.lease is not None:
            try:
                if self.lease.recv(1, socket.MSG_PEEK):
                    return True
            except BlockingIOError:
                return True
            except OSError as problem:
                log(f"the hold at {self.hold} is lost: {problem}", "warning")
            self.lease.close()
        self.lease = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.lease.settimeout(HOLD_LOOK)
        message = {"do": "keep", "device": device_at(self.mountpoint), **self.about}
        try:
            self.lease.connect(self.hold)
            socket.send_fds(self.lease, [json.dumps(message).encode()], self.fds)
            answered = bool(self.lease.recv(1 << 16))
            self.lease.setblocking(False)
            return answered
        except OSError:
            self.lease.close()
            self.lease = None
            return False

    def schedule(self, longest: float) -> None:
        """Set the time of the next start: at once, and later after each that never answered."""
        self.next_start = time.monotonic() + min(self.delay, longest)
        self.delay = min(LONGEST_DELAY, self.delay * 2 or FIRST_DELAY)

    def reap(self) -> bool:
        """True when the worker ended because the connection did."""
        try:
            pid, status = os.waitpid(self.worker or -1, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.worker, 0
        if not self.worker or pid != self.worker:
            return False
        code = os.waitstatus_to_exitcode(status)
        self.worker = 0
        if code == CONNECTION_ENDED:
            return True
        self.schedule(LONGEST_AFTER_KILL if code < 0 else LONGEST_DELAY)
        wait = max(0.0, self.next_start - time.monotonic())
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        log(f"the worker {how}; another starts in {wait:.1f} s", "warning")
        return False

    def stop_worker(self) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        if not self.worker:
            return
        os.kill(self.worker, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while os.waitpid(self.worker, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                log(f"the worker did not drain within {GRACE:.0f} s and is killed", "warning")
                os.kill(self.worker, signal.SIGKILL)
                os.waitpid(self.worker, 0)
                break
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        self.worker = 0

    def unmount(self) -> None:
        """Unmount, lazily when somebody has files open."""
        if os.geteuid() == 0:
            import ctypes

            libc = ctypes.CDLL(None)
            path = os.fsencode(self.mountpoint)
            if libc.umount2(path, 8) != 0:
                libc.umount2(path, 8 | 2)
            return
        import subprocess

        for options in (["-u"], ["-u", "-z"]):
            command = ["fusermount3", *options, "--", self.mountpoint]
            try:
                done = subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
            except OSError as problem:
                log(f"the mount stays: fusermount3 can't be run: {problem}", "warning")
                return
            if done.returncode == 0:
                return

    def run(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.store()
        self.read_run_file()
        self.start()
        while True:
            if not self.worker and time.monotonic() >= self.next_start:
                self.start()
            timeout = 60.0 if self.worker else max(0.0, self.next_start - time.monotonic())
            if self.hold:
                self.held()
                timeout = min(timeout, HOLD_LOOK)
            event = signal.sigtimedwait(SIGNALS, timeout)
            number = event.si_signo if event else signal.SIGCHLD
            if number in (signal.SIGTERM, signal.SIGINT):
                notify("STOPPING=1")
                log("ending: the worker drains")
                self.stop_worker()
                if self.held():
                    log("the hold keeps the mount for the next keeper")
                elif self.unit and restarting(self.unit):
                    log("systemd keeps the mount for the next keeper")
                else:
                    self.forget()
                    self.unmount()
                return 130 if number == signal.SIGINT else 0
            if number == signal.SIGHUP:
                log("the worker is replaced")
                self.read_run_file()
                self.stop_worker()
                self.delay = self.next_start = 0.0
            elif number == signal.SIGUSR1:
                self.delay = 0.0
                notify("READY=1")
            elif self.reap():
                log("unmounted")
                self.forget()
                return 0


if __name__ == "__main__":
    os.chdir("/")
    sys.exit(Keeper(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).run())
