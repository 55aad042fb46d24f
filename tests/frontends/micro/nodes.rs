//! JSON-RPC servers of other projects, as nodes of a service.
//!
//! Installed by name, once, below `target/tools`; without their language they are skipped, with a message in the
//! output.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// The jsonrpclib-pelix of Python.
const PYTHON: &str = r#"
import sys
from jsonrpclib.SimpleJSONRPCServer import SimpleJSONRPCServer
def fail(request):
    raise ValueError("that went wrong")
server = SimpleJSONRPCServer(("127.0.0.1", 0), logRequests=False)
server.register_function(lambda request: {"msg": "Hello " + request["name"]}, "Say.Hello")
server.register_function(lambda request: {"status": "ok"}, "Debug.Health")
server.register_function(fail, "Say.Fail")
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// The jayson of Node.
const NODE: &str = r"
const jayson = require('jayson');
const server = new jayson.Server({
  'Say.Hello': (args, done) => done(null, { msg: 'Hello ' + args[0].name }),
  'Debug.Health': (args, done) => done(null, { status: 'ok' }),
  'Say.Conflict': (args, done) => done(JSON.stringify({ id: 'x', code: 409, detail: 'taken', status: 'Conflict' })),
  'Say.Nothing': () => {},
}, { version: 1 });
const http = server.http();
http.listen(0, '127.0.0.1', () => console.log(http.address().port));
";

/// A server. Ended when dropped.
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server in Python.
pub fn python() -> Option<Server> {
    let dir = tools("micro-python");
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
    install.arg(&dir).arg("jsonrpclib-pelix==1.*");
    installed(&dir.join("jsonrpclib"), &mut install)?;
    Some(start(Command::new("python3").args(["-c", PYTHON]).env("PYTHONPATH", dir)))
}

/// Starts a server in Node.
pub fn node() -> Option<Server> {
    let dir = tools("micro-node");
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&dir).arg("jayson@5");
    installed(&dir.join("node_modules/jayson"), &mut install)?;
    Some(start(Command::new("node").args(["-e", NODE]).current_dir(dir)))
}

/// A directory for installed programs, kept from one run to the next.
pub fn tools(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// Installs a missing program. In CI it has to be possible.
pub fn installed(there: &Path, install: &mut Command) -> Option<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if there.exists() {
        return Some(());
    }
    let done = install.stdout(Stdio::null()).stderr(Stdio::inherit()).status();
    if done.as_ref().is_ok_and(std::process::ExitStatus::success) && there.exists() {
        return Some(());
    }
    assert!(std::env::var_os("CI").is_none(), "{install:?}: {done:?}");
    // Past the test harness, which shows nothing of a test that passes.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {install:?}: {done:?}");
    None
}

fn start(command: &mut Command) -> Server {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it was found before");
    let mut line = String::new();
    let out = child.stdout.take().expect("it was piped");
    std::io::BufReader::new(out).read_line(&mut line).expect("it prints its port");
    let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{command:?} printed {line:?}"));
    Server { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
}
