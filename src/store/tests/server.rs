//! Debian's PostgreSQL for tests: a server of our own on a free port of loopback, in a temporary folder, as a user who is not
//! root. Also of `tests/it`, by path.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The server ends, and its folder goes, when the pipe that it is ordered by is closed: however this process ends.
const SCRIPT: &str = r#"
set -eu
dir=$(mktemp -d "${TMPDIR:-/tmp}/tandem-postgres.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap '' TERM INT
printf secret >"$dir/password"
"$BIN/initdb" -D "$dir/data" -U tandem -A scram-sha-256 --pwfile="$dir/password" --no-sync -E UTF8 --locale=C >/dev/null
if [ "$CERTIFICATE" ]; then
    printf %s "$CERTIFICATE" >"$dir/data/server.crt"
    (umask 077 && printf %s "$KEY" >"$dir/data/server.key")
    printf 'ssl = on\n' >>"$dir/data/postgresql.conf"
fi
up() {
    "$BIN/postgres" -D "$dir/data" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        >>"$dir/log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
        "$BIN/pg_isready" -q -h 127.0.0.1 -p "$PORT" && return
        sleep 0.05
    done
    cat "$dir/log" >&2
    exit 1
}
down() {
    kill -INT "$server" 2>/dev/null || :
    wait "$server" || :
}
up
echo up
while read -r order; do
    "$order"
    echo "$order"
done
down
"#;

/// A running server.
pub struct Server {
    _child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    bin: PathBuf,
    port: u16,
}

fn installed() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    newest.expect("no PostgreSQL here: install Debian's package postgresql, or run tests/run, which does")
}

impl Server {
    /// A new one; a second or two.
    pub fn start() -> Self {
        Self::with("", "")
    }

    /// One that speaks TLS to who wants it, with this certificate and key (PEM).
    pub fn over_tls(certificate: &str, key: &str) -> Self {
        Self::with(certificate, key)
    }

    fn with(certificate: &str, key: &str) -> Self {
        let bin = installed();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).env("BIN", &bin).env("PORT", free.port().to_string()).current_dir("/");
        command.env("CERTIFICATE", certificate).env("KEY", key);
        // SAFETY: it only reads an id.
        if unsafe { libc::geteuid() } == 0 {
            // PostgreSQL does not run as root: as nobody.
            command.uid(65534).gid(65534);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let orders = child.stdin.take().expect("its stdin");
        let answers = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut server = Self { _child: child, orders, answers, bin, port: free.port() };
        server.hear("up");
        server
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        assert_eq!((read.is_ok(), line.trim()), (true, word), "PostgreSQL does not do as it is told");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("its shell");
        self.hear(order);
    }

    /// Takes it away; its data stay.
    pub fn down(&mut self) {
        self.order("down");
    }

    /// Brings it back.
    pub fn up(&mut self) {
        self.order("up");
    }

    /// The URL of a database that may not exist.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://tandem:secret@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(self.bin.join("createdb"));
        command.args(["-h", "127.0.0.1", "-U", "tandem", "-p", &self.port.to_string(), &name]).current_dir("/");
        let done = command.env("PGPASSWORD", "secret").status().expect("createdb");
        assert!(done.success(), "createdb {name}");
        self.url(&name)
    }
}

/// All that a database has.
pub fn dump(url: &str) -> Vec<u8> {
    Command::new(installed().join("pg_dump")).arg(url).output().expect("pg_dump").stdout
}
