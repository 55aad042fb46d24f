//! The daemon under a service manager or in a terminal: its notifications (`NOTIFY_SOCKET`), and SIGHUP.

use super::soon;
use rustix::process::{Pid, Signal, kill_process};
use skyhound_test_support::program;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

const SERVE: [&str; 6] = ["serve", "--in-memory", "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0"];

/// A service manager that is notified by the daemon.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { socket: UnixDatagram::bind(dir.path().join("notify")).unwrap(), dir }
    }

    /// Starts the daemon by a program.
    fn start(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(arguments).env("NOTIFY_SOCKET", self.dir.path().join("notify")).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    async fn receive(&self) -> String {
        let mut buffer = [0; 512];
        let length = soon(self.socket.recv(&mut buffer)).await.unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_service_manager_is_notified_of_ready_and_stopping() {
    let manager = Manager::new();
    // A session of its own has no terminal; `env` undoes a `nohup` of the test run.
    let session = ["env", "--default-signal", program()];
    let mut daemon = manager.start("setsid", &[&session[..], &SERVE].concat());
    assert_eq!(manager.receive().await, "READY=1\nSTATUS=entries are stored in memory only\n");
    send(&daemon, Signal::HUP);
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    while !soon(log.next_line()).await.unwrap().expect("it goes on after a SIGHUP").contains("ignoring SIGHUP: ") {}
    send(&daemon, Signal::TERM);
    assert_eq!(manager.receive().await, "STOPPING=1\nSTATUS=stopping after SIGTERM\n");
    assert_eq!(soon(daemon.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn nobody_has_to_read_the_log() {
    let manager = Manager::new();
    let session = ["env", "--default-signal", program()];
    let mut daemon = manager.start("setsid", &[&session[..], &SERVE].concat());
    assert!(manager.receive().await.starts_with("READY=1\n"));
    drop(daemon.stderr.take());
    // Each of them is logged.
    send(&daemon, Signal::HUP);
    send(&daemon, Signal::TERM);
    assert_eq!(manager.receive().await, "STOPPING=1\nSTATUS=stopping after SIGTERM\n");
    assert_eq!(soon(daemon.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn without_its_terminal_it_stops_in_order() {
    let manager = Manager::new();
    let command = format!("exec env --default-signal {} {}", program(), SERVE.join(" "));
    // It makes a terminal, which is closed when it dies.
    let mut terminal = manager.start("script", &["-qec", &command, "/dev/null"]);
    assert!(manager.receive().await.starts_with("READY=1\n"));
    terminal.kill().await.unwrap();
    assert_eq!(manager.receive().await, "STOPPING=1\nSTATUS=stopping after SIGHUP\n");
}
